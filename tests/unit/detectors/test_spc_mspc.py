"""SPC and MSPC against a slow, obvious implementation and values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors.mspc import MSPC as Mspc
from mspc_core.detectors.mspc import PAPER, MSPCConfig, scaled_divergence
from mspc_core.detectors.spc import SPC as Spc
from mspc_core.detectors.spc import SPCConfig
from mspc_core.engine.forward import counting, frozen, predict_logits, scaled_majority, to_float
from tests.unit.detectors import reference

SCALES = (2.0, 3.0, 5.0, 8.0, 12.0)


class Brightness(nn.Module):
    """Class 1 if the mean pixel is above one half, else class 0: its answers can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = self.gain * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([torch.zeros_like(bright), bright], 1)


def grey(value: int) -> np.ndarray:
    return np.full((4, 4, 3), value, dtype=np.uint8)


def test_spc_by_hand() -> None:
    # 204/255 = 0.8 stays bright at every scale: 5/5. 51/255 = 0.2 is dark, and 2·0.2 = 0.4 still is, but 3·0.2 = 0.6
    # and all above are not: 1/5. Black stays black: 5/5 (the known weakness at the ends of the range).
    images = np.stack([grey(204), grey(51), grey(0)])
    found = Spc(SPCConfig(scales=SCALES)).fit(Brightness(), images, labels=np.zeros(3, int))
    assert found.decision_scores_.tolist() == pytest.approx([1.0, 0.2, 1.0])
    assert found.labels_.tolist() == [True, False, True]


def test_mspc_by_hand() -> None:
    # τ = 0.1, no rounds (mask all ones). 0.8 → n·0.7 ≥ 1 at every scale: bright, +1.
    config = MSPCConfig(scales=SCALES, rounds=0)
    found = Mspc(config).fit(Brightness(), np.stack([grey(204), grey(52)]), labels=np.zeros(2, int))
    # 52/255 − 0.1 = 0.10392; times 5 is 0.5196: bright, so two of five scales agree: (2 − 3)/5.
    assert found.decision_scores_.tolist() == pytest.approx([1.0, -0.2])
    assert found.labels_.tolist() == [True, False]


