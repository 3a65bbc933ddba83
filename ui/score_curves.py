"""The Scores page's curves: ROC and precision-recall, with operating points and bootstrap intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from mspc_core import curves
from mspc_core.curves import Intervals, PrecisionRecall
from mspc_core.runs import Run
from ui import cache, evidence, figures_curves, filters
from ui.filters import View
from ui.text import HELP
from ui.theme import PLOTLY_CONFIG

REPEATS = 1000
_KINDS = {"roc": "ROC", "pr": "Precision–recall"}


def show(run: Run, chosen: str, shown: View) -> None:
    """Curves where the truth is known; else why there are none."""
    st.header("How well each score separates", help=HELP["AUROC"])
    found = evidence.curves_of(run, shown)
    if not found:
        if filters.known_truth(cache.scores_of(run)) is None:
            st.caption(
                "Not shown: nobody knows for sure which of these images are poisoned. ROC curves need a lab data set "
                "whose truth was recorded, such as the demo."
            )
        else:
            st.caption("Not shown: these images are of one kind only, so there is nothing to separate.")
        return
    st.fragment(_section)(run, chosen, shown)


def _section(run: Run, chosen: str, shown: View) -> None:
    found = evidence.curves_of(run, shown)
    many = len(found) > figures_curves.FEW
    with st.container(horizontal=True, vertical_alignment="center"):
        kind = st.segmented_control(
            "Curve",
            list(_KINDS),
            default="roc",
            required=True,
            format_func=_KINDS.__getitem__,
            key=f"curve-kind-{run.id}",
            label_visibility="collapsed",
        )
        log = st.toggle(
            "False-positive rate on a log axis",
            key=f"log-roc-{run.id}",
            disabled=kind != "roc",
            help="Spreads out the left edge, where few false alarms are allowed.",
        )
        every = st.toggle(
            "Intervals for every detector",
            key=f"intervals-{run.id}",
            help=f"95 % bootstrap intervals of both areas, from {REPEATS:,} resampled data sets. They say how much the "
            "choice of images matters, not the choice of the model's random seed.",
        )
    precision = {name: curve for name in found if (curve := _precision(run, name, shown)) is not None}
    names = list(found) if every else [chosen] if chosen in found else []
    intervals = {name: sure for name in names if (sure := _intervals(run, name, shown)) is not None}
    left, right = st.columns([1.25, 1] if many else [1, 1.1], gap="medium", vertical_alignment="center")
    with right:
        table = figures_curves.curves_table(
            found, precision, intervals, {name: _at_1(run, name, shown) for name in found}
        )
        st.dataframe(table, hide_index=True, width="stretch", column_config=_columns(), placeholder="–")
        st.caption(
            "Marks: where each detector's own threshold puts it. Up and to the "
            + ("left is better." if kind == "roc" else "right is better; the dotted line is flagging at random.")
            + (" The detector chosen above is drawn strongest; click a name in the legend to hide it." if many else "")
        )
    height = 480 if many else 360
    if kind == "roc":
        figure = figures_curves.roc_figure(found, chosen=chosen, log=bool(log), height=height)
    else:
        figure = figures_curves.precision_figure(precision, chosen=chosen, height=height)
    alt = f"{_KINDS[str(kind)]} curves of the detectors; their figures are in the table beside it."
    left.plotly_chart(figure, key=f"{kind}-{run.id}", config=PLOTLY_CONFIG, alt=alt)


def _columns() -> dict[str, Any]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    return {
        "detector": text(pinned=True),
        "AUROC": number(format="%.4f", help=HELP["AUROC"]),
        "AUROC 95 %": text(help="Bootstrap interval."),
        "AP": number(format="%.4f", help=f"Average precision. {HELP['average precision']}"),
        "AP 95 %": text(help="Bootstrap interval."),
        "TPR": number(format="percent", help=HELP["TPR"]),
        "FPR": number(format="percent", help=HELP["FPR"]),
        "TPR@1%": number(format="percent", help=HELP["TPR at 1 % FPR"]),
    }


def _precision(run: Run, detector: str, shown: View) -> PrecisionRecall | None:
    stamp = cache.stamp(run.folder / "scores.parquet")
    threshold = evidence.natural_threshold(run, detector)
    return _precision_of(str(run.folder), stamp, detector, threshold, shown.token, shown.part)


def _intervals(run: Run, detector: str, shown: View) -> Intervals | None:
    stamp = cache.stamp(run.folder / "scores.parquet")
    return _intervals_of(str(run.folder), stamp, detector, shown.token, shown.part)


def _at_1(run: Run, detector: str, shown: View) -> float | None:
    stamp = cache.stamp(run.folder / "scores.parquet")
    return _at_1_of(str(run.folder), stamp, detector, shown.token, shown.part)


@st.cache_data(max_entries=64, show_spinner=False)
def _precision_of(
    folder: str, changed: int, detector: str, threshold: float, token: str, _positions: np.ndarray | None
) -> PrecisionRecall | None:
    return curves.precision_recall(*evidence.ranked(folder, changed, detector, token, _positions), threshold)


@st.cache_data(max_entries=64, show_spinner=False)
def _intervals_of(
    folder: str, changed: int, detector: str, token: str, _positions: np.ndarray | None
) -> Intervals | None:
    return curves.bootstrap(*evidence.ranked(folder, changed, detector, token, _positions), repeats=REPEATS)


@st.cache_data(max_entries=64, show_spinner=False)
def _at_1_of(folder: str, changed: int, detector: str, token: str, _positions: np.ndarray | None) -> float | None:
    return curves.tpr_at(*evidence.ranked(folder, changed, detector, token, _positions))
