"""Parts of the Inspect page: the strip over n, the chart, how the scores build up, and the facts about a sample."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import compute, evidence, figures, filters
from ui.compute import BuildUp, Series
from ui.gallery import Tile, gallery
from ui.text import HELP, percent, plain, short
from ui.theme import CLEAN, NEUTRAL, PLOTLY_CONFIG

_CURVES = 5  # classes drawn in the chart


def facts(run: Run, scores: pd.DataFrame, position: int, classes: list[str]) -> None:
    """What is known of a sample: classes, confidence, truth, and every score with its flag."""
    row = scores.iloc[position]
    label, predicted = (evidence.name_of(classes, int(row[name])) for name in ("label", "predicted"))
    lines = [
        f"Label **{plain(label, 60)}**",
        f"Model says **{plain(predicted, 60)}**, {percent(float(row['confidence']))} sure",
    ]
    truth = truth_words(row, classes)
    if truth:
        lines.append(truth)
    st.markdown("  \n".join(lines))
    st.dataframe(score_table(run, scores, position), hide_index=True, width="stretch")
    st.caption(f"{plain(row['path'], 120)}  \nsample {plain(row['sample_id'], 40)}")


def truth_words(row: pd.Series, classes: list[str]) -> str:
    """The recorded truth in words (Markdown), or nothing while it is unknown."""
    if "is_backdoor" not in row or pd.isna(row["is_backdoor"]):
        return ""
    if not bool(row["is_backdoor"]):
        return "Truth: :blue-badge[clean]"
    original = row.get("original_label")
    was = "" if pd.isna(original) else f", really **{plain(evidence.name_of(classes, int(original)), 40)}**"
    return f"Truth: :orange-badge[backdoor]{was}"


def score_table(run: Run, scores: pd.DataFrame, position: int) -> pd.DataFrame:
    """One row a detector: score, threshold, flag."""
    row, rows = scores.iloc[[position]], []
    for name in filters.detector_names(scores.columns):
        score = float(row[f"{name}_score"].iloc[0])
        flagged = bool(filters.flags_of(row, name)[0])
        rows.append(
            {
                "detector": filters.title_of(name),
                "score": f"{score:.3f}" if np.isfinite(score) else "none",
                "flags above": f"{evidence.natural_threshold(run, name):g}",
                "flag": "⚑ flagged" if flagged else "–",
            }
        )
    return pd.DataFrame(rows)


def strip(series: Series, predicted: int, classes: list[str], key: str, chosen: float) -> None:
    """The image under n = 1 … 12, each with what the model says."""
    whole = [series.at(float(n)) for n in range(1, 13)]
    tiles = []
    for n, index in enumerate(whole, start=1):
        found = int(series.predicted[index])
        same = found == predicted
        tiles.append(
            Tile(
                str(n),
                ("✓ " if same else "✗ ") + evidence.name_of(classes, found),
                percent(float(series.confidence[index]), 0),
                badge=f"n = {n}",
                tone=CLEAN if same else NEUTRAL,
            )
        )
    gallery(
        series.images[whole],
        tiles,
        key=key,
        label="The image multiplied by 1 to 12, with the model's answer to each",
        size=72,
        gap=8,
        clickable=False,
        selected=f"{chosen:g}",
    )
    kept, name = int((series.predicted[whole] == predicted).sum()), plain(evidence.name_of(classes, predicted), 40)
    st.caption(f"✓ keeps the class the model gave to the untouched image (“{name}”): **{kept} of 12**. ✗ changes it.")


def chart(series: Series, predicted: int, classes: list[str], at: float, key: str) -> None:
    """Probabilities over n of the classes that matter, and the clipped share."""
    chosen = leading_classes(series.probabilities, predicted)
    figure = figures.probability_figure(
        series.scales, series.probabilities, chosen, _padded(classes, series), predicted, series.clipped, at
    )
    st.plotly_chart(figure, key=key, config=PLOTLY_CONFIG, alt="Class probabilities over the scale; table below.")
    table = figures.probability_table(
        series.scales, series.probabilities, chosen, _padded(classes, series), series.clipped
    )
    evidence.table_under(table, key=f"{key}-table")


def _padded(classes: list[str], series: Series) -> list[str]:
    return [evidence.name_of(classes, number) for number in range(series.probabilities.shape[1])]


def leading_classes(probabilities: np.ndarray, predicted: int, most: int = _CURVES) -> list[int]:
    """The predicted class, then those that reach the highest probability anywhere (at least 5 %)."""
    order = np.argsort(-probabilities.max(0), kind="stable")
    others = [int(number) for number in order if number != predicted and probabilities[:, number].max() >= 0.05]
    return [predicted, *others[: most - 1]]


def build_up(run: Run, scores: pd.DataFrame, position: int, classes: list[str]) -> None:
    """SPC and MSPC of this image, scale by scale, until the number stands."""
    row = scores.iloc[position]
    found = compute.build_ups(run, int(row["row"]), int(row["predicted"]))
    for column, (name, steps) in zip(st.columns(2, gap="large"), found.items(), strict=False):
        with column:
            st.markdown(f"**{filters.title_of(name)}**", help=HELP[filters.title_of(name)])
            table, widths = build_table(steps, classes), {"n": 40, "model says": 130, "sure": 64, "mark": 56}
            config = {column: st.column_config.TextColumn(width=width) for column, width in widths.items()}
            height = 38 + 35 * len(table)
            st.dataframe(table, hide_index=True, width="stretch", height=height, column_config=config)
            stored = float(row[f"{name}_score"]) if f"{name}_score" in row else float("nan")
            st.markdown(conclusion(steps, stored))
    if "mspc" not in found:
        st.caption("MSPC is added when its mask has been learned.")


def build_table(steps: BuildUp, classes: list[str]) -> pd.DataFrame:
    """One row a scale: what the model says, the mark, and the mean so far."""
    return pd.DataFrame(
        {
            "n": [f"{scale:g}" for scale in steps.scales],
            "model says": [short(evidence.name_of(classes, int(found)), 40) for found in steps.predicted],
            "sure": [percent(float(value), 0) for value in steps.confidence],
            "mark": [f"{mark:+d}" if steps.signed else f"{mark:d}" for mark in steps.marks],
            "mean so far": [f"{value:.3f}" for value in steps.running_mean],
        }
    )


def conclusion(steps: BuildUp, stored: float) -> str:
    """The sum in words (Markdown), and honestly whether it is the stored score."""
    total, count = int(steps.marks.sum()), len(steps.marks)
    text = f"{total} ÷ {count} = **{steps.score:.3f}**"
    if not np.isfinite(stored):
        return f"{text} (the scan has not stored this score yet)"
    if abs(stored - steps.score) < 5e-4:
        return f"{text}, as stored by the scan."
    return (
        f"{text}, but the scan stored **{stored:.3f}**: :orange[they differ]. Computing on another device, or a tie "
        "between two classes, can tip single scales."
    )
