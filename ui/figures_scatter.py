"""Plotly figures of many samples at once: one score against another, and a score class by class. Free of streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ui.figures_data import Bins
from ui.text import plotly_text
from ui.theme import ACCENT, BACKDOOR, CLEAN, FLAGGED, HATCH, NEUTRAL, figure_layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_POINTS = 20_000  # more are thinned: the browser would crawl, and dots would hide each other


@dataclass(frozen=True)
class Group:
    """Points drawn alike. members: bool [N]. symbol: differs between groups, not only the colour."""

    name: str
    members: np.ndarray
    colour: str
    symbol: str = "circle"


def thinned(telling: np.ndarray, most: int = MOST_POINTS, seed: int = 0) -> np.ndarray:
    """Places to draw, ascending: all if they are few enough, else every telling one (up to half) and a random part of
    the rest. telling: bool [N]."""
    if len(telling) <= most:
        return np.arange(len(telling))
    generator = np.random.default_rng(seed)
    first, rest = (generator.permutation(np.flatnonzero(part)) for part in (telling, ~telling))
    first = first[: max(most // 2, most - len(rest))]
    return np.sort(np.concatenate([first, rest[: most - len(first)]]))


def groups_of(truth: np.ndarray | None, flagged: np.ndarray, suspects: np.ndarray | None = None) -> list[Group]:
    """By truth where it is known; else by what the verdict suspects or the detectors flag. bool [N] each."""
    if truth is not None:
        return [Group("clean", ~truth, CLEAN), Group("backdoor", truth, BACKDOOR, "diamond")]
    told = suspects if suspects is not None and suspects.any() else flagged
    name = "suspect" if told is suspects else "flagged by either"
    return [Group("other images", ~told, CLEAN), Group(name, told, FLAGGED, "diamond")]


def scatter_figure(
    x: np.ndarray,
    y: np.ndarray,
    places: np.ndarray,
    groups: Sequence[Group],
    *,
    axes: tuple[str, str],
    limits: tuple[float, float] | None = None,
    marked: int | None = None,
    jitter: tuple[float, float] = (0.0, 0.0),
    height: int = 420,
) -> go.Figure:
    """One dot a sample: x against y [N], of which `places` are drawn. `customdata` of a dot is its place.

    limits: thresholds of both axes, drawn as lines. marked: the place of the selected sample, ringed. jitter: half the
    width over which dots are spread at random along each axis, because scores that are shares of few scales coincide.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    noise = np.random.default_rng(0).uniform(-1, 1, (len(places), 2)) * np.array(jitter)
    for group in groups:
        inside = group.members[places]
        here = places[inside]
        figure.add_scattergl(
            x=x[here] + noise[inside, 0],
            y=y[here] + noise[inside, 1],
            mode="markers",
            name=f"{group.name} ({len(here):,})",
            customdata=here,
            marker={
                "color": group.colour,
                "symbol": group.symbol,
                "size": 6 if group.symbol == "circle" else 7,
                "opacity": 0.55 if len(places) > 2000 else 0.75,
            },
            selected={"marker": {"opacity": 1.0}},
            unselected={"marker": {"opacity": 0.12}},
            hovertemplate=f"{plotly_text(axes[0], 30)} %{{x:.3f}}<br>{plotly_text(axes[1], 30)} %{{y:.3f}}"
            f"<extra>{group.name}</extra>",
        )
    if marked is not None:
        figure.add_scattergl(
            x=[x[marked]],
            y=[y[marked]],
            mode="markers",
            name="selected image",
            customdata=[marked],
            marker={"symbol": "circle-open", "size": 17, "color": ACCENT, "line": {"width": 3}},
            hoverinfo="skip",
        )
    for value, add in zip(limits or (), (figure.add_vline, figure.add_hline), strict=False):
        add(value, line={"color": FLAGGED, "width": 1.5, "dash": "dash"})
    layout = figure_layout(height, dragmode="select", hovermode="closest")
    figure.update_layout(**layout)
    figure.update_xaxes(title=plotly_text(axes[0], 60))
    figure.update_yaxes(title=plotly_text(axes[1], 60))
    return figure


def chosen_places(event: Any) -> np.ndarray:
    """Places of the dots in a plotly selection event, ascending, int64; empty for anything else."""
    selection = event.get("selection", {}) if isinstance(event, dict) else getattr(event, "selection", {})
    found = set()
    for point in selection.get("points") or []:
        place = point.get("customdata")
        place = place[0] if isinstance(place, (list, tuple)) and place else place
        if isinstance(place, (int, float)) and place >= 0:
            found.add(int(place))
    return np.array(sorted(found), dtype=np.int64)


def chosen_box(event: Any) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Both ranges of the box in a plotly selection event; None without exactly one box."""
    selection = event.get("selection", {}) if isinstance(event, dict) else getattr(event, "selection", {})
    boxes = selection.get("box") or []
    if len(boxes) != 1 or not boxes[0].get("x") or not boxes[0].get("y"):
        return None
    x, y = ([float(value) for value in boxes[0][axis]] for axis in ("x", "y"))
    return (min(x), max(x)), (min(y), max(y))


def class_figure(bins: Bins, counts: np.ndarray, title: str, threshold: float, height: int = 150) -> go.Figure:
    """A small histogram of one class in the bars of all. counts: [B] or [2, B] (clean, backdoor)."""
    import plotly.graph_objects as go

    figure = go.Figure()
    series = [("samples", counts, NEUTRAL, "")] if counts.ndim == 1 else []
    if counts.ndim == 2:
        series = [("clean", counts[0], CLEAN, ""), ("backdoor", counts[1], BACKDOOR, "/")]
    for name, values, colour, pattern in series:
        figure.add_bar(
            x=bins.centres,
            y=values,
            name=name,
            marker={"color": colour, "pattern": {**HATCH, "shape": pattern}, "line": {"width": 0}},
            hovertemplate=f"score %{{x:.3f}}<br>%{{y:,}} {name}<extra></extra>",
        )
    layout = figure_layout(height, barmode="stack", showlegend=False, bargap=0.1, dragmode=False)
    layout |= {"title": {"text": plotly_text(title, 34), "x": 0, "font": {"size": 12}}}
    layout["margin"] |= {"l": 2, "r": 2, "t": 28, "b": 2}
    figure.update_layout(**layout)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    figure.update_xaxes(range=[low, high], nticks=4)
    figure.update_yaxes(nticks=3)
    figure.add_vline(x=threshold, line={"color": FLAGGED, "width": 1.5, "dash": "dash"})
    return figure
