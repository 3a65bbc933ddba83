"""The Scores page's histogram: a movable threshold with live counts, a selection that filters, the images behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, figures, figures_data, filters, shared_filter, state
from ui.detector_panel import threshold_help
from ui.errors import friendly
from ui.filters import View
from ui.gallery import gallery
from ui.text import HELP, count, percent, plain, plural
from ui.theme import PLOTLY_CONFIG, detector_colour
from ui.tiles import sample_tiles

STRIP = 24


@st.fragment
def explore(run: Run, detector: str, shown: View, selected: str | None) -> None:
    """Histogram with a movable threshold, live counts, and the images under a selected part of it."""
    with friendly():
        shared_filter.follow(run, shown, selected)
        scores = cache.scores_of(run)
        around = shared_filter.view(run, ignoring=(detector,))  # the histogram shows its own range as a selection
        truth, bins = filters.known_truth(scores), evidence.bins_of(run, detector, around)
        natural = evidence.natural_threshold(run, detector)
        left, right = st.columns([2.5, 1], gap="medium")
        with right:
            threshold = threshold_slider(run, detector, evidence.bins_of(run, detector), natural)
            values = scores[f"{detector}_score"].to_numpy(dtype=float)
            if around.everything:
                counts = figures_data.counts_at(values, truth, threshold)
            else:
                part = around.positions
                counts = figures_data.counts_at(values[part], None if truth is None else truth[part], threshold)
            show_counts(counts, bins)
        with left:
            show_histogram(run, detector, bins, threshold, natural, selected)
        show_strip(run, scores, detector, shown, truth, selected)


def threshold_slider(run: Run, detector: str, bins: figures_data.Bins, natural: float) -> float:
    """The threshold to try, and the way back."""
    low, high = figures_data.NATURAL_RANGE.get(detector, (float(bins.edges[0]), float(bins.edges[-1])))
    low, high = min(low, natural), max(high, natural)
    key = f"threshold-{run.id}-{detector}"
    value = st.slider(
        "Flag scores above",
        low,
        high,
        natural,
        step=0.01 if 0.5 <= high - low <= 4 else (high - low) / 200,
        format="%.2f" if high - low >= 0.5 else "%.4g",
        key=key,
        help="Moving it shows what another threshold would do. The flags stored in the run stay as they are.",
    )

    def reset() -> None:
        st.session_state[key] = natural

    rule = cache.summary_of(run).get("detectors", {}).get(detector, {}).get("threshold", {})
    st.button(
        "Natural threshold" if rule.get("rule", "natural") == "natural" else "The scan's threshold",
        on_click=reset,
        disabled=abs(value - natural) < 1e-9,
        icon=":material/restart_alt:",
        width="stretch",
        key=f"{key}-reset",
        help=f"Back to {natural:.4g}. {threshold_help(rule)}",
    )
    return float(value)


def show_counts(counts: figures_data.Counts, bins: figures_data.Bins) -> None:
    """What the threshold does, in numbers."""
    total = counts.flagged + counts.kept
    first, second = st.columns(2)
    first.metric("Would flag", count(counts.flagged))
    second.metric("Would keep", count(counts.kept))
    share = percent(counts.flagged / total) if total else "–"
    if counts.caught is not None:
        first.metric("TPR", percent(counts.tpr), help=HELP["TPR"])
        second.metric("FPR", percent(counts.fpr), help=HELP["FPR"])
        missed, alarms = count(counts.missed or 0), count(counts.false_alarms or 0)
        st.caption(f"Share flagged: **{share}**  \nMissed backdoors: **{missed}**  \nFalse alarms: **{alarms}**")
    else:
        st.caption(
            f"Share flagged: **{share}**  \nHow many of these are right cannot be said: the truth is not known for "
            "this data."
        )
    if bins.missing:
        st.caption(f"{plural(bins.missing, 'image')} without a usable score (never flagged).")


def show_histogram(
    run: Run, detector: str, bins: figures_data.Bins, threshold: float, natural: float, selected: str | None
) -> None:
    """Draw it; what is selected on it becomes a part of the shared filter."""
    key, title = f"histogram-{run.id}-{detector}", filters.title_of(detector)

    def select() -> None:
        shared_filter.set_range(run, detector, figures_data.selected_range(bins, st.session_state[key]))

    position = cache.position_of(run, selected)
    marked = None if position is None else float(cache.scores_of(run)[f"{detector}_score"].iloc[position])
    figure = figures.histogram_figure(
        bins,
        threshold,
        natural,
        axis=f"{title} score (higher = more suspicious)",
        log=bool(st.session_state.get(f"log-{run.id}")),
        colour=detector_colour(detector),
        height=360,
        chosen=shared_filter.current(run).range_of(detector),
        marked=marked,
    )
    st.plotly_chart(
        figure,
        key=key,
        on_select=select,
        selection_mode=("points", "box"),
        config=PLOTLY_CONFIG,
        alt=f"Histogram of the {title} score; its numbers are in the table below.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.toggle("Log counts", key=f"log-{run.id}", help="Makes bars of a few images visible beside thousands.")
        evidence.table_under(figures.histogram_table(bins, threshold), key=f"{key}-table")
        st.caption("Drag across bars (or click one): the whole page then shows these images.", width="content")


def show_strip(
    run: Run, scores: pd.DataFrame, detector: str, shown: View, truth: np.ndarray | None, selected: str | None
) -> None:
    """The images that pass the filter, the highest scores first, and the one that is selected."""
    queue = evidence.queue_in(run, shown, f"{detector}_score")
    title = filters.title_of(detector)
    chosen = shown.wanted.range_of(detector)
    with st.container(horizontal=True, vertical_alignment="center"):
        if chosen:
            low, high = chosen
            st.markdown(
                f"**{plural(len(queue), 'image')}** with {plain(title)} from {low:.2f} to {high:.2f}", width="content"
            )
            st.button(
                "Clear",
                icon=":material/close:",
                type="tertiary",
                key=f"clear-range-{run.id}",
                on_click=shared_filter.set_range,
                args=(run, detector, None),
            )
        else:
            st.markdown(f"**Highest {plain(title)} scores**", width="content")
        review_these(run, len(queue), f"review-{run.id}")
    images_strip(run, queue, detector, key=f"strip-{run.id}-{detector}", truth=truth, selected=selected)
    selected_line(run, scores, selected)


def review_these(run: Run, images: int, key: str) -> None:
    """The way to Review with all that passes the filter."""
    if images and st.button("Review these", icon=":material/fact_check:", key=key):
        st.session_state[f"queue-{run.id}"] = "all"
        state.go("review", sample=None)


def images_strip(
    run: Run,
    queue: np.ndarray,
    detector: str,
    *,
    key: str,
    truth: np.ndarray | None = None,
    selected: str | None = None,
) -> None:
    """The first images of a queue; a click selects one, and every figure marks it."""
    scores, shown = cache.scores_of(run), queue[:STRIP]
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[shown])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    if not len(shown):
        st.caption("No images there.")
        return
    tiles = sample_tiles(scores, shown, evidence.class_names(run), detector, truth=truth)
    label = f"Images by {filters.title_of(detector)} score"
    gallery(pictures, tiles, key=key, label=label, size=64, selected=selected, on_click=state.select_sample)
    rest = len(queue) - len(shown)
    st.caption((f"… and {count(rest)} more. " if rest > 0 else "") + "Click an image to mark it in the figures.")


def selected_line(run: Run, scores: pd.DataFrame, selected: str | None) -> None:
    """What the selected image is, and where to go with it."""
    position = cache.position_of(run, selected)
    if position is None:
        return
    row, classes = scores.iloc[position], evidence.class_names(run)
    said = [plain(evidence.name_of(classes, int(row[name])), 40) for name in ("label", "predicted")]
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        what = f"**Selected:** {plain(row['path'], 60)} · label {said[0]} · model says {said[1]}"
        st.markdown(what, width="content")
        buttons: tuple[tuple[str, str, Any], ...] = (
            ("Inspect", ":material/search:", "inspect"),
            ("Decide", ":material/fact_check:", "review"),
        )
        for label, icon, page in buttons:
            if st.button(label, icon=icon, key=f"selected-{page}-{run.id}"):
                state.go(page, sample=selected)
        st.button("Unselect", type="tertiary", key=f"unselect-{run.id}", on_click=state.select_sample, args=(None,))
