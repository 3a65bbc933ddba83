"""Cognitive Distillation: a slow, obvious implementation, one image at a time, and a scene whose masks are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors import cognitive_distillation as cd
from mspc_core.detectors.cognitive_distillation import CognitiveDistillation, CognitiveDistillationConfig
from mspc_core.engine.forward import frozen
from mspc_core.errors import InputError
from tests.unit.detectors import reference

CONFIG = CognitiveDistillationConfig(steps=5, seed=4)


class CornerOrWhole(nn.Module):
    """Class 1 on a white corner; else class 0 or 2 by the left half's brightness against the right half's."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(300.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corner = x[:, :, :3, :3].mean((1, 2, 3))
        white = (corner - 0.6).clamp(min=0.0) * 250.0
        halves = x[:, :, :, :8].mean((1, 2, 3)) - x[:, :, :, 8:].mean((1, 2, 3))
        free = (1.0 - white / 50.0).clamp(min=0.0)
        return torch.stack([self.gain * halves * free, white, -self.gain * halves * free], 1)


def slow_objective(
    model: nn.Module, x: torch.Tensor, mask: torch.Tensor, colour: torch.Tensor, config: CognitiveDistillationConfig
) -> torch.Tensor:
    height, width = mask.shape
    base = model(x)[0].detach()
    mixed = model(x * mask + (1 - mask) * colour)[0]
    distance = sum(abs(a - b) for a, b in zip(base, mixed, strict=True)) / len(base)
    variation = torch.zeros(())
    for row in range(height):
        for column in range(width):
            if row:
                variation = variation + (mask[row, column] - mask[row - 1, column]) ** 2
            if column:
                variation = variation + (mask[row, column] - mask[row, column - 1]) ** 2
    size = mask.sum() * 1024 / (height * width)
    return distance + config.sparsity * size + config.smoothness * variation / (height * width)


def test_objective_equals_the_slow_one(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    masks = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    colour = torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1)
    x = torch.cat([reference.as_tensor(image) for image in random_images[:3]])
    with torch.no_grad():
        found = cd.objective(tiny_model, x, tiny_model(x), masks, colour, CONFIG)
        slow = [float(slow_objective(tiny_model, x[i : i + 1], masks[i], colour, CONFIG)) for i in range(3)]
    assert found.tolist() == pytest.approx(slow, rel=1e-4)


def test_total_variation_by_hand() -> None:
    mask = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]])
    # Down: 0.5² + 0.5². Right: 1² + 0. Divided by four pixels.
    assert cd.total_variation(mask).tolist() == pytest.approx([1.5 / 4])


def test_masks_equal_those_of_the_slow_loop(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    """Adam written out, one image at a time."""
    images = random_images[:3]
    found = CognitiveDistillation(CONFIG).fit(tiny_model, images, labels=np.zeros(3, int))
    noise = cd.random_colours(5, 4)
    slow = []
    with frozen(tiny_model):
        for image in images:
            x = reference.as_tensor(image)
            w, first, second = torch.ones(16, 16), torch.zeros(16, 16), torch.zeros(16, 16)
            for step in range(5):
                leaf = w.clone().requires_grad_(True)
                loss = slow_objective(tiny_model, x, (torch.tanh(leaf) + 1) / 2, noise[step], CONFIG)
                (gradient,) = torch.autograd.grad(loss, leaf)
                first = 0.1 * first + 0.9 * gradient
                second = 0.1 * second + 0.9 * gradient**2
                corrected = first / (1 - 0.1 ** (step + 1)), second / (1 - 0.1 ** (step + 1))
                w = w - 0.1 * corrected[0] / (corrected[1].sqrt() + 1e-8)
            slow.append(-float(((torch.tanh(w) + 1) / 2).mean()))
    assert found.decision_scores_.tolist() == pytest.approx(slow, abs=1e-4)
    assert np.std(slow) > 1e-3


def test_a_trigger_that_decides_alone_has_a_small_mask() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 60, (60, 16, 16, 3), dtype=np.uint8)
    images[::2, :, :8] += 100
    images[1::2, :, 8:] += 100
    triggered = np.arange(60) % 6 == 0
    images[triggered, :3, :3] = 255
    config = CognitiveDistillationConfig(steps=60)
    found = CognitiveDistillation(config).fit(CornerOrWhole(), images, labels=np.zeros(60, int))
    assert found.labels_.tolist() == triggered.tolist()
    smallest, average = found.artifacts_.masks["cognitive_distillation"]
    assert smallest.shape == (16, 16)
    assert average.mean() == pytest.approx(-found.decision_scores_.mean(), abs=1e-5)
    assert -found.decision_scores_[triggered].max() < 0.2 < -found.decision_scores_[~triggered].max()


