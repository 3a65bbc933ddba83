"""What a scan will be of, told from a source that is not imported yet: counted cheaply, a few of its images read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mspc_core.data.importing import check_source, decoded_chunks, source_key
from mspc_core.data.source import CountsSplits, Skipped, Source, open_source, shown
from mspc_core.data.store import Dataset, DatasetInfo, find_by_source
from mspc_core.data.torchvision_sets import TorchvisionSource
from mspc_core.engine.rows import Picked
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from mspc_core.runs import ScanConfig

_SECONDS = 1.5  # of reading
_MOST_BYTES = 64 * 2**20  # of images that are read
_KEY_WITHOUT_READING = ("folder", "table", "torchvision")


class UnreadDataset(Dataset):
    """Looks like the data set that importing a source would store, as far as an estimate asks: its pixels are those
    that were read, again and again, and its classes are equally large. import_seconds: what importing will take."""

    def __init__(
        self, info: DatasetInfo, images: np.ndarray, splits: np.ndarray, labels: np.ndarray, import_seconds: float
    ) -> None:
        self.root, self.info, self.import_seconds = Path(info.source), info, import_seconds
        self.pixels = Picked(images, np.arange(info.count) % len(images))  # type: ignore[assignment]
        self._manifest = pd.DataFrame({"label": labels, "split": splits})


def look_at(config: ScanConfig, clock: Callable[[], float] = time.perf_counter) -> Dataset:
    """Count the images of `config.source` and read some for a second or two. Stores nothing and downloads nothing. The
    stored data set, where it is seen without reading much that the source was imported before.

    Raises `InputError` as an import would, and where the number of images cannot be told before all are read.
    """
    source = open_source(config.source)
    name = shown(Path(source.location).name)
    if source.kind in _KEY_WITHOUT_READING and (stored := find_by_source(source_key(source), config.size)):
        return stored
    if isinstance(source, TorchvisionSource) and not source.is_here:
        raise InputError(f"{name} has to be downloaded before anything can be told of it: import it, then ask again.")
    check_source(source, config.size, 0)
    if not source.count:
        raise InputError(f"How many images {name} holds is not known before all are read: import it, then ask again.")
    images, each = _some(source, config.size, clock)
    if not len(images):
        raise InputError(f"None of the first images of {name} can be read: import it to see why.")
    counts = source.split_counts() if isinstance(source, CountsSplits) else {"train": source.count}
    counts = {split: count for split, count in counts.items() if count}
    total = sum(counts.values())
    info = DatasetInfo(
        name="",
        classes=tuple(source.classes),
        size=config.size,
        count=total,
        skipped=0,
        kind=source.kind,
        source=source.location,
        source_key="",
        content_key="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        split_counts=counts,
    )
    splits = np.repeat(list(counts), list(counts.values()))
    labels = np.arange(total) % len(info.classes)
    return UnreadDataset(info, images, splits, labels, total * each)


def _some(source: Source, size: int, clock: Callable[[], float]) -> tuple[np.ndarray, float]:
    """Some of the first images, uint8 [N, size, size, 3], and the seconds that reading one of them took."""
    found: list[np.ndarray] = []
    done, begun = 0, clock()
    with closing(decoded_chunks(source, size, min(8, os.cpu_count() or 1))) as chunks:
        for chunk in chunks:
            found += [item[2].image for item in chunk if not isinstance(item, Skipped)]
            done += len(chunk)
            if len(found) * size * size * 3 > _MOST_BYTES or clock() - begun > _SECONDS:
                break
    return np.array(found, dtype=np.uint8).reshape(-1, size, size, 3), (clock() - begun) / max(1, done)
