"""Figures as inline SVG: histograms with a threshold, ROC curves.

Pure functions of bins and curves; every text is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from mspc_core.distributions import Bins, Roc, line_position

# Okabe and Ito's colour-blind safe palette, as in the app; shape, hatching and dashes differ too.
CLEAN, BACKDOOR, FLAGGED = "#3987C4", "#D55E00", "#B26B00"
TEXT, QUIET, GRID = "#1C2430", "#5B6672", "#DFE3E8"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#7A68B3", "#A6761D", "#5B6672")
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_LOG_FROM = 30  # the tallest bar over the lowest: above this, low bars vanish on a linear axis
_FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif\""


@dataclass(frozen=True)
class Curve:
    """A ROC curve with the name it is drawn under."""

    title: str
    roc: Roc


def histogram(bins: Bins, threshold: float, *, title: str, number: int, flagged: int) -> Markup:
    """Bars of a score; clean and backdoored side by side where the truth is known. The line is the threshold.

    number: of the figure in the document, for ids that are unique. flagged: samples above the threshold.
    """
    width, height, left, top, bottom = 440, 190, 44, 22, 30
    right_edge, floor = width - 8, height - bottom
    series = [(bins.clean, CLEAN, "")]
    if bins.backdoor is not None:
        series.append((bins.backdoor, BACKDOOR, f"url(#hatch{number})"))
    counts = np.concatenate([values for values, _, _ in series])
    tallest = int(counts.max(initial=0))
    positive = counts[counts > 0]
    log = bool(len(positive)) and tallest > _LOG_FROM * int(positive.min())
    scale, ticks = _count_axis(tallest, log)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    span = max(high - low, 1e-12)

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / span * (right_edge - left)

    def y(count: float) -> float:
        return floor - scale(count) * (floor - top)

    parts = []
    if bins.backdoor is not None:
        parts.append(
            f'<defs><pattern id="hatch{number}" width="5" height="5" patternUnits="userSpaceOnUse" '
            f'patternTransform="rotate(45)"><rect width="5" height="5" fill="{BACKDOOR}"/>'
            '<rect width="1.6" height="5" fill="#FFFFFF" fill-opacity="0.55"/></pattern></defs>'
        )
    for tick in ticks:
        parts.append(_line(left, y(tick), right_edge, y(tick), GRID))
        parts.append(_text(left - 5, y(tick) + 4, f"{tick:,}", anchor="end", size=11, colour=QUIET))
    for place, (values, colour, pattern) in enumerate(series):
        for start, end, count in zip(bins.edges[:-1], bins.edges[1:], values, strict=True):
            if count:
                part = (x(float(end)) - x(float(start))) * 0.86 / len(series)
                at = x(float(start)) + 0.07 * (x(float(end)) - x(float(start))) + place * part
                parts.append(
                    f'<rect x="{at:.1f}" y="{y(count):.1f}" width="{max(part, 0.8):.1f}" '
                    f'height="{max(floor - y(count), 1.2):.1f}" fill="{pattern or colour}"/>'
                )
    parts.append(_line(left, floor, right_edge, floor, QUIET))
    for value in _round_values(low, high, 5):
        parts.append(
            _text(x(value), floor + 14, f"{value:g}".replace("-", "−"), anchor="middle", size=11, colour=QUIET)
        )
    parts.append(_text(right_edge, height - 3, "score, higher is more suspicious", anchor="end", size=11, colour=QUIET))
    parts.append(_text(2, height - 3, "samples" + (" (log)" if log else ""), size=11, colour=QUIET))
    at = x(line_position(bins, threshold))
    parts.append(_line(at, top - 6, at, floor, FLAGGED, 2.2, "6 3"))
    words, to_left = f"flagged above {threshold:.4g}", at > (left + right_edge) / 2
    parts.append(_text(at + (-5 if to_left else 5), top - 8, words, anchor="end" if to_left else "start", size=11.5))
    alt = f"Histogram of the {title} score; {flagged:,} samples lie above the threshold of {threshold:.4g}."
    return _svg(width, height, alt, parts)


def roc(curves: Sequence[Curve]) -> Markup:
    """ROC curves, the highest AUROC first, each with a mark at the detector's own threshold."""
    ordered = sorted(curves, key=lambda curve: -curve.roc.auroc)
    side, left, top = 300, 46, 12
    width, height = left + side + 300, max(top + side + 42, top + 24 * len(ordered) + 30)
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        across, up = left + value * side, top + (1 - value) * side
        parts.append(_line(left, up, left + side, up, GRID))
        parts.append(_line(across, top, across, top + side, GRID))
        parts.append(_text(left - 6, up + 4, f"{value:g}", anchor="end", size=11, colour=QUIET))
        parts.append(_text(across, top + side + 15, f"{value:g}", anchor="middle", size=11, colour=QUIET))
    parts.append(_line(left, top + side, left + side, top, QUIET, 1, "2 3"))
    caption = "false-positive rate (across), true-positive rate (up)"
    parts.append(_text(left + side / 2, top + side + 34, caption, anchor="middle", size=11.5, colour=QUIET))
    for place, curve in reversed(list(enumerate(ordered))):  # the best is drawn last, on top
        colour, dash = SERIES[place % len(SERIES)], _DASHES[place // len(SERIES) % len(_DASHES)]
        points = " ".join(
            f"{left + fpr * side:.1f},{top + (1 - tpr) * side:.1f}"
            for fpr, tpr in zip(curve.roc.fpr, curve.roc.tpr, strict=True)
        )
        stroke = f'stroke="{colour}" stroke-width="2.2"' + (f' stroke-dasharray="{dash}"' if dash else "")
        parts.append(f'<polyline points="{points}" fill="none" {stroke}/>')
        fpr, tpr = curve.roc.point
        parts.append(_mark(left + fpr * side, top + (1 - tpr) * side, colour, place))
        row = top + 12 + 24 * place
        parts.append(f'<line x1="{left + side + 24}" y1="{row}" x2="{left + side + 54}" y2="{row}" {stroke}/>')
        parts.append(_mark(left + side + 39, row, colour, place))
        words = f"{curve.title} · AUROC {curve.roc.auroc:.4f}"
        parts.append(_text(left + side + 62, row + 4, words, size=12.5))
    listed = "; ".join(f"{curve.title} {curve.roc.auroc:.4f}" for curve in ordered)
    return _svg(width, height, f"ROC curves. AUROC: {listed}. The table below has the numbers.", parts)


def _mark(x: float, y: float, colour: str, place: int) -> str:
    """Circle, square, diamond or triangle with a white rim."""
    common = f'fill="{colour}" stroke="#FFFFFF" stroke-width="1.2"'
    kind = place % 4
    if kind == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {common}/>'
    if kind == 1:
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" {common}/>'
    if kind == 2:
        points = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 6:.1f},{y:.1f}"
    else:
        points = f"{x:.1f},{y - 6:.1f} {x + 5.5:.1f},{y + 4.5:.1f} {x - 5.5:.1f},{y + 4.5:.1f}"
    return f'<polygon points="{points}" {common}/>'