def test_neither_the_batch_nor_the_order_matters(
    tiny_model: nn.Module, random_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CognitiveDistillation(CONFIG).fit(tiny_model, random_images, labels=np.zeros(40, int))
    monkeypatch.setattr(cd, "gradient_batch_for", lambda *_: 7)
    parts = CognitiveDistillation(CONFIG).fit(tiny_model, random_images[::-1].copy(), labels=np.zeros(40, int))
    assert parts.decision_scores_[::-1].tolist() == pytest.approx(whole.decision_scores_.tolist(), abs=1e-4)


def test_forwards_are_counted(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    found = CognitiveDistillation(CONFIG).fit(tiny_model, random_images, labels=np.zeros(40, int))
    assert found.artifacts_.forward_equivalents == 40 * (1 + 2 * 5)


def test_threshold_is_one_deviation_above_the_mean(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    found = CognitiveDistillation(replace(CONFIG, gamma=0.7)).fit(tiny_model, random_images, labels=np.zeros(40, int))
    scores = found.decision_scores_.tolist()
    mean = math.fsum(scores) / 40
    deviation = math.sqrt(math.fsum((s - mean) ** 2 for s in scores) / 40)
    assert found.threshold_.value == pytest.approx(mean + 0.7 * deviation)
    assert 0 < found.labels_.sum() < 40


def test_the_price_of_a_mask_does_not_depend_on_the_size() -> None:
    model, colour = CornerOrWhole(), torch.zeros(3, 1, 1)
    prices = []
    for size in (16, 32, 64):
        x = torch.zeros(1, 3, size, size)
        with torch.no_grad():
            masks = torch.full((1, size, size), 0.5)
            prices.append(float(cd.objective(model, x, model(x), masks, colour, CONFIG)))
    assert prices == pytest.approx([0.01 * 512] * 3)


def test_evidence_keeps_the_smallest_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cd, "_KEPT", 3)
    evidence = cd._Evidence((2, 2))
    masks = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((2, 2), dtype=np.float32)
    for part in (slice(0, 5), slice(5, 8)):
        evidence.add(masks[part], -np.abs(np.arange(8.0)[part] - 5.0))  # best: 5, then 4 and 6
    kept, everything = evidence.means()
    assert kept.tolist() == [[5.0, 5.0], [5.0, 5.0]]
    assert everything.tolist() == [[3.5, 3.5], [3.5, 3.5]]


def test_a_model_that_predicts_one_class(random_images: np.ndarray, tiny_model: nn.Module) -> None:
    nn.init.zeros_(tiny_model.backbone.head.weight)
    found = CognitiveDistillation(CONFIG).fit(tiny_model, random_images, labels=np.zeros(40, int))
    assert "for every image" in found.artifacts_.notes[0]
    assert np.ptp(found.decision_scores_) < 1e-6, "nothing is needed to keep the answer"


def test_no_steps(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least one step"):
        CognitiveDistillation(replace(CONFIG, steps=0)).fit(tiny_model, random_images, labels=np.zeros(40, int))
