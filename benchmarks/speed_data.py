"""Poisoned images for the measurement of speed: a part of a real data set, or made up at any size and number."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mspc_core.attacks.badnets import BadNets, paste, patch_pixels
from mspc_core.attacks.poison import poison_dataset
from mspc_core.bench import plan, run
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.evaluate import truth_table
from mspc_core.home import datasets_folder
from mspc_core.scanning import pixels_of, scanned_rows

ATTACK = BadNets(size=5, pattern="checkerboard", place="lower-right", margin=1)
RATE, TARGET = 0.1, plan.TARGET_CLASS
_CLASSES, _CHUNK = 10, 1000


class Poisoned(NamedTuple):
    """images: uint8 [N, H, W, 3]; labels: int64 [N]; truth: bool [N]; test: clean images and labels, or None."""

    images: np.ndarray
    labels: np.ndarray
    truth: np.ndarray
    classes: int
    test: tuple[np.ndarray, np.ndarray] | None


def poisoned(whole: Dataset, count: int, seed: int) -> Poisoned:
    """`count` training images drawn with the seed, a tenth of them poisoned, and 2,000 clean test images."""
    clean = run.subset(whole, plan.Setting("speed", train=count, test=2000, arch=""), seed)
    name = f"{clean.info.name}-badnets"
    stored = (datasets_folder() / name).is_dir()
    data = (
        open_dataset(name) if stored else poison_dataset(clean, ATTACK, rate=RATE, target=TARGET, name=name, seed=seed)
    )
    rows, held_out = scanned_rows(data), data.indices("test")
    labels = data.manifest["label"].to_numpy().astype(np.int64)
    truth = truth_table(data, rows)["is_backdoor"].to_numpy(dtype=bool)
    # In memory: what is measured is computing, and the first reader of a map would pay for the disk.
    images = np.array(pixels_of(data, rows))
    test = (pixels_of(data, held_out), labels[held_out])
    return Poisoned(images, labels[rows], truth, len(data.info.classes), test)


def made_up(folder: Path, count: int, size: int, seed: int) -> Poisoned:
    """Ten classes of coloured clouds under noise, mapped from one file, a tenth with the same patch and target."""
    generator = np.random.default_rng([seed, 5])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"made-up-{count}-{size}-s{seed}.u8"
    labels = generator.integers(0, _CLASSES, count)
    truth = (generator.random(count) < RATE) & (labels != TARGET)
    coarse = generator.integers(40, 216, (_CLASSES, 4, 4, 3)).astype(np.float32)
    side = -(-size // 4)
    clouds = coarse.repeat(side, 1).repeat(side, 2)[:, :size, :size]
    images = np.memmap(path, np.uint8, "w+", shape=(count, size, size, 3))
    patch = patch_pixels("checkerboard", max(5, size // 8))
    corner = np.full(_CHUNK, size - len(patch) - 1)
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        noise = generator.integers(-40, 41, (part.stop - start, size, size, 1), dtype=np.int16)
        found = (clouds[labels[part]] + noise).clip(0, 255).astype(np.uint8)
        marked = np.flatnonzero(truth[part])
        found[marked] = paste(found[marked], patch, corner[: len(marked)], corner[: len(marked)], 1.0)
        images[part] = found
    images.flush()
    labels = np.where(truth, TARGET, labels).astype(np.int64)
    mapped = np.memmap(path, np.uint8, "r", shape=images.shape)
    return Poisoned(mapped, labels, truth, _CLASSES, None)
