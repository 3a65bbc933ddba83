"""Numbers behind the pages' figures: `mspc_core.distributions`, and what a selection on a figure means."""

from __future__ import annotations

from typing import Any

import numpy as np

from mspc_core.distributions import (
    NATURAL_RANGE,
    Bins,
    Counts,
    Roc,
    bin_edges,
    counts_at,
    histogram,
    line_position,
    rebinned,
    roc,
)

__all__ = [
    "NATURAL_RANGE",
    "Bins",
    "Counts",
    "Roc",
    "bin_edges",
    "counts_at",
    "histogram",
    "line_position",
    "rebinned",
    "roc",
    "score_range",
    "selected_range",
]


def score_range(bins: Bins, low: float, high: float) -> tuple[float, float] | None:
    """The scores covered by the bars whose centre lies between two places on the axis, or None without such a bar."""
    chosen = np.flatnonzero((bins.centres >= min(low, high)) & (bins.centres <= max(low, high)))
    return (float(bins.edges[chosen[0]]), float(bins.edges[chosen[-1] + 1])) if len(chosen) else None


def selected_range(bins: Bins, event: Any) -> tuple[float, float] | None:
    """The range of scores in a plotly selection event: of its box, else of the clicked bars; None if there is none."""
    selection = event.get("selection", {}) if isinstance(event, dict) else getattr(event, "selection", {})
    for box in selection.get("box") or []:
        ends = [float(value) for value in box.get("x") or []]
        if ends:
            return score_range(bins, min(ends), max(ends))
    indices = [int(point["point_index"]) for point in selection.get("points") or [] if "point_index" in point]
    indices = [index for index in indices if 0 <= index < len(bins.centres)]
    return (float(bins.edges[min(indices)]), float(bins.edges[max(indices) + 1])) if indices else None
