"""Scaled passes: the same bits as the plain formula, scales together where a batch is small, and nothing read twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mspc_core.engine import forward
from mspc_core.engine.forward import counting, predict_logits, scale_images, scaled_agreement, scaled_majority, to_float

CPU = torch.device("cpu")
SCALES = tuple(float(scale) for scale in range(2, 13))


class Seen(nn.Module):
    """Keeps what it is shown; the class of an image is the place of its brightest of the first four pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images.clone())
        return images[:, 0, 0, :4]


@pytest.mark.parametrize("batch_size", [7, 40, 100, 1000])
@pytest.mark.parametrize(("masked", "shift"), [(False, 0.0), (True, 0.1)])
def test_the_model_sees_exactly_the_formula(
    batch_size: int, masked: bool, shift: float, random_images: np.ndarray
) -> None:
    model, mask = Seen(), torch.rand(16, 16) if masked else None
    predicted = np.zeros(40, dtype=np.int64)
    scaled_agreement(model, random_images, predicted, SCALES, mask=mask, shift=shift, batch_size=batch_size)
    whole = to_float(random_images, CPU)
    wanted = {scale: scale_images(whole, scale, mask, shift) for scale in SCALES}
    found: dict[float, list[Tensor]] = {scale: [] for scale in SCALES}
    for start in range(0, 40, batch_size):
        size = min(batch_size, 40 - start)
        together = max(1, min(len(SCALES), batch_size // size))
        for first in range(0, len(SCALES), together):
            shown = model.shown.pop(0)
            assert shown.is_contiguous(memory_format=torch.channels_last)
            for scale, part in zip(SCALES[first : first + together], shown.split(size), strict=True):
                found[scale].append(part)
    assert not model.shown
    for scale in SCALES:
        assert torch.equal(torch.cat(found[scale]), wanted[scale])


def test_agreement_does_not_depend_on_the_batches(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    predicted = predict_logits(tiny_model, random_images).argmax(1).numpy()
    rows = np.array([3, 3, 39, 0, 17])
    whole = scaled_agreement(tiny_model, random_images, predicted, SCALES)
    for batch_size in (1, 3, 16, 1000):
        found = scaled_agreement(tiny_model, random_images, predicted, SCALES, indices=rows, batch_size=batch_size)
        assert np.array_equal(found, whole[rows])
    assert 0 < whole.mean() < 1
    assert scaled_agreement(tiny_model, random_images, predicted, SCALES, indices=rows[:0]).shape == (0, 11)


@pytest.mark.parametrize("count", [1, 2, 10, 11])
def test_a_majority_needs_no_forward_beyond_its_decision(
    count: int, tiny_model: nn.Module, random_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales = SCALES[:count]
    predicted = predict_logits(tiny_model, random_images).argmax(1).numpy()
    kept = scaled_agreement(tiny_model, random_images, predicted, scales)
    hits = kept.cumsum(1)
    left = count - np.arange(1, count + 1)
    decided = (hits > count / 2) | (hits + left <= count / 2)  # after each scale
    passes = []
    whole = forward.scaled_agreement
    monkeypatch.setattr(
        forward, "scaled_agreement", lambda *given, **named: (passes.append(len(given[3])), whole(*given, **named))[1]
    )
    with counting(tiny_model) as spent:
        found = scaled_majority(tiny_model, random_images, predicted, scales)
    assert np.array_equal(found, kept.mean(1) > 0.5)
    assert spent.forwards == int((decided.argmax(1) + 1).sum())
    assert passes[0] == (count + 1) // 2, "nothing can be decided before half of the scales: one pass"