def test_spc_equals_the_slow_implementation(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    found = Spc(SPCConfig(scales=SCALES)).fit(tiny_model, random_images, labels=np.zeros(40, int))
    with torch.no_grad():
        slow = [reference.spc(tiny_model, image, SCALES) for image in random_images]
    assert found.decision_scores_.tolist() == pytest.approx(slow)
    assert np.std(slow) > 0


def test_mask_gradient_equals_the_slow_objective(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    images, weights = random_images[:6], np.array([1, 0, 1, 1, 0, 1.0])
    generator = torch.Generator().manual_seed(1)
    start = torch.rand(16, 16, generator=generator)
    slow_mask = start.clone().requires_grad_(True)
    reference.lower_objective(tiny_model, images, weights, slow_mask, SCALES, 0.1, 0.0).backward()
    logits = predict_logits(tiny_model, images)
    mask = start.clone().requires_grad_(True)
    kept = weights.astype(bool)
    with frozen(tiny_model) as device:
        divergence = scaled_divergence(
            tiny_model, to_float(images[kept], device), logits[torch.from_numpy(kept)], mask, list(SCALES), 0.1
        )
        (divergence.sum() / len(images)).backward()
    assert slow_mask.grad is not None
    assert mask.grad is not None
    assert float(slow_mask.grad.abs().max()) > 1e-6
    torch.testing.assert_close(mask.grad, slow_mask.grad, rtol=1e-3, atol=1e-6)


def test_bilevel_loop_equals_the_published_one(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    images = random_images[:12]
    config = replace(PAPER, scales=SCALES, rounds=2, inner_epochs=3, batch_size=12, sparsity=0.001)
    # The reference works at 16×16, where our λ, learning rate and weight decay are rescaled: undo that for it.
    ratio = 16 * 16 / 1024
    same = replace(config, sparsity=0.001 * ratio, learning_rate=0.1 / ratio, weight_decay=5e-4 * ratio)
    found = Mspc(same).fit(tiny_model, images, labels=np.zeros(12, int))
    slow, mask = reference.published_loop(tiny_model, images, SCALES, tau=0.1, sparsity=0.001, rounds=2, epochs=3)
    learned = found.artifacts_.masks["mspc"][-1]
    assert float(np.abs(learned - 1).max()) > 0.01, "the mask must have moved for the comparison to mean anything"
    np.testing.assert_allclose(learned, mask.numpy(), atol=2e-3)
    # Scores are counts of argmax agreements: a tie may fall either way by rounding, but rarely.
    assert np.mean(np.abs(found.decision_scores_ - slow) < 1e-6) >= 0.9


def test_majority_is_exact_and_cheaper(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    predicted = predict_logits(tiny_model, random_images).argmax(1).numpy()
    with torch.no_grad():
        slow = [reference.mspc(tiny_model, image, SCALES, torch.ones(16, 16), 0.1) > 0 for image in random_images]
    with counting(tiny_model) as count:
        fast = scaled_majority(tiny_model, random_images, predicted, SCALES, shift=0.1)
    assert fast.tolist() == slow
    assert 3 * 40 <= count.forwards < 5 * 40


def test_only_suspicious_samples_are_optimised(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    """Base logits once, and no forward for a sample with w = 0 while the mask is learned."""
    config = replace(PAPER, scales=SCALES, rounds=1, inner_epochs=2, batch_size=40)
    found = Mspc(config).fit(tiny_model, random_images, labels=np.zeros(40, int))
    suspicious = found.artifacts_.tables["rounds"][0]["suspicious"]
    assert 0 < suspicious < 40
    with counting(tiny_model) as scoring:
        predicted = predict_logits(tiny_model, random_images).argmax(1).numpy()
        scaled_majority(tiny_model, random_images, predicted, SCALES, shift=0.1)
    final_and_black = 5 * 40 + 1
    learning = 2 * suspicious * len(SCALES) * 2  # epochs × samples × scales × (forward + backward)
    assert found.artifacts_.forward_equivalents == scoring.equivalents + final_and_black + learning


def test_no_sample_is_dropped_by_batching(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    whole = predict_logits(tiny_model, random_images)
    torch.testing.assert_close(predict_logits(tiny_model, random_images, batch_size=7), whole, rtol=1e-4, atol=1e-4)


def test_nothing_suspicious_leaves_the_mask_alone() -> None:
    dark = np.stack([grey(60)] * 8)  # 0.235 turns bright at every scale: MSPC is −1 for all
    found = Mspc(MSPCConfig(scales=(6.0, 8.0, 12.0))).fit(Brightness(), dark, labels=np.zeros(8, int))
    assert found.artifacts_.masks["mspc"].tolist() == np.ones((1, 4, 4)).tolist()
    assert not found.labels_.any()
    assert "no suspicious sample" in found.artifacts_.notes[0]


def test_a_collapsing_mask_is_caught() -> None:
    bright = np.stack([grey(0)] * 8)  # black stays black under any mask, so only the penalty is left
    config = MSPCConfig(scales=(2.0, 3.0), sparsity=5.0, inner_steps=40)
    found = Mspc(config).fit(Brightness(), bright, labels=np.zeros(8, int))
    assert found.artifacts_.masks["mspc"][-1].mean() == 1.0
    assert any("collapsed" in note for note in found.artifacts_.notes)
    assert any("black image" in note for note in found.artifacts_.notes)


def test_model_state_is_restored(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    tiny_model.train()
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    Mspc(MSPCConfig(rounds=1, inner_steps=2, batch_size=8)).fit(tiny_model, random_images, labels=np.zeros(40, int))
    assert tiny_model.training
    assert all(parameter.requires_grad for parameter in tiny_model.parameters())
    assert all(torch.equal(before[name], value) for name, value in tiny_model.state_dict().items())


def test_same_seed_same_scores(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    config = MSPCConfig(rounds=2, inner_steps=5, batch_size=16, seed=4)
    first = Mspc(config).fit(tiny_model, random_images, labels=np.zeros(40, int))
    second = Mspc(config).fit(tiny_model, random_images, labels=np.zeros(40, int))
    assert first.decision_scores_.tolist() == second.decision_scores_.tolist()
    assert first.artifacts_.masks["mspc"].tolist() == second.artifacts_.masks["mspc"].tolist()


@pytest.mark.parametrize("scales_per_step", [1, 2])
def test_scale_subsampling_is_unbiased(tiny_model: nn.Module, random_images: np.ndarray, scales_per_step: int) -> None:
    """The mean over all subsets of scales equals the mean over all scales."""
    from itertools import combinations

    logits = predict_logits(tiny_model, random_images[:4])
    with frozen(tiny_model) as device, torch.no_grad():
        batch, mask = to_float(random_images[:4], device), torch.ones(16, 16)
        whole = scaled_divergence(tiny_model, batch, logits, mask, list(SCALES), 0.1)
        subsets = [
            scaled_divergence(tiny_model, batch, logits, mask, list(subset), 0.1)
            for subset in combinations(SCALES, scales_per_step)
        ]
    torch.testing.assert_close(torch.stack(subsets).mean(0), whole, rtol=1e-4, atol=1e-5)
