"""Plotly figures of agreement and of comparisons: heat maps, votes, scores of many runs. Free of streamlit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ui.figures_data import Bins
from ui.text import plotly_text, short
from ui.theme import BACKDOOR, CLEAN, HATCH, SEQUENTIAL, LineStyle, figure_layout

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from ui.agreement import Votes

_ROW, _MARGIN = 26, 130  # height of a heat map, in pixels
_LETTERS = 40  # more of them below a heat map would overlap
_LABELLED = 8  # up to so many bars carry their numbers


def heat_figure(
    matrix: np.ndarray,
    rows: list[str],
    columns: list[str],
    *,
    hover: np.ndarray | None = None,
    what: str = "",
    low_is_good: bool = False,
    limits: tuple[float, float] = (0.0, 1.0),
    as_percent: bool = True,
    decimals: int = 0,
) -> go.Figure:
    """A heat map of values up to 1 (NaN: blank), with the values written in the cells.

    matrix: float [R, C]. hover: text [R, C] for the pointer, already safe. low_is_good: the scale is turned round, so
    that bright stays good. limits: where the colours begin and end; values beyond look the same as these. decimals: of
    the values in the cells.
    """
    import plotly.graph_objects as go

    shown = np.asarray(matrix, dtype=float)
    form = ".0%" if as_percent else ".2f"
    digits = f"{{:.{decimals}f}}"
    text = [
        ["" if np.isnan(value) else digits.format(100 * value if as_percent else value) for value in row]
        for row in shown
    ]
    xs, ys = _distinct(columns), _distinct(rows)
    words = hover if hover is not None else np.array(text, dtype=object).reshape(shown.shape)
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=xs,
            y=ys,
            zmin=limits[0],
            zmax=limits[1],
            colorscale=SEQUENTIAL,
            reversescale=low_is_good,
            text=text,
            texttemplate="%{text}",
            textfont={"size": 11},
            customdata=words,
            hovertemplate="%{y} · %{x}<br>%{customdata}<extra></extra>",
            hoverongaps=False,
            xgap=2,
            ygap=2,
            colorbar={
                "title": {"text": plotly_text(what, 30), "side": "right"},
                "thickness": 12,
                "tickformat": form,
            },
        )
    )
    figure.update_layout(**figure_layout(heat_height(len(rows)), margin={"l": 8, "r": 8, "t": 8, "b": 8}))
    crowded = len(columns) > 6 or sum(map(len, columns)) > _LETTERS
    figure.update_xaxes(showgrid=False, tickangle=-40 if crowded else 0, fixedrange=True)
    figure.update_yaxes(showgrid=False, autorange="reversed", fixedrange=True)
    return figure


def heat_height(rows: int) -> int:
    """Height of a heat map in pixels."""
    return max(220, _MARGIN + _ROW * rows)


def votes_figure(found: Votes, chosen: int | None, height: int = 300) -> go.Figure:
    """Bars: samples flagged by exactly k detectors, on a log axis (most samples are flagged by few). Unflagged samples
    are the first bar. chosen: the bar that is set off."""
    import plotly.graph_objects as go

    figure = go.Figure()
    ks = np.arange(len(found.samples))
    strength = np.ones(len(ks)) if chosen is None else np.where(ks == chosen, 1.0, 0.35)
    series = [("images", found.samples, CLEAN, "")]
    if found.backdoors is not None:
        series = [("clean", found.samples - found.backdoors, CLEAN, ""), ("backdoor", found.backdoors, BACKDOOR, "/")]
    for name, counts, colour, pattern in series:
        figure.add_bar(
            x=ks,
            y=counts,
            name=name,
            text=[f"{count:,}" if count else "" for count in counts] if len(ks) <= _LABELLED else None,
            textposition="outside",
            cliponaxis=False,
            marker={"color": colour, "opacity": strength, "pattern": {**HATCH, "shape": pattern}},
            hovertemplate=f"flagged by %{{x}}: %{{y:,}} {name}<extra></extra>",
        )
    top = float(np.log10(max(2, int(found.samples.max(initial=0)))))
    figure.update_layout(**figure_layout(height, barmode="group", bargap=0.15, showlegend=found.backdoors is not None))
    figure.update_layout(dragmode=False, clickmode="event+select", margin={"l": 8, "r": 8, "t": 40, "b": 8})
    figure.update_xaxes(title=f"flagged by exactly k of {len(ks) - 1} detectors", dtick=1, fixedrange=True)
    figure.update_yaxes(title="images (log)", type="log", dtick=1, range=[-0.3, top + 0.35], fixedrange=True)
    return figure


def spread_figure(
    spread: dict[str, Bins], titles: dict[str, str], styles: dict[str, LineStyle], axis: str, height: int = 380
) -> go.Figure:
    """One detector's scores in several runs: the share of images in each bar, as steps. Where the truth is known,
    backdoored images have a thin dotted line of their own."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, bins in spread.items():
        style, title = styles[name], plotly_text(titles[name], 48)
        total = max(1, int(bins.total.sum()))
        for words, counts, width in (("", bins.clean, 2.0), (" · backdoor", bins.backdoor, 1.2)):
            if counts is None or (words and not counts.any()):
                continue
            figure.add_scatter(
                x=bins.centres,
                y=counts / total,
                mode="lines",
                name=title + words,
                legendgroup=name,
                showlegend=not words,
                line={"color": style.colour, "dash": "dot" if words else style.dash, "width": width, "shape": "hvh"},
                hovertemplate="score %{x:.3f}: %{y:.1%}<extra>" + title + words + "</extra>",
            )
    legend = {"orientation": "v", "x": 1.02, "y": 1, "xanchor": "left", "yanchor": "top", "font": {"size": 11}}
    figure.update_layout(**figure_layout(height, legend=legend))
    figure.update_xaxes(title=plotly_text(axis, 80))
    figure.update_yaxes(title="share of images", tickformat=".0%", rangemode="tozero")
    return figure


def spread_table(spread: dict[str, Bins], titles: dict[str, str]) -> pd.DataFrame:
    """The numbers of `spread_figure`: one row for each run and bar with any image."""
    import pandas as pd

    parts = []
    for name, bins in spread.items():
        known = {} if bins.backdoor is None else {"backdoor": bins.backdoor}
        title = [short(titles[name], 60)] * len(bins.clean)
        kind = "all" if bins.backdoor is None else "clean"
        table = pd.DataFrame({"run": title, "score": bins.centres.round(4), kind: bins.clean, **known})
        parts.append(table[bins.total > 0])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _distinct(names: list[str]) -> list[str]:
    """Labels of an axis: safe, and each different, because plotly puts equal ones on one place."""
    found: list[str] = []
    for name in names:
        label = plotly_text(name, 44)
        while label in found:
            label += "\u200a"
        found.append(label)
    return found
