"""What the playground computes with a run's own model, cached. Torch is imported inside the functions it calls."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from mspc_core import playground
from mspc_core.attacks.base import State
from mspc_core.attacks.recipe import Recipe, read_recipe
from mspc_core.data.decode import UnreadableImage, decode_image
from mspc_core.errors import InputError
from mspc_core.playground import Tally, Trial
from mspc_core.runs import Run
from ui import cache

UPLOAD_KINDS = ("png", "jpg", "jpeg")
UPLOAD_BYTES = 16 * 2**20
_QUICK, _QUICK_SIDE = ("small-cnn", "tiny-vit"), 64


def decoded(content: bytes, size: int) -> np.ndarray:
    """An uploaded picture as the model gets it, uint8 [size, size, 3]. Raises `InputError` for whatever is not one."""
    if len(content) > UPLOAD_BYTES:
        raise InputError(f"This file is larger than {UPLOAD_BYTES // 2**20} MB: choose a smaller picture.")
    try:
        return np.array(decode_image(content, size).image)
    except UnreadableImage as error:
        raise InputError(f"This file cannot be used as a picture ({error.reason}): choose a PNG or JPEG.") from None


def recipe_of(run: Run) -> Recipe:
    """How the scanned data set was poisoned. Raises `InputError` where that is not known, or the data set is gone."""
    return read_recipe(cache.dataset_of(run))


def trial_of(run: Run, image: np.ndarray, value: float | None) -> Trial:
    """One image with and without the trigger (cached)."""
    return _trial(*_files(run), hashlib.sha256(image.tobytes()).hexdigest(), value, image)


def tally_of(run: Run, value: float | None, seed: int) -> Tally:
    """How many of 64 random images turn (cached)."""
    return _tally(*_files(run), value, seed)


def is_quick(run: Run) -> bool:
    """Is the model small enough to try many images with every move of a slider?"""
    arch = (cache.summary_of(run).get("model") or {}).get("arch", run.config().arch)
    return arch in _QUICK and cache.dataset_of(run).info.size <= _QUICK_SIDE


def _files(run: Run) -> tuple[str, int, int]:
    root = cache.dataset_of(run).root
    return str(run.folder), cache.stamp(run.folder / "model.safetensors"), cache.stamp(root / "recipe.json")


@st.cache_resource(max_entries=2, show_spinner=False)
def _state(root: str, changed: int, _dataset: Any) -> State:
    found: State = _dataset.trigger()
    return found


@st.cache_data(max_entries=128, show_spinner=False)
def _trial(folder: str, model: int, recipe: int, digest: str, value: float | None, _image: np.ndarray) -> Trial:
    run = Run(Path(folder))
    dataset = cache.dataset_of(run)
    state = _state(str(dataset.root), recipe, dataset)
    return playground.try_one(cache.model_of(run), _image, read_recipe(dataset).attack, state, value)


@st.cache_data(max_entries=64, show_spinner=False)
def _tally(folder: str, model: int, recipe: int, value: float | None, seed: int) -> Tally:
    run = Run(Path(folder))
    dataset = cache.dataset_of(run)
    state, recipe_read = _state(str(dataset.root), recipe, dataset), read_recipe(dataset)
    return playground.try_many(cache.model_of(run), dataset, recipe_read, state=state, value=value, seed=seed)
