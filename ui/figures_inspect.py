"""Plotly figure of several samples over the scale n, and its table. Free of streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ui.text import plotly_text, short
from ui.theme import NEUTRAL, figure_layout, line_style

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Curve:
    """One sample. kept: probability of the class that the untouched image gets, over the scales [S]; clipped: share of
    pixel values cut off [S]."""

    name: str
    scales: np.ndarray
    kept: np.ndarray
    clipped: np.ndarray


def comparison_figure(curves: Sequence[Curve], at: float, height: int = 340) -> go.Figure:
    """A line a sample: how sure the model stays of its first answer; dotted and thin: the clipped share. The first
    curve is drawn strongest. at: where the slider stands."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, curve in enumerate(curves):
        style, name = line_style(place), plotly_text(curve.name, 36)
        figure.add_scatter(
            x=curve.scales,
            y=curve.kept,
            name=name,
            legendgroup=name,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 3.5 if place == 0 else 2},
            marker={"symbol": style.symbol, "size": 6},
            hovertemplate="n = %{x:g}: %{y:.1%}<extra>" + name + "</extra>",
        )
        figure.add_scatter(
            x=curve.scales,
            y=curve.clipped,
            name=f"{name}, clipped",
            legendgroup=name,
            showlegend=False,
            mode="lines",
            opacity=0.6,
            line={"color": style.colour, "dash": "dot", "width": 1},
            hovertemplate="n = %{x:g}: %{y:.0%} cut off<extra>" + name + "</extra>",
        )
    figure.add_vline(x=at, line={"color": NEUTRAL, "width": 1.5, "dash": "dot"})
    figure.update_layout(**figure_layout(height, margin={"l": 8, "r": 8, "t": 8, "b": 8}))
    figure.update_layout(legend={"orientation": "h", "y": -0.24, "yanchor": "top", "x": 0})
    figure.update_xaxes(title="scale n", dtick=1)
    figure.update_yaxes(title="probability of its class", range=[-0.02, 1.04], tickformat=".0%")
    return figure


def comparison_table(curves: Sequence[Curve]) -> pd.DataFrame:
    """The numbers of `comparison_figure`, one row a scale."""
    import pandas as pd

    columns: dict[str, Any] = {"n": curves[0].scales} if curves else {}
    for place, curve in enumerate(curves):
        name = f"{short(curve.name, 36)} [{place + 1}]"
        columns[name] = curve.kept.round(4)
        columns[f"{name} clipped"] = curve.clipped.round(4)
    return pd.DataFrame(columns)
