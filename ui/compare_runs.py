"""The Compare page's runs: read (cached), and chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache, compare_data, evidence, figures_data, filters, state
from ui.compare_data import FIGURES, VERDICT, RunFacts
from ui.text import HELP, short

if TYPE_CHECKING:
    import pandas as pd

MOST = 60  # runs compared at once
_SCOPES = {"lab": "Truth is known", "same": "Same data as the selected run", "all": "All with scores"}


def gather(runs: list[Run]) -> tuple[list[RunFacts], int]:
    """Every run with scores, newest first, and how many could not be read."""
    found, broken = [], 0
    labels = state.distinct_labels({run.id: run for run in runs})
    for run in runs:
        if not run.has_scores():
            continue
        try:
            stamps = cache.stamp(run.folder / "scores.parquet"), cache.stamp(run.folder / "summary.json")
            found.append(_facts(str(run.folder), *stamps, labels[run.id]))
        except (InputError, OSError, KeyError, ValueError):
            broken += 1
    return found, broken


def choose_runs(rows: list[RunFacts], selected: Run | None) -> list[RunFacts]:
    """A scope, and what to leave out of it."""
    here = next((row.data for row in rows if selected is not None and row.id == selected.id), "")
    scopes = {
        "lab": [row for row in rows if row.lab],
        "same": [row for row in rows if row.data == here],
        "all": rows,
    }
    offered = [name for name in _SCOPES if scopes[name]]
    default = "lab" if len(scopes["lab"]) > 1 else "same" if len(scopes["same"]) > 1 else "all"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scope = st.segmented_control(
            "Runs",
            offered,
            default=default,
            required=True,
            format_func=lambda name: f"{_SCOPES[name]} ({len(scopes[name])})",
            key="compare-scope",
        )
        pool = {row.id: row for row in scopes[scope or default]}
        with st.popover("Choose single runs", icon=":material/checklist:"):
            chosen = st.multiselect(
                "Runs to compare",
                list(pool),
                default=list(pool)[:MOST],
                format_func=lambda key: short(f"{pool[key].label} · {pool[key].setting}", 90),
                key=f"compare-runs-{scope}-{len(pool)}",
                max_selections=MOST,
                width=520,
            )
    return [pool[key] for key in pool if key in chosen]


def choose_figure(rows: list[RunFacts]) -> str:
    """Which figure the table and the heat map show."""
    names = [
        name
        for name in FIGURES
        if any(compare_data.value_of(row, d, name) is not None for row in rows for d in row.figures)
    ]
    found = st.segmented_control(
        "Figure",
        names,
        default=names[0] if len(names) > 1 else "flagged",
        required=True,
        format_func=lambda name: FIGURES[name][0],
        key=f"compare-figure-{'-'.join(names)}",
        help=f"AUROC: {HELP['AUROC']}  \nTPR: {HELP['TPR']}  \nFPR: {HELP['FPR']}",
    )
    return str(found or names[0])


def key_of(folder: Path) -> tuple[str, int, int]:
    return str(folder), cache.stamp(folder / "scores.parquet"), cache.stamp(folder / "summary.json")


@st.cache_data(max_entries=500, show_spinner=False)
def _facts(folder: str, scores_changed: int, summary_changed: int, label: str) -> RunFacts:
    run = Run(Path(folder))
    # Read here once, not kept, and without ids and paths: a comparison needs a few numbers of many runs.
    scores = run.scores(lambda name: name not in ("sample_id", "path"))
    flags = {name: filters.flags_of(scores, name) for name in filters.detector_names(scores.columns)}
    summary, truth = run.summary(), filters.known_truth(scores)
    if "suspect" in scores:
        flags[VERDICT] = filters.suspects_of(scores)
        summary = {**summary, "detectors": {**summary.get("detectors", {}), VERDICT: _verdict_record(scores, truth)}}
    return compare_data.facts_of(run.id, label, run.config(), summary, flags, truth)


def _verdict_record(scores: pd.DataFrame, truth: np.ndarray | None) -> dict[str, Any]:
    """The verdict's figures, as a detector's record has them; old runs have no score for it."""
    if truth is None or "suspect_score" not in scores:
        return {}
    from mspc_core.evaluate import detection_metrics

    found = detection_metrics(truth, scores["suspect_score"].to_numpy(dtype=float), filters.suspects_of(scores))
    return {"metrics": found.as_json()} if found else {}


@st.cache_data(max_entries=200, show_spinner=False)
def curve_of(folder: str, scores_changed: int, summary_changed: int, detector: str) -> figures_data.Roc | None:
    run = Run(Path(folder))
    scores = run.scores(lambda name: name in (f"{detector}_score", "is_backdoor"))
    truth = filters.known_truth(scores)
    if truth is None or f"{detector}_score" not in scores:
        return None
    values = scores[f"{detector}_score"].to_numpy(dtype=float)
    return figures_data.roc(values, truth, evidence.natural_threshold(run, detector))
