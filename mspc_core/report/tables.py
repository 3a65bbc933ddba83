"""A table as the report prints it: text cells, and bars for shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """text: as shown. bar: a share between 0 and 1, drawn as a bar before it, or None."""

    text: str
    bar: float | None = None


@dataclass(frozen=True)
class Table:
    """columns: headers. numbers: which columns hold numbers, aligned to the right. rows: text or `Cell`; the first
    column names the row. note: what was left out. marked: rows that stand out."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    numbers: Sequence[int] = ()
    note: str = ""
    marked: Sequence[int] = field(default_factory=tuple)

    def cells(self) -> list[list[Cell]]:
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


def share_cell(share: float | None, text: str) -> Cell:
    """A share with its bar; without one where it is not a number."""
    usable = share is not None and share == share
    return Cell(text, min(1.0, max(0.0, float(share))) if usable and share is not None else None)


def cut_note(shown: int, total: int, what: str) -> str:
    """The sentence under a table that was cut, or nothing."""
    return f"{shown:,} of {total:,} {what} are listed." if shown < total else ""
