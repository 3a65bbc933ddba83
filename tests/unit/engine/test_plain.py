"""What the model says of the images as they are is computed once for all detectors that ask inside of `sharing`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core import detectors
from mspc_core.detectors.spc import SPC
from mspc_core.detectors.strip import STRIP, STRIPConfig
from mspc_core.engine.forward import allow_half, counting, predict_logits
from mspc_core.engine.pixels import DeviceImages
from mspc_core.engine.plain import plain_predictions, sharing
from mspc_core.errors import InputError


def passed(model: nn.Module, images: np.ndarray | DeviceImages) -> int:
    with counting(model) as count:
        plain_predictions(model, images)
    return int(count.forwards)


def test_they_are_those_of_a_pass(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    expected = predict_logits(tiny_model, random_images)
    found = plain_predictions(tiny_model, random_images)
    np.testing.assert_array_equal(found.logits, expected.numpy())
    np.testing.assert_array_equal(found.predicted, expected.argmax(1).numpy())
    assert found.classes == 4
    rows = np.array([7, 2, 2])
    part = found.at(rows)
    assert torch.equal(part, expected[torch.from_numpy(rows)])
    part.zero_()  # a copy
    np.testing.assert_array_equal(found.logits, expected.numpy())
    with pytest.raises(ValueError, match="read-only"):
        found.predicted[0] = 3


def test_one_pass_inside_and_one_each_outside(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    assert [passed(tiny_model, random_images) for _ in range(2)] == [40, 40]
    with sharing(tiny_model, random_images):
        assert [passed(tiny_model, random_images) for _ in range(3)] == [40, 0, 0]
        held = DeviceImages(random_images, torch.device("cpu"))
        assert passed(tiny_model, held) == 0, "the same images, elsewhere"
        assert passed(tiny_model, random_images[:30]) == 30, "others"
        assert passed(tiny_model, random_images) == 0
        with sharing(tiny_model, random_images[::2]):
            assert passed(tiny_model, random_images) == 40
        assert passed(tiny_model, random_images) == 0, "as before the inner block"
    assert passed(tiny_model, random_images) == 40


def test_a_changed_model_is_asked_again(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with sharing(tiny_model, random_images):
        first = plain_predictions(tiny_model, random_images)
        with torch.no_grad():
            tiny_model.backbone.head.bias[2] += 50.0
        second = plain_predictions(tiny_model, random_images)
        assert (second.predicted == 2).all()
        assert not (first.predicted == 2).all()
        for module in tiny_model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.add_(1.0)  # no parameter
                break
        assert passed(tiny_model, random_images) == 40
        allow_half(tiny_model, False)
        assert passed(tiny_model, random_images) == 40, "in another precision"
        assert passed(tiny_model, random_images) == 0


def test_detectors_find_the_same_and_pass_less(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    labels = np.zeros(40, dtype=np.int64)

    def run() -> list[detectors.Detector]:
        found: list[detectors.Detector] = [SPC(), STRIP(STRIPConfig(overlays=3))]
        return [detector.fit(tiny_model, random_images, labels=labels) for detector in found]

    alone = run()
    with sharing(tiny_model, random_images):
        together = run()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.decision_scores_, other.decision_scores_)
        np.testing.assert_array_equal(one.labels_, other.labels_)
    assert [detector.artifacts_.forward_equivalents for detector in alone] == [40 * 12, 40 * 4]
    assert [detector.artifacts_.forward_equivalents for detector in together] == [40 * 12, 40 * 3]


def test_numbers_that_are_none_are_told_each_time(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with torch.no_grad():
        tiny_model.backbone.head.bias[1] = float("nan")
    with sharing(tiny_model, random_images):
        for _ in range(2):
            with pytest.raises(InputError, match="NaN"):
                plain_predictions(tiny_model, random_images)


def test_the_first_that_needs_them_is_estimated_to_make_them() -> None:
    from mspc_core.estimating.counts import Work
    from mspc_core.estimating.estimate import after_each_other

    plain = Work(forwards=120.0, shared=40.0, equivalents=(100.0, 120.0, 140.0))
    hooked = replace(plain, shared=0.0)
    found = after_each_other({"mixture": hooked, "spc": plain, "flare": hooked, "strip": plain})
    assert [work.forwards for work in found.values()] == [120.0, 120.0, 120.0, 80.0]
    assert found["strip"].equivalents == (60.0, 80.0, 100.0)
