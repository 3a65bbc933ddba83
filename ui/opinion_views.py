"""The Scores page's part on the second opinion: its evidence, by class and over the refinements of its ranking."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, figures_opinion
from ui.text import HELP, percent, plain
from ui.theme import PLOTLY_CONFIG


def show(run: Run) -> None:
    """Nothing for a run without a second opinion: the list of detectors says already that it is missing."""
    record = (cache.summary_of(run).get("detectors") or {}).get("second_opinion")
    tables = (record or {}).get("tables") or {}
    if not record or not tables.get("classes") or not tables.get("evidence"):
        return
    st.header("The second opinion", help=HELP["second opinion"])
    found = tables["evidence"][0]
    st.markdown(_explanation(found, int(record.get("flagged") or 0)))
    left, right = st.columns([1, 1.6], gap="large")
    with left:
        _figures(found)
        rows = tables.get("refinements") or []
        if len(rows) > 1:
            figure = figures_opinion.refinement_figure(rows, float(found["asked"]))
            st.plotly_chart(
                figure,
                key=f"refinements-{run.id}",
                config=PLOTLY_CONFIG,
                alt="Evidence and flagged images over the steps of the ranking; the numbers are in the table below.",
            )
            evidence.table_under(figures_opinion.refinement_table(rows), key=f"refinements-table-{run.id}")
    with right:
        table = class_table(tables["classes"], evidence.class_labels(run))
        share = st.column_config.ProgressColumn
        st.dataframe(
            table,
            hide_index=True,
            width="stretch",
            height=min(460, 38 + 35 * len(table)),
            column_config={
                "contradicted (flagged)": share(min_value=0, max_value=1, format="percent", help=HELP["contradicted"]),
                "contradicted (others)": share(
                    min_value=0,
                    max_value=1,
                    format="percent",
                    help="Of the images with this label that are not flagged. Without poison this is how often the "
                    "second opinion, which sees little, is wrong.",
                ),
            },
        )
    for note in record.get("notes") or []:
        st.caption(f":material/info: {plain(note, 400)}")


def class_table(rows: list[dict[str, Any]], labels: list[str]) -> pd.DataFrame:
    """One row a label class, those with most flagged images first. rows: the detector's table of classes."""
    ordered = sorted(rows, key=lambda row: -int(row["flagged"]))
    return pd.DataFrame(
        [
            {
                "label": labels[int(row["class"])] if int(row["class"]) < len(labels) else f"class {row['class']}",
                "images": int(row["samples"]),
                "flagged": int(row["flagged"]),
                "contradicted (flagged)": float(row["contradicted_flagged"]) if row["flagged"] else None,
                "contradicted (others)": float(row["contradicted_others"]),
            }
            for row in ordered
        ]
    )


def _explanation(found: dict[str, Any], flagged: int) -> str:
    if flagged:
        return (
            "A second model that hardly sees triggers contradicts the labels of the flagged images more often than its "
            "own confidence allows, and the scanned model's features say which images these are."
        )
    return (
        "A second model that hardly sees triggers contradicts some labels, but no more than its own confidence allows "
        "where the scanned model's features point: nothing is flagged."
    )


def _figures(found: dict[str, Any]) -> None:
    first, second, third = st.columns(3)
    first.metric("Evidence", f"{float(found['nats']):,.0f}", help=HELP["evidence"])
    second.metric(
        "Asked for",
        f"{float(found['asked']):g}",
        help="A million to one, asked before anything is flagged; the first, unrefined ranking gave "
        f"{float(found['first']):,.1f} nats.",
    )
    third.metric(
        "Agreement",
        percent(found.get("agreement"), 0),
        help="How many labels the second opinion confirms, of all images.",
    )
