"""What is read from a network, against values that are known without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors.features import batch_norms, collect_features
from mspc_core.engine.forward import counting, predict_logits, to_float
from mspc_core.errors import Cancelled, InputError
from mspc_core.models.zoo import feature_layer
from tests.unit.detectors.pixel_features import PixelFeatures, gaussians


def test_penultimate_features_are_the_head_s_input() -> None:
    images, _, _ = gaussians(per_class=5)
    model = PixelFeatures()
    with counting(model) as count:
        found = collect_features(model, images, batch_size=7)
    expected = images.transpose(0, 3, 1, 2).reshape(len(images), -1) / 255.0
    np.testing.assert_allclose(found.penultimate, expected, atol=1e-6)
    assert found.penultimate.dtype == np.float32
    np.testing.assert_allclose(found.logits, predict_logits(model, images).numpy(), atol=1e-5)
    assert found.predicted.tolist() == found.logits.argmax(1).tolist()
    assert count.forwards == len(images)
    assert found.batch_norm == {}


def test_batch_norm_extremes_equal_a_loop(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    images = random_images[:6]
    found = collect_features(tiny_model, images, layers=("penultimate", "batch_norm"), batch_size=4)
    assert list(found.batch_norm) == list(batch_norms(tiny_model))
    first_name, first = next(iter(batch_norms(tiny_model).items()))
    convolution = tiny_model.backbone.features[0][0]
    with torch.no_grad():
        x = (to_float(images, torch.device("cpu")) - tiny_model.mean) / tiny_model.std
        outputs = first(convolution(x)).numpy()
    for row in range(6):
        for channel in range(outputs.shape[1]):
            values = outputs[row, channel].ravel()
            assert found.batch_norm[first_name][row, 0, channel] == pytest.approx(min(values), abs=1e-4)
            assert found.batch_norm[first_name][row, 1, channel] == pytest.approx(max(values), abs=1e-4)
    assert found.penultimate.shape == (6, 256)


def test_nothing_stays_behind(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    tiny_model.train()
    collect_features(tiny_model, random_images, layers=("penultimate", "batch_norm"))
    with pytest.raises(Cancelled):
        collect_features(tiny_model, random_images, should_stop=lambda: True)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny_model.modules())
    assert tiny_model.training
    assert all(parameter.requires_grad for parameter in tiny_model.parameters())


def test_tokens_are_averaged() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(x.flatten(2).transpose(1, 2)).mean(1)
            return logits

    images, _, _ = gaussians(per_class=2)
    found = collect_features(Tokens(), images)
    np.testing.assert_allclose(found.penultimate, images.mean((1, 2)) / 255.0, atol=1e-5)


def test_architectures_without_such_layers_are_named(random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="no BatchNorm layers"):
        collect_features(PixelFeatures(), random_images, layers=("batch_norm",))
    with pytest.raises(InputError, match="no final linear layer"):
        feature_layer(nn.Conv2d(3, 2, 1))
    with pytest.raises(InputError, match="'logits'"):
        collect_features(PixelFeatures(), random_images, layers=("logits",))
