"""SD-FCT: transformations worked out by hand, and a slow, obvious implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors.sdfct import SDFCT, SDFCTConfig, Transformation, draw_transformations, transformed
from mspc_core.errors import InputError
from tests.unit.detectors import reference

AS_IT_IS = SDFCTConfig(epochs=0, transformations=3, seed=2)


class PixelReader(nn.Module):
    """Its features are the pixels themselves."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.head = nn.Linear(values, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(x.flatten(1))
        return out


def test_transformations_by_hand() -> None:
    image = torch.arange(2 * 3 * 5 * 5, dtype=torch.float32).view(2, 3, 5, 5)
    assert torch.equal(transformed(image, Transformation(0.0, 0, 0)), image)
    assert torch.equal(transformed(image, Transformation(90.0, 0, 0)), torch.rot90(image, 1, (2, 3)))
    moved = torch.zeros_like(image)
    moved[:, :, 1:, 2:] = image[:, :, :-1, :-2]
    assert torch.equal(transformed(image, Transformation(0.0, 2, 1)), moved)
    # The rotation comes first: the corner that turned to the lower left is then pushed out at the bottom.
    both = torch.zeros_like(image)
    both[:, :, 1:] = torch.rot90(image, 1, (2, 3))[:, :, :-1]
    assert torch.equal(transformed(image, Transformation(90.0, 0, 1)), both)


def test_draws_stay_in_range() -> None:
    config = SDFCTConfig(transformations=300, rotation=30.0, shift=0.2)
    drawn = draw_transformations(config, (10, 20))
    assert {t.right for t in drawn} == set(range(-4, 5))
    assert {t.down for t in drawn} == set(range(-2, 3))
    angles = [t.angle for t in drawn]
    assert -30 <= min(angles) < -25
    assert 25 < max(angles) <= 30
    assert draw_transformations(config, (10, 20)) == drawn


def test_distance_by_hand() -> None:
    """With pixels as features, a shift costs the squared differences of the pixels."""
    images = np.random.default_rng(0).integers(0, 256, (12, 10, 10, 3), dtype=np.uint8)
    config = SDFCTConfig(epochs=0, transformations=2, rotation=0.0, seed=1)
    shifts = draw_transformations(config, (10, 10))
    assert any(t.right or t.down for t in shifts)
    expected = np.zeros(12)
    for shift in shifts:
        for number, image in enumerate(images / 255.0):
            moved = np.zeros_like(image)
            for row in range(10):
                for column in range(10):
                    if 0 <= row - shift.down < 10 and 0 <= column - shift.right < 10:
                        moved[row, column] = image[row - shift.down, column - shift.right]
            expected[number] += ((moved - image) ** 2).sum() / 2
    found = SDFCT(config).fit(PixelReader(300), images, labels=np.zeros(12, int))
    assert found.decision_scores_.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    rows = found.artifacts_.tables["transformations"]
    assert np.mean([row["mean_distance"] for row in rows]) == pytest.approx(expected.mean(), rel=1e-4)


def test_equals_the_slow_implementation(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    found = SDFCT(AS_IT_IS).fit(tiny_model, random_images, labels=np.zeros(40, int))
    slow = []
    with torch.no_grad():
        for image in random_images:
            x = reference.as_tensor(image)
            total = 0.0
            for transformation in draw_transformations(AS_IT_IS, (16, 16)):
                parts = [(y - 0.5) / 0.25 for y in (x, transformed(x, transformation))]
                plain, moved = (tiny_model.backbone.forward_features(part) for part in parts)
                total += float(((plain - moved) ** 2).sum())
            slow.append(total / 3)
    assert found.decision_scores_.tolist() == pytest.approx(slow, rel=1e-3)
    assert found.labels_.sum() == 2, "5 % of 40"
    assert set(np.flatnonzero(found.labels_)) == set(np.argsort(slow)[-2:])
    assert found.artifacts_.forward_equivalents == 40 * (1 + 3)


def test_short_training(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    labels = np.arange(40) % 4
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    config = SDFCTConfig(epochs=2, transformations=2)
    found = SDFCT(config).fit(tiny_model, random_images, labels=labels)
    assert found.artifacts_.forward_equivalents == 40 * (1 + 3 * 2 + 1 + 2)
    assert all(torch.equal(before[name], value) for name, value in tiny_model.state_dict().items())
    again = SDFCT(config).fit(tiny_model, random_images, labels=labels)
    assert again.decision_scores_.tolist() == found.decision_scores_.tolist()
    nn.init.zeros_(tiny_model.backbone.head.weight)
    lent = SDFCT(config).fit(tiny_model, random_images, labels=labels)
    assert lent.decision_scores_.tolist() == found.decision_scores_.tolist(), "only the architecture counts"
    other = SDFCT(config).fit(tiny_model, random_images, labels=labels[::-1].copy())
    assert other.decision_scores_.tolist() != found.decision_scores_.tolist()


def test_mode_is_restored(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    for training in (True, False):
        tiny_model.train(training)
        SDFCT(AS_IT_IS).fit(tiny_model, random_images, labels=np.zeros(40, int))
        assert tiny_model.training is training
        assert tiny_model.backbone.training is training


def test_what_cannot_be_done(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least one transformation"):
        SDFCT(SDFCTConfig(transformations=0)).fit(tiny_model, random_images, labels=np.zeros(40, int))
    without = nn.Sequential(nn.Conv2d(3, 4, 16), nn.Flatten())
    with pytest.raises(InputError, match="no final linear layer"):
        SDFCT().fit(without, random_images, labels=np.zeros(40, int))


def test_a_model_that_predicts_one_class(random_images: np.ndarray) -> None:
    model = PixelReader(768)
    nn.init.zeros_(model.head.weight)
    found = SDFCT(AS_IT_IS).fit(model, random_images, labels=np.zeros(40, int))
    assert "for every image" in found.artifacts_.notes[0]
