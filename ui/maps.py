"""Features, maps and neighbours of a run for the pages, cached by the files they come from. Loads no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from mspc_core.maps import store
from mspc_core.maps.nearest import nearest
from mspc_core.maps.store import Map
from mspc_core.runs import Run
from ui import cache


def key_of(run: Run) -> str | None:
    """Names the run's model and samples (cached); None where the run keeps nothing of its model."""
    files = (cache.stamp(run.folder / name) for name in ("model.safetensors", "model.json", "scores.parquet"))
    return _key(str(run.folder), *files)


def features_of(run: Run) -> np.ndarray | None:
    """float16 [N, D], a read-only memory map in the order of the scores; None while there are none for this model."""
    key, changed = key_of(run), cache.stamp(store.folder_of(run) / f"{store.FEATURES}.json")
    found = None if key is None or not changed else _features(str(run.folder), changed, key)
    return found if found is not None and len(found) == len(cache.scores_of(run)) else None


def map_of(run: Run, kind: str) -> Map | None:
    """The PCA or UMAP map of a run; None while there is none for this model."""
    key, changed = key_of(run), cache.stamp(store.folder_of(run) / f"{kind}.npz")
    found = None if key is None or not changed else _map(str(run.folder), changed, kind, key)
    return found if found is not None and len(found.points) == len(cache.scores_of(run)) else None


def neighbours_of(run: Run, position: int, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions of the samples most like one, and their cosine distances (cached); None while there are no features."""
    if features_of(run) is None:
        return None
    changed = cache.stamp(store.folder_of(run) / f"{store.FEATURES}.json")
    return _neighbours(str(run.folder), changed, key_of(run) or "", position, count)


@st.cache_data(max_entries=16, show_spinner=False)
def _key(folder: str, model: int, about: int, scores: int) -> str | None:
    run = Run(Path(folder))
    return store.key_of(run, cache.scores_of(run)["row"].to_numpy())


@st.cache_resource(max_entries=4, show_spinner=False)
def _features(folder: str, changed: int, key: str) -> np.ndarray | None:
    return store.features_of(Run(Path(folder)), key)


@st.cache_resource(max_entries=6, show_spinner=False)
def _map(folder: str, changed: int, kind: str, key: str) -> Map | None:
    return store.map_of(Run(Path(folder)), kind, key)


@st.cache_data(max_entries=200, show_spinner=False)
def _neighbours(folder: str, changed: int, key: str, position: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    features = _features(folder, changed, key)
    if features is None:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    return nearest(features, position, count)
