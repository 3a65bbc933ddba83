"""Images for the cost curves: classes that differ by blots of colour, and a backdoor, so that detectors find work."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.common import stored
from mspc_core import home
from mspc_core.data.store import Dataset

RATE, TARGET = 0.1, 0


def images(count: int, side: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [count, side, side, 3] and int64 [count]: every tenth image, of another class, has a white square in its
    corner and the label of the target. Without anything to find, several detectors would stop early."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 200, (classes, 4, 4, 3), dtype=np.uint8)
    each = -(-side // 4)
    blots = coarse.repeat(each, axis=1).repeat(each, axis=2)[:, :side, :side]
    labels = generator.permutation(count) % classes
    made = blots[labels] + generator.integers(0, 55, (count, side, side, 3), dtype=np.uint8)
    poisoned = generator.permutation(np.flatnonzero(labels != TARGET))[: round(RATE * count)]
    square = max(2, side // 8)
    made[poisoned, -square:, -square:] = 255
    labels[poisoned] = TARGET
    return made, labels


def dataset(name: str, count: int, side: int, classes: int) -> Dataset:
    """The same, stored."""
    folder = home.datasets_folder() / name
    folder.mkdir(parents=True)
    made, labels = images(count, side, classes)
    made.tofile(folder / "pixels.u8")
    number = np.arange(count)
    manifest = pd.DataFrame(
        {
            "sample_id": [f"{n:016x}" for n in number],
            "path": [f"{n:07d}.png" for n in number],
            "label": labels.astype(np.int32),
            "split": np.full(count, "train"),
            "width": np.full(count, side, np.int32),
            "height": np.full(count, side, np.int32),
            "mode": np.full(count, "RGB"),
        }
    )
    return stored(folder, manifest, classes=list(map(str, range(classes))), size=side)
