"""Which images receive a region, and the pasting itself, cached."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.pasting import Pasted
from mspc_core.runs import Run
from ui import cache, compute, evidence
from ui.image_choice import Picked
from ui.mask_choice import ChosenMask

DELETED = "The images cannot be shown: the data set of this run was deleted. You can still upload some."


@dataclass(frozen=True)
class Receivers:
    """pixels: uint8 [K, H, W, 3]; names: where they come from; tokens: tell them apart (for caches). counted: how many
    of them turned in the scan, where it used the same ones."""

    pixels: np.ndarray
    names: tuple[str, ...]
    tokens: tuple[str, ...]
    counted: int | None = None


def draw(predicted: np.ndarray, number: int | None, without: int | None, most: int, seed: int) -> np.ndarray:
    """Up to `most` random positions, of one predicted class or of any; without one position. The same for a seed."""
    found = np.arange(len(predicted)) if number is None else np.flatnonzero(predicted == number)
    found = found[found != (-1 if without is None else without)]
    drawn: np.ndarray = np.random.default_rng([seed, 11]).permutation(found)[:most]
    return drawn


def scans_own(run: Run, mask: ChosenMask, picked: Picked) -> np.ndarray | None:
    """The images that the scan itself pasted this image's region on: only where its own class's mask is chosen."""
    if picked.position is None or mask.number is None:
        return None
    if int(cache.scores_of(run)["predicted"].iloc[picked.position]) != mask.number:
        return None
    try:
        return compute.transplant_of(run, picked.position).others
    except InputError:
        return None


def stored(run: Run, positions: np.ndarray) -> Receivers:
    """Images of the data set as receivers. Raises `InputError` when there are none, or the data set was deleted."""
    if not len(positions):
        raise InputError("There is no other image to paste it on.")
    rows = cache.scores_of(run).iloc[positions]
    pixels = evidence.pictures_of(run, rows["row"].to_numpy())
    if pixels is None:
        raise InputError(DELETED)
    return Receivers(pixels, tuple(rows["path"].astype(str)), tuple(rows["sample_id"].astype(str)))


def as_in_scan(run: Run, own: np.ndarray, position: int) -> Receivers:
    """The receivers of `scans_own`, with what the scan counted."""
    score = float(cache.scores_of(run)["transplant_score"].iloc[position])
    return replace(stored(run, own), counted=round(score * len(own)) if np.isfinite(score) else None)


def pasted(run: Run, donor: Picked, region: np.ndarray, receivers: Receivers) -> Pasted:
    """Cut, paste and ask the model (cached)."""
    return _pasted(
        str(run.folder),
        cache.stamp(run.folder / "model.safetensors"),
        donor.token,
        region.tobytes(),
        receivers.tokens,
        donor.pixels,
        region,
        receivers.pixels,
    )


@st.cache_data(max_entries=60, show_spinner=False)
def _pasted(
    folder: str,
    model: int,
    donor: str,
    region: bytes,
    tokens: tuple[str, ...],
    _donor: np.ndarray,
    _region: np.ndarray,
    _receivers: np.ndarray,
) -> Pasted:
    from mspc_core.pasting import paste_and_ask

    return paste_and_ask(cache.model_of(Run(Path(folder))), _donor, _region, _receivers)
