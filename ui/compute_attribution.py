"""Attributions for the Mask page: computed on demand with a copy of the run's model, one at a time, and cached."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from mspc_core.attribution import Attribution
from mspc_core.runs import Run
from ui import cache
from ui.image_choice import Picked

if TYPE_CHECKING:
    from torch import nn

# captum hangs hooks on the model and gradients flow through it. Every session of the server shares the run's model, so
# attributions work on a copy of their own, and one after the other.
_one_at_a_time = threading.Lock()


def prediction_of(run: Run, picked: Picked) -> np.ndarray:
    """What the model says of an image, float32 [C] (cached)."""
    return _prediction(str(run.folder), cache.stamp(run.folder / "model.safetensors"), picked.token, picked.pixels)


def attribution_of(run: Run, picked: Picked, target: int, method: str) -> Attribution:
    """One method's attribution (cached by image, class and method). Raises `InputError` where it has no answer."""
    stamp = cache.stamp(run.folder / "model.safetensors")
    return _attribution(str(run.folder), stamp, picked.token, target, method, picked.pixels)


@st.cache_data(max_entries=200, show_spinner=False)
def _prediction(folder: str, model: int, token: str, _pixels: np.ndarray) -> np.ndarray:
    from mspc_core.pasting import probabilities

    return probabilities(cache.model_of(Run(Path(folder))), _pixels[None])[0]


@st.cache_data(max_entries=120, show_spinner=False)
def _attribution(folder: str, model: int, token: str, target: int, method: str, _pixels: np.ndarray) -> Attribution:
    from mspc_core.attribution import attribute

    with _one_at_a_time:
        return attribute(_own_copy(folder, model), _pixels, target, method)


@st.cache_resource(max_entries=1, show_spinner=False)
def _own_copy(folder: str, model: int) -> nn.Module:
    import copy

    return copy.deepcopy(cache.model_of(Run(Path(folder)))).cpu().float()
