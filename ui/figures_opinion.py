"""The figure of the second opinion: how its flags and its evidence develop. Free of streamlit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ui.theme import ACCENT, FLAGGED, NEUTRAL, figure_layout

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def refinement_figure(rows: list[dict[str, Any]], asked: float) -> go.Figure:
    """Evidence (left axis) and flagged samples (right axis) after each step; a line at the evidence asked for.

    rows: the detector's table of refinements, the first unrefined.
    """
    import plotly.graph_objects as go

    table = refinement_table(rows)
    figure = go.Figure()
    for column, axis, colour, dash, symbol in (
        ("evidence (nats)", "y", ACCENT, "solid", "circle"),
        ("flagged", "y2", FLAGGED, "dot", "diamond"),
    ):
        figure.add_scatter(
            x=table["step"],
            y=table[column],
            yaxis=axis,
            name=column,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 7},
            hovertemplate=f"step %{{x}}<br>%{{y:,.0f}} {column}<extra></extra>",
        )
    figure.add_hline(y=asked, line={"color": NEUTRAL, "width": 1.5, "dash": "dash"})
    layout = figure_layout(230)
    layout["xaxis"] |= {"title": "ranking, step by step", "dtick": 1}
    layout["yaxis"] |= {"title": "evidence (nats)", "rangemode": "tozero"}
    layout["yaxis2"] = {
        **layout["yaxis"],
        "title": "flagged",
        "overlaying": "y",
        "side": "right",
        "showgrid": False,
        "tickmode": "auto",
        "nticks": 5,
        "tickformat": ",d",
    }
    figure.update_layout(**layout)
    return figure


def refinement_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The same numbers."""
    import pandas as pd

    return pd.DataFrame(
        {
            "step": list(range(len(rows))),
            "evidence (nats)": [round(float(row["evidence"]), 1) for row in rows],
            "flagged": [int(row["flagged"]) for row in rows],
        }
    )
