"""Find others like this: the images that the model sees most like the one on Inspect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import evidence, filters, map_job, maps, shared_filter, state
from ui.gallery import gallery
from ui.text import HELP, percent, plain, plural
from ui.tiles import sample_tiles

COUNTS = (12, 24, 48)


def show(run: Run, scores: pd.DataFrame, position: int, classes: list[str]) -> None:
    """The nearest images with distance, class and flags; what to do with them. Not for use inside of fragments."""
    st.header("Others like this", help=HELP["feature distance"])
    if map_job.missing(run, "which images look alike to it", f"neighbours-{run.id}"):
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        count = st.segmented_control("Show", COUNTS, default=COUNTS[1], required=True, key="neighbours-count")
    with st.spinner("Comparing with all images …"):
        found = maps.neighbours_of(run, position, int(count or COUNTS[1]))
    if found is None or not len(found[0]):
        st.caption("There is no other image in this run.")
        return
    near, distances = found
    detector = filters.telling_detector(scores) or ""
    st.markdown(sentence(scores, position, near, classes))
    with st.container(horizontal=True, vertical_alignment="center"):
        these = np.append(near, position)
        if st.button("Open these in Review", icon=":material/fact_check:", key="neighbours-review"):
            shared_filter.pick(run, these)
            st.session_state[f"queue-{run.id}"] = "all"
            state.go("review", sample=str(scores["sample_id"].iloc[position]))
        if st.button(
            "Show only these",
            icon=":material/filter_alt:",
            key="neighbours-use",
            help="Every figure and gallery, on all pages, then shows these images.",
        ):
            shared_filter.pick(run, these)
            st.rerun()
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[near])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    tiles = sample_tiles(scores, near, classes, detector)
    flags = flag_counts(scores, near)
    tiles = [
        replace(
            tile,
            note=f"{away:.3f}",
            badge=f"⚑ {flags[place]}" if flags[place] else "",
            hint=f"{tile.hint} · distance {away:.4f} · flagged by {flags[place]}",
        )
        for place, (tile, away) in enumerate(zip(tiles, distances, strict=True))
    ]
    gallery(
        pictures,
        tiles,
        key=f"neighbours-{run.id}",
        label="The images most like this one, nearest first",
        size=80,
        on_click=state.select_sample,
    )
    st.caption(
        "Below each image: its class and its distance. ⚑: by how many detectors it is flagged. Click one to see it."
    )


def sentence(scores: pd.DataFrame, position: int, near: np.ndarray, classes: list[str]) -> str:
    """What the neighbours say of the image, as Markdown."""
    predicted, label = scores["predicted"].to_numpy(), scores["label"].to_numpy()
    same = int((predicted[near] == predicted[position]).sum())
    name = plain(evidence.name_of(classes, int(predicted[position])), 40)
    text = f"Of the {plural(len(near), 'nearest image')}, **{same}** get the same class, {name}"
    others = label[near][label[near] != label[position]]
    if len(others):
        text += f"; {len(others)} have another label than this one"
    suspects = int(filters.suspects_of(scores)[near].sum())
    return f"{text}; **{percent(suspects / len(near), 0)}** are suspects."


def flag_counts(scores: pd.DataFrame, chosen: np.ndarray) -> np.ndarray:
    """By how many detectors each of some samples is flagged, int [K]."""
    rows = scores.iloc[chosen]
    found = np.zeros(len(chosen), dtype=int)
    for name in filters.detector_names(scores.columns):
        found += filters.flags_of(rows, name)
    return found
