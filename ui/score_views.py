"""Parts of the Scores page below the histogram: all detectors side by side, ROC, classes, facts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, figures, filters
from ui.text import HELP, duration, percent, plain
from ui.theme import PLOTLY_CONFIG, detector_colour

_MANY = 0.02  # share of flagged images above which single detectors are worth a word although no class stands out


def disagreement(run: Run, finished: list[str]) -> None:
    """When the verdict is "no evidence" but another detector flags many images, say so and what it can mean."""
    verdict = cache.summary_of(run).get("verdict") or {}
    if verdict.get("level") != "no_evidence":
        return
    scores = cache.scores_of(run)
    shares = {name: float(filters.flags_of(scores, name).mean()) for name in finished if name != "transplant"}
    loud = [f"{percent(share)} by {filters.title_of(name)}" for name, share in shares.items() if share > _MANY]
    if loud:
        st.caption(
            f":material/info: All the same, images are flagged: {' and '.join(loud)}. On clean data such flags are "
            "false alarms, often in classes with strong colours. Look where they pile up before you trust the set."
        )


def all_histograms(run: Run, finished: list[str]) -> None:
    """Each score's histogram side by side, with the share it flags."""
    st.subheader("All detectors side by side")
    scores = cache.scores_of(run)
    columns = st.columns(max(3, min(4, len(finished))), gap="medium")
    for position, name in enumerate(finished):
        natural, bins = evidence.natural_threshold(run, name), evidence.bins_of(run, name)
        flagged = float(filters.flags_of(scores, name).mean()) if len(scores) else 0.0
        figure = figures.histogram_figure(
            bins,
            natural,
            natural,
            title=f"{filters.title_of(name)} flags {percent(flagged)}",
            log=bool(st.session_state.get(f"log-{run.id}")),
            colour=detector_colour(name),
            height=190,
            compact=True,
        )
        alt = f"Histogram of the {filters.title_of(name)} score; choose the detector above for its table."
        columns[position % len(columns)].plotly_chart(
            figure, key=f"small-{run.id}-{name}", config={"displayModeBar": False}, alt=alt
        )


def show_roc(run: Run) -> None:
    """ROC curves where the truth is known; else why there are none."""
    st.subheader("How well each score separates", help=HELP["AUROC"])
    curves = evidence.curves_of(run)
    if not curves:
        if filters.known_truth(cache.scores_of(run)) is None:
            st.caption(
                "Not shown: nobody knows for sure which of these images are poisoned. ROC curves need a lab data set "
                "whose truth was recorded, such as the demo."
            )
        else:
            st.caption("Not shown: this data set holds only one kind of image, so there is nothing to separate.")
        return
    left, right = st.columns([1.1, 1], gap="medium", vertical_alignment="center")
    with right:
        log = st.toggle(
            "False-positive rate on a log axis",
            key=f"log-roc-{run.id}",
            help="Spreads out the left edge, where few false alarms are allowed.",
        )
        records = cache.summary_of(run).get("detectors", {})
        table = figures.roc_table(curves, {name: record.get("metrics") for name, record in records.items()})
        st.dataframe(table, hide_index=True, width="stretch", column_config=_roc_columns())
        st.caption("Diamonds: where each detector's natural threshold puts it. Up and to the left is better.")
    alt = "ROC curves of the detectors; their figures are in the table beside it."
    left.plotly_chart(figures.roc_figure(curves, log=log), key=f"roc-{run.id}", config=PLOTLY_CONFIG, alt=alt)


def _roc_columns() -> dict[str, Any]:
    number = st.column_config.NumberColumn
    return {
        "AUROC": number(format="%.4f", help=HELP["AUROC"]),
        "AP": number(format="%.4f", help=f"Average precision. {HELP['average precision']}"),
        "TPR": number(format="percent", help=HELP["TPR"]),
        "FPR": number(format="percent", help=HELP["FPR"]),
        "TPR@1%": number(format="percent", help=HELP["TPR at 1 % FPR"]),
    }


def class_table(rows: list[filters.ClassRow], labels: list[str]) -> pd.DataFrame:
    """The table of classes as it is shown; suspected targets carry a mark."""
    return pd.DataFrame(
        [
            {
                "class": ("◆ " if row.target else "") + labels[row.number],
                "images": row.samples,
                **{f"{filters.title_of(name)} flags": flagged for name, flagged in row.flagged.items()},
                **({} if row.rate is None else {"transplant rate": row.rate, "anomaly index": row.index}),
                **({} if row.backdoors is None else {"true backdoors": row.backdoors}),
            }
            for row in rows
        ]
    )


def show_classes(run: Run) -> None:
    """What the detectors flag in each predicted class; suspected targets on top."""
    st.subheader("Classes")
    rows = evidence.class_rows_of(run)
    if not rows:
        st.caption("This data set names no classes.")
        return
    config = {
        "class": st.column_config.TextColumn(
            "predicted class", width="medium", help="◆ marks a suspected target class."
        ),
        "transplant rate": st.column_config.ProgressColumn(
            min_value=0, max_value=1, format="percent", help=HELP["transplant rate"]
        ),
        "anomaly index": st.column_config.NumberColumn(format="%.1f", help=HELP["anomaly index"]),
    }
    table = class_table(rows, evidence.class_labels(run))
    st.dataframe(table, hide_index=True, width="stretch", column_config=config, height=min(640, 38 + 35 * len(table)))
    if any(row.target for row in rows):
        st.caption(
            "◆ suspected target: its region turns other images into it far more often than any other class's region."
        )


def show_facts(run: Run, finished: list[str]) -> None:
    """Cost, rule, source and notes of each detector."""
    st.subheader("About these detectors")
    records = cache.summary_of(run).get("detectors", {})
    scanned = max(1, len(cache.scores_of(run)))
    for column, name in zip(st.columns(max(3, len(finished))), finished, strict=False):
        record = records.get(name)
        if record is None:
            continue
        with column.container(border=True, height="stretch"):
            title = record.get("title", name)
            st.markdown(f"**{plain(title, 40)}**", help=HELP.get(title, HELP.get(name)))
            rule = record.get("threshold", {})
            st.markdown(f"Flags above **{rule.get('value', 0):g}**: {plain(rule.get('explanation', ''), 200)}.")
            cost = f"{duration(record.get('seconds'))} · {record.get('forward_equivalents', 0) / scanned:,.0f} forwards"
            st.caption(
                f"{cost} for each image · {plain(record.get('citation', ''), 120)}", help=HELP["forward-equivalents"]
            )
            for note in record.get("notes") or []:
                st.caption(f":material/info: {plain(note, 400)}")
