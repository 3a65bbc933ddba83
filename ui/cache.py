"""Cached loaders of a run's files, keyed by path and time of change, so that a running scan's new results are seen.

Tables and arrays are shared between sessions, not copied: data frames are handed out as shallow copies (pandas copies
on the first write) and arrays are read-only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from mspc_core.data.store import Dataset, open_dataset
from mspc_core.errors import InputError
from mspc_core.runs import Run, check_same_data

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from mspc_core.models.zoo import Normalised
    from mspc_core.reviews import Snapshot

_SNAPSHOTS = 8  # runs whose decisions are kept in memory


def stamp(path: Path) -> int:
    """When a file changed last, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def scores_of(run: Run) -> pd.DataFrame:
    """The run's table of scores. Raises `InputError` while there is none or when it is damaged."""
    return _scores(str(run.folder), stamp(run.folder / "scores.parquet")).copy(deep=False)


def masks_of(run: Run) -> dict[str, np.ndarray]:
    """Learned masks so far, read-only arrays; {} while there are none."""
    return dict(_masks(str(run.folder), stamp(run.folder / "masks.npz")))


def summary_of(run: Run) -> dict[str, Any]:
    """summary.json, {} while there is none."""
    return _summary(str(run.folder), stamp(run.folder / "summary.json"))


def dataset_of(run: Run) -> Dataset:
    """The scanned data set. Raises `InputError` while it is being imported, or when it was deleted or replaced."""
    config = run.config()
    if not config.dataset:
        raise InputError("The data of this run is still being imported.")
    dataset = stored_dataset(config.dataset)
    check_same_data(dataset, config)
    return dataset


def stored_dataset(name: str) -> Dataset:
    """A stored data set by name. Raises `InputError` when it is gone or damaged."""
    from mspc_core import home
    from mspc_core.engine.rows import give_back

    found = _dataset(name, stamp(home.datasets_folder() / home.check_name(name) / "dataset.json"))
    # The server lives for weeks, and every image that it has shown drags its neighbours on the disk along: without
    # this, all pixels would be counted as its memory in the end.
    give_back(found.pixels)
    return found


def model_of(run: Run) -> Normalised:
    """The run's model on the CPU, in evaluation mode. Loads torch. Raises `InputError` when there is none."""
    return _model(str(run.folder), stamp(run.folder / "model.safetensors"))


def decisions_of(run: Run) -> dict[str, str]:
    """sample_id → keep, remove or unsure, as decided so far. Shared: not to be changed."""
    return snapshot_of(run).decisions


def snapshot_of(run: Run) -> Snapshot:
    """What counts now. The database is asked each time, but only what is new is read."""
    from mspc_core.reviews import ReviewStore

    store, kept = ReviewStore(), _snapshots()
    key = (store.url, run.id)
    found = store.snapshot(run.id, kept.get(key))
    kept[key] = found
    for old in list(kept)[:-_SNAPSHOTS]:
        kept.pop(old, None)
    return found


def sample_index(run: Run) -> pd.Index:
    """The sample ids of the run's table, for quick look-ups."""
    return _index(str(run.folder), stamp(run.folder / "scores.parquet"))


def position_of(run: Run, sample_id: str | None) -> int | None:
    """The position of a sample in the run's table, None if it is not there."""
    index = sample_index(run)
    if not sample_id or sample_id not in index:
        return None
    found = index.get_loc(sample_id)
    return int(found) if isinstance(found, int | np.integer) else int(np.arange(len(index))[found][0])


def figure_of(key: tuple[str | int | float | bool, ...], make: Callable[[], go.Figure]) -> go.Figure:
    """A figure made once for its key, which has to name all that it shows. Shared between sessions: not to be changed.
    Pages of small multiples take most of their time in building figures."""
    return _figure(key, make)


@st.cache_resource(max_entries=256, show_spinner=False)
def _figure(key: tuple[str | int | float | bool, ...], _make: Callable[[], go.Figure]) -> go.Figure:
    return _make()


@st.cache_resource(max_entries=4, show_spinner=False)
def _scores(folder: str, changed: int) -> pd.DataFrame:
    return Run(Path(folder)).scores()


@st.cache_resource(show_spinner=False)
def _snapshots() -> dict[tuple[str, str], Snapshot]:
    """The latest snapshot of each run: replaced, never changed in place."""
    return {}


@st.cache_resource(max_entries=4, show_spinner=False)
def _index(folder: str, changed: int) -> pd.Index:
    import pandas as pd

    return pd.Index(scores_of(Run(Path(folder)))["sample_id"].to_numpy(dtype=object), dtype=object)


@st.cache_resource(max_entries=6, show_spinner=False)
def _masks(folder: str, changed: int) -> dict[str, np.ndarray]:
    found = Run(Path(folder)).masks()
    for mask in found.values():
        mask.setflags(write=False)
    return found


@st.cache_data(max_entries=64, show_spinner=False)
def _summary(folder: str, changed: int) -> dict[str, Any]:
    return Run(Path(folder)).summary()


@st.cache_resource(max_entries=6, show_spinner=False)
def _dataset(name: str, changed: int) -> Dataset:
    return open_dataset(name)


@st.cache_resource(max_entries=2, show_spinner="Loading the model …")
def _model(folder: str, changed: int) -> Normalised:
    from mspc_core.models.checkpoint import load_saved_model

    return load_saved_model(Path(folder))[0]
