"""The figure of a map of all samples, and what a lasso on it holds. Free of streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ui.figures_scatter import chosen_places
from ui.text import plotly_text
from ui.theme import ACCENT, BACKDOOR, CLEAN, FLAGGED, NEUTRAL, figure_layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_POINTS = 50_000  # more are thinned, see `mspc_core.maps.project.stratified`
_NAMED_UP_TO = 20_000  # dots whose class is named when the pointer is on them: names are most of what is sent
# Of scores: seen on light and on dark ground, which no scale that goes to yellow or to black is.
_SCALE = [[0.0, CLEAN], [0.5, FLAGGED], [1.0, BACKDOOR]]

Outline = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Layer:
    """Samples drawn alike. positions: in the table. colour: one for all, or values: one number each, for the colour
    bar. symbol: differs where the colour carries a meaning that has to be seen without it."""

    name: str
    positions: np.ndarray
    colour: str = NEUTRAL
    symbol: str = "circle"
    values: np.ndarray | None = None


def map_figure(
    points: np.ndarray,
    layers: Sequence[Layer],
    behind: np.ndarray,
    *,
    axes: tuple[str, str],
    names: Sequence[str] | None = None,
    bar: str = "",
    marked: int | None = None,
    outlines: Sequence[Outline] = (),
    height: int = 520,
) -> go.Figure:
    """One dot a sample. points: [N, 2]. behind: positions drawn pale, those that the filter leaves out. names: class
    of each sample [N], shown at the pointer. bar: title of the colour bar. marked: position of the selected sample,
    ringed. outlines: earlier lassos, as their corners' x and y. `customdata` of a dot is its position."""
    import plotly.graph_objects as go

    figure = go.Figure()
    total = sum(len(layer.positions) for layer in layers)
    small = total > 5000
    if len(behind):
        figure.add_scattergl(
            x=points[behind, 0],
            y=points[behind, 1],
            mode="markers",
            name="filtered out",
            marker={"color": NEUTRAL, "size": 3, "opacity": 0.18},
            hoverinfo="skip",
            showlegend=False,
        )
    named = names is not None and total <= _NAMED_UP_TO
    for layer in layers:
        here, name = layer.positions, f"{plotly_text(layer.name, 30)} ({len(layer.positions):,})"
        marker: dict[str, Any] = {
            "symbol": layer.symbol,
            "size": (5 if small else 6) + (2 if layer.symbol != "circle" else 0),
            "opacity": 0.6 if small else 0.75,
        }
        if layer.values is None:
            marker["color"] = layer.colour
        else:
            marker |= {"color": layer.values, "coloraxis": "coloraxis"}
        shown = "%{marker.color:.3f}" if layer.values is not None else plotly_text(layer.name, 60)
        figure.add_scattergl(
            x=points[here, 0],
            y=points[here, 1],
            mode="markers",
            name=name,
            customdata=here,
            showlegend=layer.values is None,
            text=[plotly_text(names[int(place)], 40) for place in here] if named and names is not None else None,
            marker=marker,
            selected={"marker": {"opacity": 1.0}},
            unselected={"marker": {"opacity": 0.12}},
            hovertemplate=("%{text}<br>" if named else "") + f"{shown}<extra></extra>",
        )
        if layer.values is not None:  # the legend would show the first dot's colour, or black
            figure.add_scattergl(
                x=[None],
                y=[None],
                mode="markers",
                name=name,
                marker={"symbol": layer.symbol, "color": NEUTRAL, "size": 8},
                hoverinfo="skip",
            )
    if marked is not None:
        figure.add_scattergl(
            x=[points[marked, 0]],
            y=[points[marked, 1]],
            mode="markers",
            name="selected image",
            customdata=[marked],
            marker={"symbol": "circle-open", "size": 18, "color": ACCENT, "line": {"width": 3}},
            hoverinfo="skip",
        )
    for x, y in outlines:
        corners = " L ".join(f"{a:.6g} {b:.6g}" for a, b in zip(x, y, strict=False))
        figure.add_shape(type="path", path=f"M {corners} Z", line={"color": NEUTRAL, "width": 1.5, "dash": "dot"})
    layout = figure_layout(height, dragmode="lasso", hovermode="closest")
    # Hiding a group by its legend would leave it in what a lasso holds: the filter is the way to leave samples out.
    layout["legend"] |= {"itemclick": False, "itemdoubleclick": False}
    scored = [layer.values for layer in layers if layer.values is not None]
    if scored:
        low, high = float(min(values.min() for values in scored)), float(max(values.max() for values in scored))
        layout["coloraxis"] = {
            "colorscale": _SCALE,
            "cmin": low,
            "cmax": high if high > low else low + 1.0,
            "colorbar": {"title": {"text": plotly_text(bar, 30), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        }
    figure.update_layout(**layout)
    figure.update_xaxes(title=axes[0], zeroline=False, showgrid=False, showticklabels=False)
    figure.update_yaxes(title=axes[1], zeroline=False, showgrid=False, showticklabels=False)
    return figure


def outlines_in(event: Any) -> list[Outline]:
    """The lassos and boxes of a plotly selection event, each as the x and the y of its corners."""
    selection = event.get("selection", {}) if isinstance(event, dict) else getattr(event, "selection", {})
    found: list[Outline] = []
    for lasso in selection.get("lasso") or []:
        x, y = ([float(value) for value in lasso.get(axis) or []] for axis in ("x", "y"))
        if len(x) == len(y) >= 3:
            found.append((tuple(x), tuple(y)))
    for box in selection.get("box") or []:
        x, y = ([float(value) for value in box.get(axis) or []] for axis in ("x", "y"))
        if len(x) == len(y) == 2:
            found.append(((x[0], x[1], x[1], x[0]), (y[0], y[0], y[1], y[1])))
    return found


def clicked_in(event: Any) -> int | None:
    """The position of the one dot that was clicked; None for lassos, boxes and anything else."""
    places = chosen_places(event)
    return int(places[0]) if len(places) == 1 and not outlines_in(event) else None


def inside(points: np.ndarray, outlines: Sequence[Outline]) -> np.ndarray:
    """Which points lie in at least one outline, by the even-odd rule. points: [N, 2]; bool [N]."""
    found = np.zeros(len(points), dtype=bool)
    for outline in outlines:
        x, y = np.array(outline[0]), np.array(outline[1])
        within = (points >= (x.min(), y.min())) & (points <= (x.max(), y.max()))
        near = np.flatnonzero(within.all(1))
        across, up = points[near, 0].astype(float), points[near, 1].astype(float)
        odd = np.zeros(len(near), dtype=bool)
        for x1, y1, x2, y2 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
            if y1 == y2:
                continue
            crossing = (y1 > up) != (y2 > up)
            odd ^= crossing & (across < (x2 - x1) * (up - y1) / (y2 - y1) + x1)
        found[near] |= odd
    return found
