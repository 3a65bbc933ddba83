"""Bars of class probabilities before and after the trigger. Free of streamlit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mspc_core.playground import Trial
from ui import lab_data
from ui.text import plotly_text, short
from ui.theme import BACKDOOR, CLEAN, HATCH, figure_layout

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def probability_figure(trial: Trial, names: list[str], target: int) -> go.Figure:
    """The likeliest classes before and after, and the target; two bars each."""
    import plotly.graph_objects as go

    shown = lab_data.top_classes(trial.probabilities, target)[::-1]  # bars grow upwards
    figure = go.Figure()
    for name, place, colour, pattern in (("with the trigger", 1, BACKDOOR, "/"), ("clean", 0, CLEAN, "")):
        values = trial.probabilities[place][shown]
        figure.add_bar(
            y=list(range(len(shown))),
            x=values,
            name=name,
            orientation="h",
            marker={"color": colour, "pattern": {**HATCH, "shape": pattern}},
            text=[f"{100 * value:.1f} %" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x:.1%}<extra>" + name + "</extra>",
        )
    layout = figure_layout(96 + 42 * len(shown), barmode="group", bargap=0.25)
    layout["legend"] |= {"traceorder": "reversed"}
    figure.update_layout(**layout)
    ticks = [plotly_text(names[number], 28) + (" (target)" if number == target else "") for number in shown]
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=ticks, title="")
    figure.update_xaxes(range=[0, 1.12], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1], title="probability")
    return figure


def probability_table(trial: Trial, names: list[str], target: int) -> pd.DataFrame:
    """The same as rows: class, clean, with the trigger, target."""
    import pandas as pd

    shown = lab_data.top_classes(trial.probabilities, target)
    return pd.DataFrame(
        {
            "class": [short(names[number], 60) for number in shown],
            "clean": np.round(trial.probabilities[0][shown].astype(float), 4),
            "with the trigger": np.round(trial.probabilities[1][shown].astype(float), 4),
            "target": [number == target for number in shown],
        }
    )
