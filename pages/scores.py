"""Scores: how each detector's score is spread, what a threshold flags and misses, and which class it points to."""

from typing import Any

import streamlit as st

from mspc_core.runs import Run
from ui import (
    agreement_views,
    cache,
    embedding_views,
    evidence,
    filters,
    mixture_views,
    opinion_views,
    score_curves,
    score_explore,
    score_scatter,
    score_views,
    shared_filter,
    state,
)
from ui.detector_panel import how_it_works, show_not_run
from ui.errors import friendly
from ui.text import plain

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


state.through_router()
with friendly():
    st.title("Scores")
    run = state.require_run()
    evidence.verdict_line(run)
    evidence.watch(run)
    finished = filters.detector_names(cache.scores_of(run).columns)
    score_views.disagreement(run, finished)
    shown = shared_filter.bar(run)
    detector, selected = choose_detector(run, finished), state.selected_sample(run)
    if not shared_filter.nothing_left(run, shown):
        score_explore.explore(run, detector, shown, selected)
        score_views.all_histograms(run, finished, detector, shown)
        score_scatter.show_class_histograms(run, detector, shown)
        score_curves.show(run, detector, shown)
        score_scatter.show_pairs(run, finished, detector, shown, selected)
        embedding_views.show(run, detector=detector, shown=shown, selected=selected)
        agreement_views.show(run, finished, shown)
        score_views.show_classes(run, detector, shown)
    mixture_views.show(run)
    opinion_views.show(run)
    score_views.show_facts(run, finished, detector)
