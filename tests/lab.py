"""Small real scans for tests: a learnable picture set, poisoned, and scanned once for everyone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SHAPES = ("bar", "cross", "ring", "corner")


def shape_image(kind: int, generator: np.random.Generator, size: int = 16) -> np.ndarray:
    """A bright shape on a noisy, tinted ground, uint8 [size, size, 3]; learnable in a few epochs."""
    ground = generator.uniform(60, 140, 3) + generator.normal(0, 18, (size, size, 3))
    row, column = generator.integers(4, size - 4, 2)
    rows, columns = np.indices((size, size))
    down, right = np.abs(rows - row), np.abs(columns - column)
    drawn = (
        (down <= 1) & (right <= 4),
        ((down == 0) & (right <= 3)) | ((right == 0) & (down <= 3)),
        (np.maximum(down, right) == 3),
        ((rows == row) & (columns >= column) & (right <= 4)) | ((columns == column) & (rows >= row) & (down <= 4)),
    )[kind]
    ground[drawn] += generator.uniform(45, 90)
    return np.clip(ground, 8, 240).astype(np.uint8)


def write_folder(root: Path, each: int, *, seed: int = 0, size: int = 16, test_each: int = 0) -> Path:
    """A class-per-folder data set of PNG files, with train/ and test/ if `test_each`."""
    generator = np.random.default_rng(seed)
    for split, count in (("train", each), ("test", test_each)):
        for kind, name in enumerate(SHAPES):
            folder = root / split / name if test_each else root / name
            if not count:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(shape_image(kind, generator, size)).save(folder / f"{number:04d}.png")
    return root


def shape_arrays(each: int, *, size: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The same pictures as arrays: uint8 [4 · each, size, size, 3] and labels int64, in turn 0, 1, 2, 3, 0, …"""
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(SHAPES)), each)
    return np.stack([shape_image(int(kind), generator, size) for kind in labels]), labels.astype(np.int64)
