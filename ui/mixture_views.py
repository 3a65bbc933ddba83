"""The Scores page's part on the feature mixture: how much each class falls into two groups."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from mspc_core.detectors.classwise import EXP_2
from mspc_core.runs import Run
from ui import cache, evidence, figures_mixture
from ui.text import HELP, plain
from ui.theme import PLOTLY_CONFIG


def show(run: Run) -> None:
    """Nothing for a run without it: the list of detectors says already that it is missing."""
    record = (cache.summary_of(run).get("detectors") or {}).get("mixture") or {}
    rows = (record.get("tables") or {}).get("classes") or []
    if not rows:
        return
    st.header("The feature mixture", help=HELP["feature mixture"])
    st.markdown(_explanation(int(record.get("flagged") or 0)))
    labels = evidence.class_labels(run)
    limit = float((record.get("config") or {}).get("threshold") or EXP_2)
    left, right = st.columns([1.2, 1.4], gap="large")
    with left:
        st.plotly_chart(
            figures_mixture.mixture_figure(rows, labels, limit),
            key=f"mixture-{run.id}",
            config=PLOTLY_CONFIG,
            alt="Every class by how far its two groups lie apart and how much the split explains; the numbers are in "
            "the table beside it.",
        )
    with right:
        table = class_table(rows, labels)
        st.dataframe(
            table,
            hide_index=True,
            width="stretch",
            height=min(460, 38 + 35 * len(table)),
            column_config={
                "gain": st.column_config.NumberColumn(format="%.1f", help=HELP["gain"]),
                "index": st.column_config.NumberColumn(
                    format="%.1f",
                    help=f"How far the gain stands out from the other classes'; above {limit:.1f} it does.",
                ),
                "explained": st.column_config.ProgressColumn(
                    min_value=0, max_value=1, format="percent", help=HELP["explained"]
                ),
            },
        )
    for note in record.get("notes") or []:
        st.caption(f":material/info: {plain(note, 400)}")


def class_table(rows: list[dict[str, Any]], labels: list[str]) -> pd.DataFrame:
    """One row a label class, those that stand out most first. rows: the detector's table of classes."""
    ordered = sorted(rows, key=lambda row: -float(row["anomaly_index"]))
    return pd.DataFrame(
        [
            {
                "label": figures_mixture.label_of(labels, row),
                "images": int(row["samples"]),
                "flagged": int(row["flagged"]),
                "gain": float(row["statistic"]),
                "index": float(row["anomaly_index"]),
                "explained": float(row["explained"]),
            }
            for row in ordered
        ]
    )


def _explanation(flagged: int) -> str:
    if flagged:
        return (
            "The network sees two groups of images under one label, further apart than in any other class. The group "
            "with the more mixed content is flagged."
        )
    return (
        "In the network's features no class falls into two groups that stand out from the others: nothing is flagged."
    )
