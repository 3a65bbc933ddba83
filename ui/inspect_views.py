"""Parts of the Inspect page: the strip over n, the chart, how the scores build up, and the facts about a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import compute_series, evidence, figures, filters
from ui.compute_series import BuildUp, Series
from ui.gallery import Tile, gallery
from ui.inspect_controls import Settings, own_treatment
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
    row, rows = scores.iloc[position : position + 1], []
    for name in filters.detector_names(scores.columns):
        score = float(row[f"{name}_score"].iloc[0])
        flagged = bool(filters.flags_of(row, name)[0])
        rows.append(
            {
                "detector": filters.title_of(name),
                "score": f"{score:.3f}" if np.isfinite(score) else "none",
                "flags above": f"{evidence.natural_threshold(run, name):g}",
                "flag": "⚑ yes" if flagged else "–",
            }
        )
    return pd.DataFrame(rows)


def strip(series: Series, predicted: int, classes: list[str], key: str, chosen: float) -> None:
    """The image under every scale of a series, each with what the model says."""
    tiles = []
    for index, scale in enumerate(series.scales):
        found = int(series.predicted[index])
        same = found == predicted
        tiles.append(
            Tile(
                f"{scale:g}",
                ("✓ " if same else "✗ ") + evidence.name_of(classes, found),
                percent(float(series.confidence[index]), 0),
                badge=f"n = {scale:g}",
                tone=CLEAN if same else NEUTRAL,
            )
        )
    gallery(
        series.images,
        tiles,
        key=key,
        label="The image under each scale, with the model's answer",
        size=72,
        gap=8,
        clickable=False,
        selected=f"{chosen:g}",
    )
    scored = np.asarray(series.scales) != 1  # as in the scores below: at n = 1 nothing was multiplied
    kept, name = int((series.predicted == predicted)[scored].sum()), plain(evidence.name_of(classes, predicted), 40)
    st.caption(
        f"✓ keeps the class the model gave to the untouched image (“{name}”): **{kept} of {scored.sum()}**"
        f"{'' if scored.all() else ' without n = 1'}. ✗ changes it."
    )


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


def build_up(run: Run, scores: pd.DataFrame, position: int, classes: list[str], settings: Settings) -> None:
    """SPC and MSPC of this image, scale by scale, until the number stands; with the reader's settings beside the
    scan's where they differ."""
    row = scores.iloc[position]
    number, predicted = int(row["row"]), int(row["predicted"])
    found = compute_series.build_ups(run, number, predicted)
    own = own_build_ups(run, number, predicted, settings, tuple(found))
    places: list[Any] = []
    if own:
        for _ in found:
            places += st.columns(2, gap="large")
    else:
        places = [place for column in st.columns(2, gap="large") for place in (column, None)]
    for turn, (name, steps) in enumerate(found.items()):
        title, stored = filters.title_of(name), row.get(f"{name}_score")
        with places[2 * turn]:
            st.markdown(f"**{title}**" + (" · the scan's settings" if own else ""), help=HELP[title])
            _table(steps, classes)
            st.markdown(conclusion(steps, float("nan") if pd.isna(stored) else float(stored)))
        if name in own:
            with places[2 * turn + 1]:
                words, mine = own[name]
                st.markdown(f"**{title}** · {plain(words, 120)}")
                _table(mine, classes)
                st.markdown(outcome(mine, evidence.natural_threshold(run, name)))
    if "mspc" not in found:
        st.caption("MSPC is added when its mask has been learned.")


def own_build_ups(
    run: Run, row: int, predicted: int, settings: Settings, names: tuple[str, ...]
) -> dict[str, tuple[str, BuildUp]]:
    """What the reader's scales, mask and τ make of each score, with those settings in words; {} where they are the
    scan's."""
    mine, theirs = own_treatment(run, settings), compute_series.scan_treatment(run, "mspc")
    if settings.own is None and mine == theirs:
        return {}
    found = {}
    for name in names:
        scales = settings.own or compute_series.scan_scales(run, name)
        treatment = mine if name == "mspc" else compute_series.Treatment()
        words = ["your scales" if settings.own else "the scan's scales"]
        if name == "mspc":
            mask = "class mask" if mine.mask == compute_series.CLASS else "shared mask"
            weak = f" at {percent(mine.strength, 0)}" if mine.strength < 1 else ""
            words += [f"τ = {mine.tau:g}", mask + weak]
        steps = compute_series.build_up(run, name, row, predicted, scales, treatment)
        found[name] = (", ".join(words), steps)
    return found


def _table(steps: BuildUp, classes: list[str]) -> None:
    table, widths = build_table(steps, classes), {"n": 40, "model says": 130, "sure": 64, "mark": 56}
    config = {column: st.column_config.TextColumn(width=width) for column, width in widths.items()}
    st.dataframe(table, hide_index=True, width="stretch", height=38 + 35 * len(table), column_config=config)


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


def outcome(steps: BuildUp, threshold: float) -> str:
    """The sum of own settings in words (Markdown), and what the scan's threshold would make of it."""
    total, count = int(steps.marks.sum()), len(steps.marks)
    verb = "above" if steps.score > threshold else "not above"
    return f"{total} ÷ {count} = **{steps.score:.3f}**, {verb} the scan's threshold of {threshold:g}."
