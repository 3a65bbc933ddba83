"""SPC against clean samples: worked cases by hand, and a slow, obvious implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors.base import CleanData
from mspc_core.detectors.spc_limited import SPCLimited, SPCLimitedConfig
from mspc_core.errors import InputError
from tests.unit.detectors import reference
from tests.unit.detectors.test_spc_mspc import SCALES, Brightness, grey

CONFIG = SPCLimitedConfig(scales=SCALES)


def test_by_hand() -> None:
    # SPC of grey images under these scales: 51 → 1/5, black → 1, anything above one half → 1 (see test_spc_mspc).
    # Clean samples of class 0: SPC 0.2 and 1, so μ = 0.6 and σ = 0.4. Those of class 1: always 1, no spread, so σ is
    # that of all four, (0.2, 1, 1, 1): √0.12.
    clean = CleanData(np.stack([grey(51), grey(0), grey(204), grey(230)]), np.array([0, 0, 1, 1]))
    images = np.stack([grey(51), grey(0), grey(180)])
    found = SPCLimited(CONFIG).fit(Brightness(), images, labels=np.zeros(3, int), clean=clean)
    assert found.decision_scores_.tolist() == pytest.approx([-1.0, 1.0, 0.0])
    assert found.labels_.tolist() == [False, True, False]
    spreads = [row["standard_deviation"] for row in found.artifacts_.tables["clean_classes"]]
    assert spreads == pytest.approx([0.4, 0.12**0.5])
    assert "in class 1:" in found.artifacts_.notes[0]


def test_a_class_without_clean_samples_is_compared_with_all() -> None:
    clean = CleanData(np.stack([grey(51), grey(0)]), np.array([0, 0]))
    found = SPCLimited(CONFIG).fit(Brightness(), np.stack([grey(180), grey(51)]), labels=np.zeros(2, int), clean=clean)
    assert found.decision_scores_.tolist() == pytest.approx([(1 - 0.6) / 0.4, -1.0])
    assert "in class 1:" in found.artifacts_.notes[0]


def test_equals_the_slow_implementation(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    images, trusted, labels = random_images[:20], random_images[20:], np.arange(20) % 4
    found = SPCLimited(CONFIG).fit(tiny_model, images, labels=np.zeros(20, int), clean=CleanData(trusted, labels))
    with torch.no_grad():
        consistency = np.array([reference.spc(tiny_model, image, SCALES) for image in trusted])
        slow = []
        for image in images:
            own = consistency[labels == int(tiny_model(reference.as_tensor(image)).argmax())]
            slow.append((reference.spc(tiny_model, image, SCALES) - own.mean()) / (own.std() or consistency.std()))
    assert found.decision_scores_.tolist() == pytest.approx(slow)
    assert np.std(slow) > 0.1


def test_forwards_are_counted(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    clean = CleanData(random_images[:20], np.arange(20) % 4)
    found = SPCLimited(CONFIG).fit(tiny_model, random_images, labels=np.zeros(40, int), clean=clean)
    assert found.artifacts_.forward_equivalents == (40 + 20) * (1 + len(SCALES))


@pytest.mark.parametrize("clean", [None, CleanData(np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, int))])
def test_without_clean_data(clean: CleanData | None, tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="known to be clean"):
        SPCLimited().fit(tiny_model, random_images, labels=np.zeros(40, int), clean=clean)