class _Linear:
    def __init__(self, top: float) -> None:
        self._top = top

    def __call__(self, count: float) -> float:
        return count / self._top


class _Log:
    """1 stands a little above the floor, so that a bar of one sample is seen."""

    def __init__(self, top: float) -> None:
        self._top = float(np.log10(top)) + 0.3

    def __call__(self, count: float) -> float:
        return (float(np.log10(count)) + 0.3) / self._top if count >= 1 else 0.0


def _count_axis(tallest: int, log: bool) -> tuple[_Linear | _Log, list[int]]:
    """The scale of counts to [0, 1], and where to put grid lines."""
    if log:
        powers = [10**power for power in range(int(np.log10(tallest)) + 1)]
        return _Log(tallest * 1.1), powers[:: max(1, -(-len(powers) // 5))]
    ticks = [int(value) for value in _round_values(0, max(tallest, 1), 4) if value == int(value)]
    return _Linear(max(tallest, 1) * 1.05), ticks


def _round_values(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two values, about so many."""
    raw = max(high - low, 1e-12) / max(1, about)
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"{dashes}/>'
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: float = 12, colour: str = TEXT) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" fill="{colour}">'
        f"{html.escape(words)}</text>"
    )


def _svg(width: float, height: float, alt: str, parts: list[str]) -> Markup:
    return Markup(  # every text in it went through html.escape
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" {_FONT} '
        f'aria-label="{html.escape(alt)}">{"".join(parts)}</svg>'
    )
