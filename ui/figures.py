"""Plotly figures of scores: histograms with a threshold, probabilities over the scale. Free of streamlit.

Every figure has a `…_table` twin with the same numbers, for readers who cannot see it or want the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ui.figures_data import Bins, line_position
from ui.text import plotly_text, short
from ui.theme import ACCENT, BACKDOOR, CLEAN, FLAGGED, HATCH, NEUTRAL, figure_layout

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_SERIES_COLOURS = ("#3987C4", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#8E7CC3", "#A6761D", "#56B4E9")
_DASHES = ("solid", "dash", "dot", "dashdot")


def histogram_figure(
    bins: Bins,
    threshold: float,
    natural: float,
    *,
    title: str = "",
    axis: str = "score",
    log: bool = False,
    height: int = 340,
    compact: bool = False,
    colour: str = CLEAN,
    chosen: tuple[float, float] | None = None,
    marked: float | None = None,
) -> go.Figure:
    """Bars of a detector's score with its threshold; a second, dotted line marks the natural rule when it was moved.

    With known truth clean and backdoored samples stand side by side; else one colour counts all. Selecting bars
    returns their places on the score axis (`figures_data.score_range`). compact: a small multiple without legend.
    chosen: a range of scores to set off; bars outside it are pale. marked: the score of the selected image.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    low, high = chosen or (-np.inf, np.inf)
    strength = np.where((bins.centres >= low) & (bins.centres <= high), 1.0, 0.3)
    series = [("all samples", bins.clean, colour, "")]
    if bins.backdoor is not None:
        series = [("clean", bins.clean, CLEAN, ""), ("backdoor", bins.backdoor, BACKDOOR, "/")]
    for name, counts, fill, pattern in series:
        figure.add_bar(
            x=bins.centres,
            y=counts,
            name=name,
            marker={
                "color": fill,
                "opacity": strength,
                "pattern": {**HATCH, "shape": pattern},
                "line": {"width": 0},
            },
            customdata=np.column_stack([bins.edges[:-1], bins.edges[1:]]),
            hovertemplate=f"score %{{x:.3f}}<br>%{{y:,}} {name} samples<extra></extra>",
        )
    layout = figure_layout(height, barmode="group", showlegend=not compact and bins.backdoor is not None)
    layout["legend"] |= {"y": 1.09}
    layout["margin"] |= {"t": 52}
    layout |= {"dragmode": "select", "selectdirection": "h", "bargap": 0.12, "bargroupgap": 0.0}
    if title:
        layout |= {"title": {"text": plotly_text(title), "x": 0, "font": {"size": 14}}}
    if compact:
        layout |= {"dragmode": False, "margin": {"l": 4, "r": 4, "t": 32, "b": 4}}
    figure.update_layout(**layout)
    width = float(bins.edges[-1] - bins.edges[0])
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    figure.update_xaxes(title="" if compact else plotly_text(axis, 80), range=[low - 0.01 * width, high + 0.01 * width])
    figure.update_yaxes(
        title="" if compact else "samples" + (" (log)" if log else ""),
        type="log" if log else "linear",
        rangemode="tozero",
        nticks=4 if compact else 6,
    )
    if log:
        figure.update_yaxes(dtick=1, range=[-0.3, float(np.log10(max(2, bins.total.max()))) + 0.15])
    if marked is not None and np.isfinite(marked):
        figure.add_annotation(
            x=marked,
            y=0,
            text="" if compact else "selected",
            showarrow=True,
            arrowcolor=ACCENT,
            arrowwidth=2,
            arrowhead=2,
            ax=0,
            ay=-26,
            yref="paper",
            font={"size": 11, "color": ACCENT},
        )
    moved = abs(threshold - natural) > 1e-9
    if moved:
        figure.add_vline(x=line_position(bins, natural), line={"color": NEUTRAL, "width": 1.5, "dash": "dot"})
    at = line_position(bins, threshold)
    words = "" if compact else (f"flagged: above {threshold:.2f}" if moved else f"natural rule: above {threshold:.2f}")
    figure.add_vline(x=at, line={"color": FLAGGED, "width": 2.5, "dash": "solid" if moved else "dash"})
    if words:
        left = at < (low + high) / 2
        figure.add_annotation(
            x=at,
            y=1,
            yref="paper",
            text=words + " →",
            showarrow=False,
            xanchor="left" if left else "right",
            yanchor="bottom",
            xshift=4 if left else -4,
            font={"size": 12},
        )
    return figure


def histogram_table(bins: Bins, threshold: float) -> pd.DataFrame:
    """The histogram as rows: score range, counts, whether the threshold flags the bar's centre."""
    import pandas as pd

    columns: dict[str, Any] = {"from": bins.edges[:-1].round(4), "to": bins.edges[1:].round(4)}
    if bins.discrete:
        columns = {"score": bins.centres.round(4)}
    if bins.backdoor is None:
        columns["samples"] = bins.clean
    else:
        columns |= {"clean": bins.clean, "backdoor": bins.backdoor}
    columns["flagged"] = bins.centres > threshold + 1e-9
    table = pd.DataFrame(columns)
    return table[bins.total > 0].reset_index(drop=True)


def probability_figure(
    scales: np.ndarray,
    probabilities: np.ndarray,
    chosen: list[int],
    classes: list[str],
    predicted: int,
    clipped: np.ndarray,
    at: float,
    height: int = 320,
) -> go.Figure:
    """Class probabilities over the scale n, the clipped share as a grey area, and where the slider stands.

    scales: [S]; probabilities: [S, C]; chosen: classes to draw; clipped: share of pixel values cut off [S].
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=scales,
        y=clipped,
        name="clipped pixels",
        mode="lines",
        line={"width": 1.5, "color": NEUTRAL, "dash": "dot"},
        fill="tozeroy",
        fillcolor="rgba(138,146,156,0.13)",
        hovertemplate="%{y:.0%} of pixel values cut off<extra></extra>",
    )
    for position, number in enumerate(chosen):
        name = plotly_text(classes[number], 28) + (" (predicted)" if number == predicted else "")
        figure.add_scatter(
            x=scales,
            y=probabilities[:, number],
            name=name,
            mode="lines",
            line={
                "color": _SERIES_COLOURS[position % len(_SERIES_COLOURS)],
                "width": 3.5 if number == predicted else 1.8,
                "dash": "solid" if number == predicted else _DASHES[1 + position % 3],
            },
            hovertemplate="n = %{x:g}: %{y:.1%}<extra>" + name + "</extra>",
        )
    figure.add_vline(x=at, line={"color": NEUTRAL, "width": 1.5, "dash": "dot"})
    figure.update_layout(**figure_layout(height, margin={"l": 8, "r": 8, "t": 8, "b": 8}))
    figure.update_layout(legend={"orientation": "h", "y": -0.24, "yanchor": "top", "x": 0})
    figure.update_xaxes(title="scale n", range=[0.9, float(scales.max()) + 0.1], dtick=1)
    figure.update_yaxes(title="probability", range=[-0.02, 1.04], tickformat=".0%")
    return figure


def probability_table(
    scales: np.ndarray, probabilities: np.ndarray, chosen: list[int], classes: list[str], clipped: np.ndarray
) -> pd.DataFrame:
    """The numbers of `probability_figure`, one row a scale."""
    import pandas as pd

    columns: dict[str, Any] = {"n": scales}
    for number in chosen:
        columns[f"{short(classes[number], 40)} [{number}]"] = probabilities[:, number].round(4)
    return pd.DataFrame({**columns, "clipped": clipped.round(4)})
