"""Positions for `torch.utils.data.Subset`, in the order in which the usual loader of the source numbers its samples.

What the numbers count is said in the file, because a wrong order would be silently wrong.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from mspc_core.data.store import Dataset
from mspc_core.errors import InputError
from mspc_core.export.plan import Plan

# What torchvision.datasets.ImageFolder takes for an image (IMG_EXTENSIONS).
IMAGE_FOLDER_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_LAST_NUMBER = re.compile(r"\[(\d+)\]$")


@dataclass(frozen=True, eq=False)
class Positions:
    """at: int64 [n], one a sample that was asked for. order: what they count, in words. warnings: sentences."""

    at: np.ndarray
    order: str
    warnings: tuple[str, ...] = ()


def positions(dataset: Dataset, scanned: np.ndarray, wanted: np.ndarray) -> Positions:
    """Where the wanted rows stand in their source. scanned, wanted: int64 rows of the data set, wanted among scanned.

    Raises `InputError` where the usual loader does not have one of them.
    """
    info = dataset.info
    paths = dataset.manifest["path"]
    names = [str(path) for path in paths.iloc[wanted]]
    if info.kind in ("folder", "archive"):
        skipped = [str(path) for path in dataset.skipped()["path"]]
        listed = [str(path) for path in paths.iloc[scanned]]
        everything = image_folder_order([*listed, *_beside(listed, skipped)])
        known = {path: position for position, path in enumerate(everything)}
        missing = [path for path in names if path not in known]
        if missing:
            raise InputError(
                f"torchvision's ImageFolder does not read {len(missing):,} of them (first: {missing[0][:80]!r}): "
                "export an image folder or a file list instead."
            )
        at = [known[path] for path in names]
        return Positions(_array(at), "torchvision.datasets.ImageFolder(the folder that holds the class folders)")
    if info.kind == "torchvision":
        at = [int(path.rpartition("/")[2]) for path in names]
        return Positions(_array(at), f"the training part of the torchvision data set {info.source}")
    if info.kind == "arrays":
        at = [int(found[1]) for path in names if (found := _LAST_NUMBER.search(path))]
        return Positions(_array(at), "rows of the training images in the .npz file")
    ranks = np.searchsorted(np.sort(scanned), wanted)
    if info.kind not in ("parquet", "table"):
        return Positions(ranks, f"training images of the stored data set {info.name!r}, in its order")
    left_out = [reason for reason in dataset.skipped()["reason"] if reason != "not a Parquet file"]
    if not left_out:
        return Positions(ranks, "rows of the training part of the source, in its order")
    return Positions(
        ranks,
        "rows of the training part of the source, in its order, without the rows that could not be imported",
        (f"{len(left_out):,} rows of the source could not be imported: the indices do not count them.",),
    )


def image_folder_order(paths: Sequence[str]) -> list[str]:
    """Relative paths as ImageFolder sorts them: by class, then folder, then file name; other files are left out."""
    kept = [path for path in paths if path.lower().endswith(IMAGE_FOLDER_SUFFIXES)]
    root = os.path.commonpath([os.path.dirname(path) for path in kept]) if kept else ""
    depth = len(root.split("/")) if root else 0

    def key(path: str) -> tuple[str, str, str]:
        return path.split("/")[depth], os.path.dirname(path), os.path.basename(path)

    return sorted(kept, key=key)


def write_indices(plan: Plan, handle: BinaryIO, *, as_array: bool) -> list[str]:
    """JSON with the indices and what they count, or a bare int64 .npy. Returns warnings."""
    dataset = plan.open_dataset()
    scanned = plan.scores["row"].to_numpy(dtype=np.int64)
    found = positions(dataset, scanned, scanned[plan.chosen])
    found_at = np.sort(found.at)
    if as_array:
        np.save(handle, found_at, allow_pickle=False)
    else:
        about = {
            "indices": found_at.tolist(),
            "of": found.order,
            "samples": len(scanned),
            "keep": plan.config.keep,
            "drop": plan.config.drop,
            "run": plan.run.id,
            "use": "torch.utils.data.Subset(dataset, indices)",
        }
        handle.write((json.dumps(about, ensure_ascii=False) + "\n").encode())
    return [f"The indices count: {found.order}.", *found.warnings]


def _beside(names: Sequence[str], skipped: Sequence[str]) -> list[str]:
    """Skipped files that ImageFolder would count: those that lie in the class folders of the scanned split."""
    folders = {os.path.dirname(name) for name in names}
    return [path for path in skipped if os.path.dirname(path) in folders]


def _array(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)
