"""Rendering whole sets of sign photographs: balanced, shuffled, and the same bytes for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mspc_core.data.signs.scene import photograph
from mspc_core.data.signs.shapes import CLASSES
from mspc_core.errors import Progress, ShouldStop, stop_if

__all__ = ["CLASSES", "SignSet", "render_signs"]

_CHUNK = 50  # images between two reports: about a tenth of a second


@dataclass(frozen=True)
class SignSet:
    """Rendered signs: `images` uint8 [N, size, size, 3], `labels` int64 [N] indexing `CLASSES`."""

    images: np.ndarray
    labels: np.ndarray


def render_signs(
    count: int,
    *,
    seed: int,
    size: int = 32,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> SignSet:
    """Photograph `count` signs at `size` × `size` pixels, the classes as equally frequent as `count` allows.

    Every image has a random generator of its own, derived from (`seed`, its position), so that the work may be split in
    any way without changing a byte. A training and a test set need different seeds. Raises `Cancelled` when
    `should_stop` says so.
    """
    if count < 0 or size < 8:
        raise ValueError(f"cannot render {count} images of {size} pixels")
    labels = np.random.default_rng(seed).permutation(np.arange(count, dtype=np.int64) % len(CLASSES))
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    # One thread on purpose: the steps are so short that Python's lock makes two threads slower than one (measured).
    for position in range(count):
        if position % _CHUNK == 0:
            stop_if(should_stop)
            _report(progress, position, count)
        images[position] = photograph(CLASSES[labels[position]], _generator(seed, position), size)
    _report(progress, count, count)
    return SignSet(images, labels)


def _report(progress: Progress | None, done: int, count: int) -> None:
    if progress is not None:
        progress(done, count, "drawing traffic signs")


def _generator(seed: int, position: int) -> np.random.Generator:
    """The random numbers of one image."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(position,))))
