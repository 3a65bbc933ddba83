"""STRIP and the thresholds it shares: a slow, obvious implementation, and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors.strip import STRIP, STRIPConfig, draw_overlays, entropy_bits
from mspc_core.detectors.thresholds import normal_tail, one_class_note, top_share
from mspc_core.errors import InputError
from tests.unit.detectors import reference


class CornerReader(nn.Module):
    """Class 2 for sure if the first pixel is white; else it wavers, the more so the darker the image."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        white = 60.0 * (x[:, :, 0, 0].mean(1) > 0.99)
        bright = self.gain * x.mean((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), bright, white], 1)


def test_overlays_are_other_images() -> None:
    drawn = draw_overlays(50, 40, 3)
    assert drawn.shape == (50, 40)
    assert (drawn != np.arange(50)[:, None]).all()
    assert drawn.min() == 0
    assert drawn.max() == 49
    counts = np.bincount(drawn.ravel(), minlength=50)
    assert counts.min() > 0.4 * counts.mean()
    assert (draw_overlays(50, 40, 3) == drawn).all()
    assert (draw_overlays(50, 40, 4) != drawn).any()
    assert draw_overlays(2, 3, 0).tolist() == [[1, 1, 1], [0, 0, 0]]


def test_entropy_in_bits() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [7.0, 7.0, -1e4, -1e4], [0.0, 1e4, 0.0, 0.0]])
    assert entropy_bits(logits).tolist() == pytest.approx([2.0, 1.0, 0.0])


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_equals_the_slow_implementation(weight: float, tiny_model: nn.Module, random_images: np.ndarray) -> None:
    config = STRIPConfig(overlays=3, weight=weight, seed=5)
    found = STRIP(config).fit(tiny_model, random_images, labels=np.zeros(40, int))
    overlays = draw_overlays(40, 3, 5)
    slow = []
    with torch.no_grad():
        for image, others in zip(random_images, overlays, strict=True):
            total = 0.0
            for other in others:
                mixed = reference.as_tensor(image) + weight * reference.as_tensor(random_images[other])
                y = torch.softmax(tiny_model(torch.clip(mixed, 0, 1))[0], 0)
                total -= float((y * torch.log2(y + 1e-30)).sum()) / 3
            slow.append(-total)
    assert found.decision_scores_.tolist() == pytest.approx(slow, abs=1e-4)
    assert np.std(slow) > 0.01
    assert found.artifacts_.forward_equivalents == 40 * (1 + 3)


def test_a_trigger_that_shines_through_is_found() -> None:
    images = np.random.default_rng(0).integers(0, 120, (200, 6, 6, 3), dtype=np.uint8)
    triggered = np.arange(200) % 10 == 0
    images[:, 0, 0] //= 4
    images[triggered, 0, 0] = 255
    # A clean image meets a triggered overlay in one of ten cases, and then it is class 2 for sure, too; so a clean
    # sample's entropy is 0.9 of log₂ 3 on average, and a triggered sample's is 0.
    found = STRIP(STRIPConfig(overlays=30)).fit(CornerReader(), images, labels=np.zeros(200, int))
    assert found.decision_scores_[triggered].tolist() == pytest.approx([0.0] * 20, abs=1e-6)
    assert found.decision_scores_[~triggered].mean() == pytest.approx(-0.9 * np.log2(3), abs=0.05)
    assert found.labels_[triggered].all()
    assert found.labels_[~triggered].mean() < 0.06


def test_normal_tail_by_hand() -> None:
    # 0 … 100: median 50, median absolute deviation 25; the 1 % point of a standard normal distribution is 2.3263.
    assert normal_tail(np.arange(101.0), 0.01) == pytest.approx(50 + 2.3263 * 25 / 0.67449, abs=0.01)


def test_normal_tail_is_that_of_the_majority() -> None:
    generator = np.random.default_rng(0)
    clean = generator.normal(-1.0, 0.2, 9000)
    value = normal_tail(np.concatenate([clean, np.full(1000, 3.0)]), 0.01)
    assert 0.001 < (clean > value).mean() < 0.01, "a tenth of outliers moves it a little, to the careful side"
    whole = np.concatenate([clean, np.full(1000, 3.0)])
    assert whole.mean() + 2.3263 * whole.std() > 1.0, "mean and standard deviation would be drawn far away"


def test_top_share() -> None:
    scores = np.random.default_rng(0).permutation(200).astype(float)
    for share, flagged in ((0.01, 2), (0.05, 10), (0.29, 58), (0.0001, 1)):
        assert (scores > top_share(scores, share)).sum() == flagged
    tied = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    assert (tied > top_share(tied, 0.5)).tolist() == [True, True, True, False, False, False]
    assert not (tied > top_share(tied, 0.34)).any(), "two of three tied samples cannot be told from the third"
    assert not (np.zeros(5) > top_share(np.zeros(5), 0.2)).any()
    assert not (np.zeros(1) > top_share(np.zeros(1), 0.2)).any()


def test_notes() -> None:
    dark = np.random.default_rng(1).integers(0, 40, (30, 6, 6, 3), dtype=np.uint8)
    model = CornerReader()
    nn.init.constant_(model.gain, -1.0)
    found = STRIP(STRIPConfig(overlays=2)).fit(model, dark, labels=np.zeros(30, int))
    assert "predicts class 0 for every image" in found.artifacts_.notes[0]
    assert one_class_note(np.array([0, 1])) == []


def test_entropies_that_spread_too_widely(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    nn.init.normal_(tiny_model.backbone.head.weight, std=0.5)
    config = STRIPConfig(overlays=1, false_rejection_rate=1e-9)
    found = STRIP(config).fit(tiny_model, random_images, labels=np.zeros(40, int))
    assert found.threshold_.value > 0
    assert not found.labels_.any()
    assert "nothing can be flagged" in found.artifacts_.notes[-1]


def test_one_image_cannot_be_overlaid(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least two"):
        STRIP().fit(tiny_model, random_images[:1], labels=np.zeros(1, int))
