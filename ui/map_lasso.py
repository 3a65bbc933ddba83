"""What a lasso on the map holds, beside it: its images, and the way to show only them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, filters, state
from ui.gallery import gallery
from ui.map_layers import TRUTH
from ui.text import count, percent, plain, plural
from ui.tiles import sample_tiles

OnUse = Callable[[np.ndarray], None]
SHOWN = 12  # as high as the map


def chosen(run: Run) -> np.ndarray:
    """Positions that the lasso holds, ascending, int64."""
    found = st.session_state.get(f"map-chosen-{run.id}")
    return np.zeros(0, np.int64) if found is None else found


def lasso(run: Run, scores: pd.DataFrame, detector: str, selected: str | None, on_use: OnUse) -> None:
    """The images in the lasso, and what to do with them."""
    held = chosen(run)
    if not len(held):
        _hint(run, scores, selected)
        return
    flagged = float(filters.flags_of(scores.iloc[held], detector).mean())
    st.markdown(
        f"**{plural(len(held), 'image')}** in the lasso, {percent(flagged, 0)} flagged by "
        f"{plain(filters.title_of(detector), 30)}"
    )
    with st.container(horizontal=True):
        if st.button(
            "Show only these",
            icon=":material/filter_alt:",
            key=f"map-use-{run.id}",
            help="Every figure and gallery, on all pages, then shows these images.",
        ):
            on_use(held)
            _forget(run)
            st.rerun(scope="app")
        st.button(
            "Clear", icon=":material/close:", type="tertiary", key=f"map-clear-{run.id}", on_click=_forget, args=(run,)
        )
    order = filters.ordered(scores, held, f"{detector}_score")[:SHOWN]
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[order])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    truth = filters.known_truth(scores) if st.session_state.get(f"map-colour-{run.id}") == TRUTH else None
    tiles = sample_tiles(scores, order, evidence.class_names(run), detector, truth=truth)
    gallery(
        pictures,
        tiles,
        key=f"map-strip-{run.id}",
        label="Images in the lasso",
        size=64,
        gap=8,
        selected=selected,
        on_click=state.select_sample,
    )
    rest = len(held) - len(order)
    st.caption((f"… and {count(rest)} more. " if rest > 0 else "") + "The highest scores first; click one to mark it.")


def _hint(run: Run, scores: pd.DataFrame, selected: str | None) -> None:
    """Beside an empty lasso: the selected image, or what to look for."""
    position = cache.position_of(run, selected)
    if position is None:
        st.markdown("**What to look for**")
        st.caption(
            "Images of one class usually form one group. Where a class falls into two, or a small group stands away "
            "from its class, something other than the object may be what the model recognises. Draw a lasso around it."
        )
        return
    row, classes = scores.iloc[position], evidence.class_names(run)
    st.markdown("**The ringed image**")
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[[position]])
    if pictures is not None:
        tiles = sample_tiles(scores, np.array([position]), classes, filters.telling_detector(scores) or "")
        gallery(pictures, tiles, key=f"map-one-{run.id}", label="The ringed image", size=128, clickable=False)
    said = [plain(evidence.name_of(classes, int(row[name])), 40) for name in ("label", "predicted")]
    st.caption(f"label {said[0]} · model says {said[1]}")
    if st.button("Inspect", icon=":material/search:", key=f"map-inspect-{run.id}"):
        state.go("inspect", sample=selected)


def _forget(run: Run) -> None:
    for name in ("chosen", "outlines", "seen", "old-outlines"):
        st.session_state.pop(f"map-{name}-{run.id}", None)
