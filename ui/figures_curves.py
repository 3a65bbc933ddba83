"""Plotly figures of how well scores separate: ROC and precision-recall curves with operating points. Free of streamlit.

Every figure has a `…_table` twin with the same numbers, for readers who cannot see it or want the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.curves import Intervals, PrecisionRecall
from ui.figures_data import Roc
from ui.filters import title_of
from ui.text import plotly_text
from ui.theme import NEUTRAL, LineStyle, detector_style, figure_layout

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FEW = 5  # more curves than this: the legend stands beside the figure and the chosen one is drawn stronger


def roc_figure(
    curves: dict[str, Roc],
    *,
    chosen: str = "",
    log: bool = False,
    height: int = 360,
    titles: dict[str, str] | None = None,
    styles: dict[str, LineStyle] | None = None,
) -> go.Figure:
    """ROC curves, each with its operating point; the legend is sorted by AUROC. log: false-positive rate on a log axis.

    The names are detectors unless `titles` and `styles` say otherwise. chosen: the curve that stands out.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    smallest, many = 1e-4, len(curves) > FEW
    order = sorted(curves, key=lambda name: -curves[name].auroc)
    for name in sorted(order, key=lambda name: name == chosen):  # the chosen one is drawn last, on top of the others
        curve, style = curves[name], (styles or {}).get(name) or detector_style(name)
        title = plotly_text((titles or {}).get(name) or title_of(name), 56)
        fpr, tpr = curve.point
        _add_curve(
            figure,
            np.maximum(curve.fpr, smallest) if log else curve.fpr,
            curve.tpr,
            (max(fpr, smallest) if log else fpr, tpr),
            name=name,
            title=title,
            rank=1 + order.index(name),
            label=f"{title} · {curve.auroc:.4f}" if many else f"{title} · AUROC {curve.auroc:.4f}",
            style=style,
            chosen=chosen,
            many=many,
            hover="FPR %{x:.4f}<br>TPR %{y:.3f}",
            mark_hover=f"at its threshold: TPR {tpr:.3f}, FPR {fpr:.4f}",
        )
    if not log:
        figure.add_scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            name="chance",
            showlegend=False,
            hoverinfo="skip",
            line={"color": NEUTRAL, "width": 1, "dash": "dot"},
        )
    inside = {"x": 0.98, "y": 0.04, "xanchor": "right", "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"}
    beside = {"orientation": "v", "x": 1.02, "y": 1, "xanchor": "left", "yanchor": "top", "font": {"size": 11}}
    if many:
        beside |= {"title": {"text": "AUROC", "font": {"size": 11}}, "tracegroupgap": 0}
    figure.update_layout(**figure_layout(height, legend=beside if many else inside))
    figure.update_xaxes(
        title="false-positive rate" + (" (log)" if log else ""),
        type="log" if log else "linear",
        range=[-4.05, 0.02] if log else [-0.02, 1.02],
        dtick=1 if log else 0.25,
        exponentformat="none",
    )
    figure.update_yaxes(title="true-positive rate", range=[-0.03, 1.04])
    return figure


def precision_figure(curves: dict[str, PrecisionRecall], *, chosen: str = "", height: int = 360) -> go.Figure:
    """Precision-recall curves as steps, each with its operating point; the dotted line is flagging at random."""
    import plotly.graph_objects as go

    figure = go.Figure()
    many = len(curves) > FEW
    order = sorted(curves, key=lambda name: -curves[name].average_precision)
    for name in sorted(order, key=lambda name: name == chosen):
        curve, title = curves[name], plotly_text(title_of(name), 56)
        at = curve.point
        _add_curve(
            figure,
            curve.recall,
            curve.precision,
            at,
            name=name,
            title=title,
            rank=1 + order.index(name),
            label=f"{title} · {curve.average_precision:.4f}" if many else f"{title} · AP {curve.average_precision:.4f}",
            style=detector_style(name),
            chosen=chosen,
            many=many,
            hover="recall %{x:.3f}<br>precision %{y:.3f}",
            mark_hover=f"at its threshold: recall {at[0]:.3f}, precision {at[1]:.3f}" if at else "",
            shape="vh",
        )
    base = next(iter(curves.values())).base if curves else 0.0
    figure.add_hline(y=base, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    inside = {"x": 0.02, "y": 0.04, "xanchor": "left", "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"}
    beside: dict[str, Any] = {"orientation": "v", "x": 1.02, "y": 1, "xanchor": "left", "yanchor": "top"}
    if many:
        beside |= {"title": {"text": "AP", "font": {"size": 11}}, "tracegroupgap": 0, "font": {"size": 11}}
    figure.update_layout(**figure_layout(height, legend=beside if many else inside))
    figure.update_xaxes(title="recall (share of backdoors found)", range=[-0.02, 1.02], dtick=0.25)
    figure.update_yaxes(title="precision (share of flags that are right)", range=[-0.03, 1.04])
    return figure


def _add_curve(
    figure: go.Figure,
    x: np.ndarray,
    y: np.ndarray,
    point: tuple[float, float] | None,
    *,
    name: str,
    title: str,
    rank: int,
    label: str,
    style: LineStyle,
    chosen: str,
    many: bool,
    hover: str,
    mark_hover: str,
    shape: str = "linear",
) -> None:
    """One detector's line, and the mark where its own threshold puts it; both stand out where it is the chosen one."""
    strong = not chosen or name == chosen or not many
    common: dict[str, Any] = {"legendgroup": name, "legendrank": rank, "opacity": 1.0 if strong else 0.75}
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name=label,
        line={
            "color": style.colour,
            "width": 4 if name == chosen and many else 2.5 if strong else 1.7,
            "dash": style.dash,
            "shape": shape,
        },
        hovertemplate=f"{hover}<extra>{title}</extra>",
        **common,
    )
    if point is not None:
        figure.add_scatter(
            x=[point[0]],
            y=[point[1]],
            mode="markers",
            showlegend=False,
            name=title,
            marker={
                "color": style.colour,
                "size": 13 if strong else 9,
                "symbol": style.symbol,
                "line": {"width": 1.5 if strong else 1, "color": "white"},
            },
            hovertemplate=f"{mark_hover}<extra>{title}</extra>",
            **common,
        )


def curves_table(
    roc: dict[str, Roc],
    precision: dict[str, PrecisionRecall],
    intervals: dict[str, Intervals],
    at_1: dict[str, float | None],
) -> pd.DataFrame:
    """One row a detector, the highest AUROC first: areas with their intervals, rates at its threshold, TPR at 1 % FPR.

    at_1: the last, by detector. Everything is of the samples that the curves are drawn from.
    """
    import pandas as pd

    rows = []
    for name, curve in sorted(roc.items(), key=lambda item: -item[1].auroc):
        row: dict[str, Any] = {"detector": title_of(name), "AUROC": curve.auroc}
        if name in intervals:
            row["AUROC 95 %"] = _range(intervals[name].auroc)
        row["AP"] = precision[name].average_precision if name in precision else None
        if name in intervals:
            row["AP 95 %"] = _range(intervals[name].average_precision)
        row |= {"TPR": curve.point[1], "FPR": curve.point[0], "TPR@1%": at_1.get(name)}
        rows.append(row)
    order = ("detector", "AUROC", "AUROC 95 %", "AP", "AP 95 %", "TPR", "FPR", "TPR@1%")
    table = pd.DataFrame(rows)
    return table[[name for name in order if name in table]]


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4f} – {ends[1]:.4f}"
