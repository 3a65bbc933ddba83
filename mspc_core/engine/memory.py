"""Going on with smaller pieces when a device runs out of memory, and remembering what fitted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from mspc_core.errors import MEMORY, InputError, out_of_memory

_Found = TypeVar("_Found")
# Images that fitted after a back-off, for passes without and with gradients: a pass of hundreds of batches should fail
# once, not once a batch. Forgotten with the model.
_FITS: WeakKeyDictionary[nn.Module, dict[bool, int]] = WeakKeyDictionary()


def in_pieces(model: nn.Module, count: int, work: Callable[[slice], _Found]) -> list[_Found]:
    """`work` on slices that together cover 0 … count, in order: one slice, or smaller ones where memory runs out.

    work must leave nothing behind when it fails, so that it can be done again on half of the slice. How much fitted is
    remembered for the model. Raises `InputError` when not even one image fits; other errors pass.
    """
    known, gradients = _FITS.setdefault(model, {}), torch.is_grad_enabled()
    found: list[_Found] = []
    start = 0
    while start < count:
        size = min(known.get(gradients, count), count - start)
        try:
            found.append(work(slice(start, start + size)))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise InputError(
                    "The device has too little memory to pass a single image through this model: use --device cpu, a "
                    "smaller architecture, or smaller images."
                ) from None
        else:
            start += size
            continue
        # Outside of the except block: the error holds on to the tensors of the failed attempt.
        known[gradients] = size // 2
        _give_back()
    return found


@contextmanager
def in_one_piece() -> Iterator[None]:
    """For work that smaller pieces would change, such as a training step: BatchNorm's statistics are those of its
    batch. Raises `InputError` where memory runs out inside the block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    else:
        return
    _give_back()
    raise InputError(MEMORY)


def _give_back() -> None:
    """What the failed attempt held goes back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
