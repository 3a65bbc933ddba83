"""The figure of the feature mixture: classes by how much they fall into two groups. Free of streamlit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.detectors.classwise import EXP_2, UNIMODAL, anomaly_border
from ui.text import plotly_text
from ui.theme import BACKDOOR, CLEAN, NEUTRAL, figure_layout

if TYPE_CHECKING:
    import plotly.graph_objects as go


def label_of(labels: list[str], row: dict[str, Any]) -> str:
    """The class's name on one line."""
    number = int(row["class"])
    return labels[number] if number < len(labels) else f"class {number}"


def mixture_figure(rows: list[dict[str, Any]], labels: list[str], limit: float = EXP_2) -> go.Figure:
    """Every class: the share that the split explains (right is two modes), and the gain of two groups, logarithmic.

    Dashed lines are the limits that both have to be exceeded. rows: the detector's table of classes.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    gains = np.array([float(row["statistic"]) for row in rows])
    for flagged, colour, symbol, name in ((0, CLEAN, "circle", "not flagged"), (1, BACKDOOR, "diamond", "flagged")):
        own = [row for row in rows if bool(row["flagged"]) == bool(flagged)]
        if not own:
            continue
        figure.add_scatter(
            x=[float(row["explained"]) for row in own],
            y=[max(float(row["statistic"]), 1e-6) for row in own],
            name=name,
            mode="markers+text" if flagged else "markers",
            text=[plotly_text(label_of(labels, row), 24) for row in own],
            textposition="middle left",
            marker={"color": colour, "symbol": symbol, "size": 11 if flagged else 8},
            hovertemplate="%{text}<br>gain %{y:.1f}<br>%{x:.0%} explained<extra></extra>",
        )
    dashed = {"color": NEUTRAL, "width": 1.5, "dash": "dash"}
    figure.add_vline(x=UNIMODAL, line=dashed)
    border = anomaly_border(gains, limit)
    if border is not None:
        figure.add_hline(y=border, line=dashed)
    layout = figure_layout(300)
    layout["xaxis"] |= {"title": "variance explained by the split", "tickformat": ".0%", "range": [0.5, 1.02]}
    ticks = [step * 10.0**power for power in range(-3, 7) for step in (1, 2, 5)]
    layout["yaxis"] |= {"title": "gain of two groups", "type": "log", "tickvals": ticks}
    figure.update_layout(**layout)
    return figure
