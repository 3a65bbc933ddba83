"""Several samples side by side on Inspect: pinned ones and the one that is shown, their curves and their strips."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, compute_series, evidence, figures_inspect, filters, inspect_state, state
from ui.compute_series import WHOLE, Series
from ui.figures_inspect import Curve
from ui.gallery import Tile, gallery
from ui.inspect_controls import Settings
from ui.text import HELP, percent, plain, short
from ui.theme import CLEAN, NEUTRAL, PLOTLY_CONFIG


def show(
    run: Run, scores: pd.DataFrame, position: int, pins: list[str], settings: Settings, classes: list[str]
) -> None:
    """The pinned samples and the one that is shown, treated alike."""
    st.header("Side by side", help="Pin up to six images to compare how the model's answer to each holds over n.")
    if not pins:
        st.caption("Pin this image, go to another one, and both are compared here. The link keeps the pins.")
        return
    pinned = [place for name in pins if (place := cache.position_of(run, name)) is not None]
    everyone = [position, *(place for place in pinned if place != position)]
    samples = [(int(scores["row"].iloc[place]), int(scores["predicted"].iloc[place])) for place in everyone]
    curves = compute_series.series_of(run, samples, WHOLE, settings.treatment)
    names = [_name(scores, place, classes, this=place == position) for place in everyone]
    lines = [
        Curve(name, found.scales, found.probabilities[:, predicted], found.clipped)
        for name, found, (_, predicted) in zip(names, curves, samples, strict=True)
    ]
    key = f"side-by-side-{run.id}"
    st.plotly_chart(
        figures_inspect.comparison_figure(lines, settings.n),
        key=key,
        config=PLOTLY_CONFIG,
        alt="How sure the model stays of its first answer to each image, over the scale; table below.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        evidence.table_under(figures_inspect.comparison_table(lines), key=f"{key}-table")
        if st.button("Unpin all", icon=":material/keep_off:", type="tertiary", key="unpin-all"):
            inspect_state.clear_pins(run)
            st.rerun(scope="app")
        words = "Lines: the probability of the class that each untouched image gets. Thin: clipped."
        st.caption(words, help=HELP["clipped"])
    if settings.own is not None:
        curves = compute_series.series_of(run, samples, settings.own, settings.treatment)
    for place, series in zip(everyone, curves, strict=True):
        _strip(run, scores, place, series, classes, this=place == position, pinned=place in pinned)


def _name(scores: pd.DataFrame, place: int, classes: list[str], this: bool) -> str:
    row = scores.iloc[place]
    name = short(str(row["path"]).rpartition("/")[2], 24)
    return f"{'▸ ' if this else ''}{short(evidence.name_of(classes, int(row['predicted'])), 18)} · {name}"


def _strip(
    run: Run, scores: pd.DataFrame, place: int, series: Series, classes: list[str], *, this: bool, pinned: bool
) -> None:
    """A sample's facts beside its scaled images."""
    row = scores.iloc[place]
    identity, predicted = str(row["sample_id"]), int(row["predicted"])
    names, here = filters.detector_names(scores.columns), scores.iloc[[place]]
    flagged = [filters.title_of(name) for name in names if filters.flags_of(here, name)[0]]
    with st.container(horizontal=True, vertical_alignment="center"):
        words = f"**{plain(evidence.name_of(classes, predicted), 40)}** · {plain(row['path'], 60)}"
        words += f" · ⚑ by {len(flagged)} of {len(names)}" if flagged else " · not flagged"
        st.markdown(words, width="content", help=plain(", ".join(flagged), 300) if flagged else None)
        if this:
            st.badge("this image", color="blue")
        elif st.button("Look", key=f"look-{identity}", type="tertiary", icon=":material/search:"):
            state.select_sample(identity)
            st.rerun(scope="app")
        if pinned and st.button("Unpin", key=f"unpin-{identity}", type="tertiary", icon=":material/keep_off:"):
            inspect_state.toggle_pin(run, identity)
            st.rerun(scope="app")
    tiles = []
    for index, scale in enumerate(series.scales):
        found = int(series.predicted[index])
        same = found == predicted
        title = ("✓ " if same else "✗ ") + evidence.name_of(classes, found)
        hint = f"n = {scale:g}: {evidence.name_of(classes, found)}, {percent(float(series.confidence[index]), 0)} sure"
        tiles.append(Tile(f"{scale:g}", title, badge=f"{scale:g}", tone=CLEAN if same else NEUTRAL, hint=hint))
    label = "An image under each scale, with the model's answer"
    gallery(series.images, tiles, key=f"pin-strip-{identity}", label=label, size=64, gap=8, clickable=False)
