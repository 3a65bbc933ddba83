"""The transplant test on a model whose answers are known: a square of a certain colour makes class 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mspc_core.detectors import class_masks
from mspc_core.detectors.regions import cut_region, draw_partners, transplant_loss
from mspc_core.detectors.regions import transplant as paste
from mspc_core.detectors.transplant import Transplant, TransplantConfig
from mspc_core.engine.forward import counting

QUICK = TransplantConfig(steps=120, images_per_step=40, partners=8)


class SquareReader(nn.Module):
    """Class 1 if the 4×4 square at the lower right is white enough, else class 0 or 2 by the left half's brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        square = x[:, :, 12:16, 12:16].mean((1, 2, 3)) - 0.75
        left = x[:, :, :, :8].mean((1, 2, 3)) - 0.4
        return self.gain * torch.stack([-20 * left, 80 * square, 20 * left], 1)


def scene(count: int = 60, triggered: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images, dark or bright in their left half; the first `triggered` carry a white square."""
    generator = np.random.default_rng(0)
    images = generator.integers(40, 120, (count, 16, 16, 3))
    images[count // 2 :, :, :8] += 60
    images[:triggered, 12:16, 12:16] = 255
    return images.astype(np.uint8), np.arange(count) < triggered


def test_finds_the_trigger_and_nothing_else() -> None:
    images, triggered = scene()
    found = Transplant(QUICK).fit(SquareReader(), images, labels=np.zeros(60, int))
    assert found.labels_.tolist() == triggered.tolist()
    assert (found.decision_scores_[triggered] == 1.0).all()
    masks = found.artifacts_.masks["transplant"]
    assert masks.shape == (3, 16, 16)
    region = cut_region(masks[1], QUICK.cut)
    assert region[12:16, 12:16].mean() > 0.5
    assert region[:, :8].mean() == 0.0
    rows = found.artifacts_.tables["classes"]
    assert [row["flagged"] for row in rows] == [0, 15, 0]
    assert rows[1]["strength"] == 1.0
    assert sum(row["predicted"] for row in rows) == 60


def test_a_clean_set_lets_go_of_everything() -> None:
    images, _ = scene(triggered=0)
    found = Transplant(QUICK).fit(SquareReader(), images, labels=np.zeros(60, int))
    assert not found.labels_.any()
    assert found.decision_scores_.max() <= 0.5


def test_loss_by_hand() -> None:
    """Two samples of class 1 and one of class 0: a mean within each class, and a cap."""
    model = SquareReader()
    generator = torch.Generator().manual_seed(0)
    images, partners = torch.rand(3, 3, 16, 16, generator=generator), torch.rand(3, 3, 16, 16, generator=generator)
    masks = torch.rand(3, 16, 16, generator=generator)
    owners, weights = torch.tensor([1, 1, 0]), torch.tensor([0.5, 0.5, 1.0])
    with torch.no_grad():
        losses = []
        for number in range(3):
            mixed = masks[number] * images[number] + (1 - masks[number]) * partners[number]
            losses.append(F.cross_entropy(model(mixed[None]), owners[number : number + 1]).item())
        cap = sorted(losses)[1]  # one loss below, one at, one above
        found = transplant_loss(model, images, partners, owners, masks, weights=weights, cap=cap)
    assert min(losses) < cap < max(losses)
    expected = sum(float(weight) * min(loss, cap) for weight, loss in zip(weights, losses, strict=True))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_parts_do_not_change_the_masks(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = scene()
    config = TransplantConfig(steps=10, images_per_step=20, partners=4)
    whole = Transplant(config).fit(SquareReader(), images, labels=np.zeros(60, int)).artifacts_.masks["transplant"]
    monkeypatch.setattr(class_masks, "gradient_batch_for", lambda device, size: part)
    parts = Transplant(config).fit(SquareReader(), images, labels=np.zeros(60, int)).artifacts_.masks["transplant"]
    assert whole.min() < 0.9, "the masks have moved"
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_a_class_that_let_go_costs_nothing_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at every class until the end gives the same masks for more forwards: two for each image drawn."""
    images, _ = scene()
    held, original = [], class_masks.holding

    def noted(grid: torch.Tensor) -> np.ndarray:
        held.append(original(grid))
        return held[-1]

    monkeypatch.setattr(class_masks, "holding", noted)
    found = Transplant(QUICK).fit(SquareReader(), images, labels=np.zeros(60, int)).artifacts_
    seen = np.sum(held, axis=0)
    assert seen[1] == QUICK.steps, "the trigger's class holds on to it"
    assert seen[2] < QUICK.steps, "an honest class has let go"
    monkeypatch.setattr(class_masks, "holding", lambda grid: np.ones(len(grid), bool))
    whole = Transplant(QUICK).fit(SquareReader(), images, labels=np.zeros(60, int)).artifacts_
    np.testing.assert_allclose(found.masks["transplant"], whole.masks["transplant"], atol=1e-4)
    each = QUICK.images_per_step // 3
    assert whole.forward_equivalents - found.forward_equivalents == 2 * each * (3 * QUICK.steps - seen.sum())


def test_pasting_by_hand() -> None:
    source, others = torch.ones(1, 3, 2, 2), torch.zeros(1, 2, 3, 2, 2)
    region = torch.tensor([[[[True, False], [False, False]]]])
    mixed = paste(source, others, region)
    assert mixed.shape == (1, 2, 3, 2, 2)
    assert mixed[0, 1, 2].tolist() == [[1, 0], [0, 0]]


def test_cutting_by_hand() -> None:
    mask = np.array([[0.5, 0.11], [0.09, 0.0]])
    assert cut_region(mask, 0.2).tolist() == [[True, True], [False, False]]
    assert not cut_region(mask * 0.01, 0.2).any(), "a collapsed mask has no region"


def test_partners_are_of_other_classes_and_evenly_drawn() -> None:
    predicted = np.repeat([0, 1, 2], [50, 5, 45])
    partners = draw_partners(predicted, 200, seed=0)
    assert (predicted[partners] != predicted[:, None]).all()
    counts = np.bincount(partners[:50].ravel(), minlength=100)
    assert (counts[:50] == 0).all()
    assert counts[50:].min() > 0.7 * counts[50:].mean(), "each of the fifty others is met"
    assert (draw_partners(predicted, 3, 1) == draw_partners(predicted, 3, 1)).all()
    assert (draw_partners(np.zeros(4, int), 2, 0) == -1).all()


def test_a_model_that_predicts_one_class(random_images: np.ndarray) -> None:
    dark = (random_images // 4).astype(np.uint8)
    found = Transplant(QUICK).fit(SquareReader(), dark, labels=np.zeros(40, int))
    assert not found.labels_.any()
    assert "one class for every image" in found.artifacts_.notes[0]


def test_forwards_are_counted() -> None:
    images, _ = scene()
    with counting(model := SquareReader()) as count:
        found = Transplant(QUICK).fit(model, images, labels=np.zeros(60, int))
    assert found.artifacts_.forward_equivalents == count.equivalents
    scored = sum(r["predicted"] for r in found.artifacts_.tables["classes"] if r["region_share"] > 0)
    assert count.forwards <= 60 + QUICK.steps * 40 + scored * QUICK.partners


@pytest.mark.parametrize("size", [16, 40, 100])
def test_sizes_other_than_32(size: int) -> None:
    """Price and rate are scaled: a bigger picture of the same scene gives the same answer."""
    images, triggered = scene()
    rows = np.arange(size) * 16 // size
    grown = images[:, rows][:, :, rows]

    class Shrinking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = SquareReader()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(F.interpolate(x, size=16, mode="area"))

    found = Transplant(QUICK).fit(Shrinking(), grown, labels=np.zeros(60, int))
    assert found.labels_.tolist() == triggered.tolist()
