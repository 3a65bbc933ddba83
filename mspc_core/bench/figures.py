"""Figures over seeds: mean, sample standard deviation, and how many seeds they are of."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mspc_core.bench.work import CONSENSUS

Row = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """mean, stdev: over `count` seeds (stdev 0 for one). best, worst: largest and smallest value."""

    mean: float
    stdev: float
    count: int
    largest: float
    smallest: float


def figure(values: Iterable[float | None]) -> Figure | None:
    """The figure of the values that are there, or None if none is."""
    found = [value for value in values if value is not None]
    if not found:
        return None
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    return Figure(statistics.fmean(found), spread, len(found), max(found), min(found))


def by_cell(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each cell, in the order of the file."""
    return {name: [row for row in rows if row["cell"] == name] for name in dict.fromkeys(row["cell"] for row in rows)}


def columns(rows: Sequence[Row]) -> list[str]:
    """Every detector that was asked for in any row, and the consensus last."""
    names = [name for row in rows for name in (*row.get("asked", ()), *row["detectors"], *row["not_run"])]
    return [name for name in dict.fromkeys(names) if name != CONSENSUS] + [CONSENSUS]


def of_detector(rows: Sequence[Row], name: str, key: str) -> Figure | None:
    """A figure of one detector over the seeds of one cell."""
    return figure(row["detectors"][name][key] for row in rows if name in row["detectors"])


def over_cells(cells: Sequence[Sequence[Row]], pick: Callable[[Sequence[Row]], Figure | None]) -> Figure | None:
    """Mean over cells of their means over seeds; None unless every cell has one."""
    found = [pick(rows) for rows in cells]
    return figure(one.mean for one in found if one) if found and all(found) else None


def shown(one: Figure | None, seeds: int, *, percent: bool = False) -> str:
    """`0.987 ± 0.004`; says so where fewer seeds than the row's are behind it."""
    if one is None:
        return "–"
    text = f"{one.mean:.1%}" if percent else f"{one.mean:.3f}"
    if one.count > 1:
        text += f" ± {one.stdev * 100:.1f}" if percent else f" ± {one.stdev:.3f}"
    return text if one.count == seeds else f"{text} (n={one.count})"
