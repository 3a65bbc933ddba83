"""Scores: how each detector's score is spread, what a threshold flags and misses, and which class it points to."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import (
    agreement_views,
    cache,
    evidence,
    figures,
    figures_data,
    filters,
    mixture_views,
    opinion_views,
    score_views,
    state,
)
from ui.detector_panel import how_it_works, show_not_run, threshold_help
from ui.errors import friendly
from ui.gallery import gallery
from ui.text import HELP, count, percent, plain, plural
from ui.theme import PLOTLY_CONFIG, detector_colour

STRIP = 24
FEW = 6  # up to so many detectors are chosen in one row of buttons


def choose_detector(run: Run, finished: list[str]) -> str:
    """Finished detectors to choose from, and those still at work, greyed out beside them."""
    summary = cache.summary_of(run)
    refused = summary.get("not_run") or {}
    waiting = [name for name in run.config().detectors if name not in finished and name not in refused]
    choice: Any = st.segmented_control if len(finished) + len(waiting) <= FEW else st.pills
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = choice(
            "Detector",
            finished,
            default=filters.telling_detector(cache.scores_of(run)),
            required=True,
            format_func=lambda name: plain(filters.title_of(name), 30),
            key=f"detector-{run.id}",
            wrap=True,
        )
        if waiting:
            word = "still running" if run.status().active else "not run"
            choice(
                "Waiting",
                waiting,
                format_func=lambda name: f"{plain(filters.title_of(name), 30)} · {word}",
                disabled=True,
                label_visibility="hidden",
                key=f"waiting-{run.id}",
                wrap=True,
            )
        chosen = chosen if chosen in finished else finished[-1]
    with st.container(horizontal=True, vertical_alignment="center"):
        how_it_works(chosen, record=summary.get("detectors", {}).get(chosen), key=f"about-{run.id}")
        show_not_run(refused, compact=True)
    return str(chosen)


@st.fragment
def explore(run: Run, detector: str) -> None:
    """Histogram with a movable threshold, live counts, and the images under a selected part of it."""
    with friendly():
        scores = cache.scores_of(run)
        truth, bins = filters.known_truth(scores), evidence.bins_of(run, detector)
        natural = evidence.natural_threshold(run, detector)
        left, right = st.columns([2.5, 1], gap="medium")
        with right:
            threshold = threshold_slider(run, detector, bins, natural)
            values = scores[f"{detector}_score"].to_numpy(dtype=float)
            show_counts(figures_data.counts_at(values, truth, threshold), bins)
        with left:
            chosen = show_histogram(run, detector, bins, threshold, natural)
        show_strip(run, scores, detector, chosen, truth)


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
    first, second = st.columns(2)
    first.metric("Would flag", count(counts.flagged))
    second.metric("Would keep", count(counts.kept))
    if counts.caught is not None:
        first.metric("TPR", percent(counts.tpr), help=HELP["TPR"])
        second.metric("FPR", percent(counts.fpr), help=HELP["FPR"])
        missed, alarms = count(counts.missed or 0), count(counts.false_alarms or 0)
        st.caption(f"Missed backdoors: **{missed}**  \nFalse alarms: **{alarms}**")
    else:
        st.caption("How many of these are right cannot be said: the truth is not known for this data.")
    if bins.missing:
        st.caption(f"{plural(bins.missing, 'image')} without a usable score (never flagged).")


def show_histogram(
    run: Run, detector: str, bins: figures_data.Bins, threshold: float, natural: float
) -> tuple[float, float] | None:
    """Draw it; returns the range of scores the user selected, if any."""
    key, title = f"histogram-{run.id}-{detector}", filters.title_of(detector)
    kept = range_key(run, detector)  # the chart forgets its selection when the threshold moves; the page does not

    def select() -> None:
        st.session_state[kept] = figures_data.selected_range(bins, st.session_state[key])

    chosen: tuple[float, float] | None = st.session_state.get(kept)
    figure = figures.histogram_figure(
        bins,
        threshold,
        natural,
        axis=f"{title} score (higher = more suspicious)",
        log=bool(st.session_state.get(f"log-{run.id}")),
        colour=detector_colour(detector),
        height=360,
        chosen=chosen,
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
        st.caption("Drag across bars (or click one) to see the images behind them.", width="content")
    return chosen


def range_key(run: Run, detector: str) -> str:
    """Where the selected range of scores is kept."""
    return f"range-{run.id}-{detector}"


def show_strip(
    run: Run, scores: pd.DataFrame, detector: str, chosen: tuple[float, float] | None, truth: np.ndarray | None
) -> None:
    """The first images in the selected range, or those with the highest scores."""
    low, high = chosen or (-np.inf, np.inf)
    queue = evidence.queue_of(run, filters.SampleFilter(ranges=((detector, low, high),)), f"{detector}_score")
    title = filters.title_of(detector)
    with st.container(horizontal=True, vertical_alignment="center"):
        if chosen:
            st.markdown(
                f"**{plural(len(queue), 'image')}** with {plain(title)} from {low:.2f} to {high:.2f}", width="content"
            )
        else:
            st.markdown(f"**Highest {plain(title)} scores**", width="content")
        if chosen and len(queue) and st.button("Review these", icon=":material/fact_check:", key=f"review-{run.id}"):
            state.go("review", score=f"{detector}:{low:.5f}:{high:.5f}", sample=None)
        if chosen:
            key = range_key(run, detector)
            st.button(
                "Clear", icon=":material/close:", type="tertiary", on_click=st.session_state.pop, args=(key, None)
            )
    shown = queue[:STRIP]
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[shown])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    if not len(shown):
        st.caption("No images there.")
        return
    classes = evidence.class_names(run)
    tiles = evidence.sample_tiles(scores, shown, classes, detector, truth=truth)
    clicked = gallery(pictures, tiles, key=f"strip-{run.id}-{detector}", label=f"Images by {title} score", size=64)
    if clicked:
        state.go("inspect", sample=clicked)
    rest = len(queue) - len(shown)
    st.caption((f"… and {count(rest)} more. " if rest > 0 else "") + "Click an image to inspect it.")


with friendly():
    run = state.require_run()
    st.title("Scores")
    evidence.verdict_line(run)
    evidence.watch(run)
    finished = filters.detector_names(cache.scores_of(run).columns)
    score_views.disagreement(run, finished)
    detector = choose_detector(run, finished)
    explore(run, detector)
    score_views.all_histograms(run, finished, detector)
    score_views.show_roc(run, detector)
    agreement_views.show(run, finished)
    score_views.show_classes(run, detector)
    mixture_views.show(run)
    opinion_views.show(run)
    score_views.show_facts(run, finished, detector)
