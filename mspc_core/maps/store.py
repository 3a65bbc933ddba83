"""Features and maps of a run on disk: whole or absent, and only used while model and samples are the same. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mspc_core import atomic
from mspc_core.files import open_regular, read_array, read_arrays
from mspc_core.runs import Run

FOLDER, FEATURES = "map", "features"
PCA, UMAP = "pca", "umap"
KINDS = (PCA, UMAP)


@dataclass(frozen=True)
class Map:
    """points: float32 [N, 2]. fitted: bool [N], the samples that made the map; the others were placed on it
    afterwards. explained: share of the features' variance along both axes (PCA; else 0)."""

    points: np.ndarray
    fitted: np.ndarray
    explained: tuple[float, float] = (0.0, 0.0)


def folder_of(run: Run) -> Path:
    """Where a run's features and maps lie; also the folder of the job that makes them."""
    return run.folder / FOLDER


def key_of(run: Run, rows: np.ndarray) -> str | None:
    """Names the model, the data and the samples of a run; None where the run keeps nothing of its model.

    rows: int64 [N], the samples' rows in the data set. A model that was given from Python and not kept is known by the
    fingerprint of its weights.
    """
    try:
        with open_regular(run.folder / "model.safetensors") as handle:
            digest = hashlib.file_digest(handle, "sha256")
    except OSError:
        fingerprint = _read_json(run.folder / "model.json").get("fingerprint")
        if not isinstance(fingerprint, str):
            return None
        digest = hashlib.sha256(fingerprint.encode())
    digest.update(run.config().content_key.encode())
    digest.update(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    return digest.hexdigest()


def features_of(run: Run, key: str | None) -> np.ndarray | None:
    """The features, a read-only memory map float16 [N, D]; None while there are none or when they are of another
    model."""
    folder = folder_of(run)
    if key is None or _read_json(folder / f"{FEATURES}.json").get("key") != key:
        return None
    try:
        found = read_array(folder / f"{FEATURES}.npy", mapped=True)
    except (OSError, ValueError):
        return None
    return found if found.ndim == 2 and found.dtype == np.float16 else None


def map_of(run: Run, kind: str, key: str | None) -> Map | None:
    """A map by its kind (`pca`, `umap`); None while there is none or when it is of another model."""
    try:
        stored = read_arrays(folder_of(run) / f"{kind}.npz")
        points, fitted = stored["points"], stored["fitted"]
        first, second = (float(value) for value in stored["explained"])
        if key is None or str(stored["key"]) != key:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if points.dtype != np.float32 or points.shape != (len(fitted), 2) or fitted.dtype != bool or fitted.ndim != 1:
        return None
    return Map(points, fitted, (first, second)) if np.isfinite(points).all() else None


def save_map(run: Run, kind: str, found: Map, key: str) -> None:
    """Write a map, atomically."""
    arrays: dict[str, Any] = {
        "points": found.points.astype(np.float32),
        "fitted": found.fitted,
        "explained": np.array(found.explained),
        "key": np.array(key),
    }
    atomic.write_with(folder_of(run) / f"{kind}.npz", lambda handle: np.savez(handle, allow_pickle=False, **arrays))


@contextmanager
def writing_features(run: Run, count: int, width: int, key: str) -> Iterator[BinaryIO]:
    """A handle for `count` rows of `width` float16 values; the file takes its place only when the block ends well.

    Written row by row and not through a memory map: a full disk is then an error that can be caught.
    """
    folder = folder_of(run)
    folder.mkdir(exist_ok=True)
    (folder / f"{FEATURES}.json").unlink(missing_ok=True)  # it vouches for the array
    with atomic.replacing(folder / f"{FEATURES}.npy") as handle:
        header = {"descr": "<f2", "fortran_order": False, "shape": (count, width)}
        np.lib.format.write_array_header_1_0(handle, header)
        yield handle
    atomic.write_json(folder / f"{FEATURES}.json", {"key": key, "count": count, "width": width, "dtype": "float16"})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return atomic.read_object(path)
    except (OSError, ValueError):
        return {}
