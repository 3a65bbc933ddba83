"""Running out of memory: smaller pieces, the same results, remembered; other errors and a hopeless case are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mspc_core.detectors.mspc import MSPC, MSPCConfig
from mspc_core.detectors.transplant import Transplant, TransplantConfig
from mspc_core.engine.forward import predict_logits, scaled_agreement
from mspc_core.engine.memory import in_pieces
from mspc_core.errors import InputError

SCALES = (2.0, 5.0, 9.0)
ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    "cpu": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "python": MemoryError,
}


class Narrow(nn.Module):
    """Passes images on to a model, up to `most` at a time; for more there is no memory."""

    def __init__(self, inner: nn.Module, most: int, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.inner, self.most, self.error = inner, most, error
        self.asked: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(len(images))
        if len(images) > self.most:
            raise self.error()
        logits: Tensor = self.inner(images)
        return logits


@pytest.mark.parametrize("kind", ERRORS)
def test_a_pass_goes_on_in_halves(kind: str, tiny_model: nn.Module, random_images: np.ndarray) -> None:
    narrow = Narrow(tiny_model, 6, ERRORS[kind])
    found = predict_logits(narrow, random_images, batch_size=20)
    assert torch.allclose(found, predict_logits(tiny_model, random_images), atol=1e-5)
    assert narrow.asked == [20, 10, 5, 5, 5, 5, 5, 5, 5, 5], "fails twice at the first batch, and never again"
    narrow.asked.clear()
    kept = scaled_agreement(narrow, random_images, found.argmax(1).numpy(), SCALES, batch_size=20)
    assert np.array_equal(kept, scaled_agreement(tiny_model, random_images, found.argmax(1).numpy(), SCALES))
    assert max(narrow.asked) == 5, "what fitted is known from the pass before"


def test_masks_are_learned_in_smaller_pieces(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    labels = np.zeros(len(random_images), dtype=np.int64)
    mspc = MSPCConfig(scales=SCALES, rounds=1, inner_steps=3, batch_size=16, scales_per_step=None)
    transplant = TransplantConfig(steps=3, images_per_step=24, partners=4)
    for whole, part, name in (
        (MSPC(mspc), MSPC(replace(mspc)), "mspc"),
        (Transplant(transplant), Transplant(replace(transplant)), "transplant"),
    ):
        whole.fit(tiny_model, random_images, labels=labels)
        narrow = Narrow(tiny_model, 11, ERRORS["cuda"])
        part.fit(narrow, random_images, labels=labels)
        assert max(narrow.asked) > 11, "some did not fit"
        np.testing.assert_allclose(part.artifacts_.masks[name], whole.artifacts_.masks[name], atol=2e-4)
        assert not np.array_equal(whole.artifacts_.masks[name][-1], whole.artifacts_.masks[name][0]), "it learned"


def test_passes_with_gradients_have_a_limit_of_their_own(tiny_model: nn.Module) -> None:
    batch = torch.rand(12, 3, 16, 16)
    narrow = Narrow(tiny_model, 4, ERRORS["cuda"])
    assert len(in_pieces(narrow, 12, lambda piece: narrow(batch[piece]))) == 4
    narrow.most = 12
    with torch.no_grad():
        assert len(in_pieces(narrow, 12, lambda piece: narrow(batch[piece]))) == 1


def test_what_no_piece_can_do_is_said(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="too little memory to pass a single image"):
        predict_logits(Narrow(tiny_model, 0, ERRORS["cuda"]), random_images)


def test_other_errors_pass(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    narrow = Narrow(tiny_model, 5, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        predict_logits(narrow, random_images)
    assert len(narrow.asked) == 1
