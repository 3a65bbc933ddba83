"""Tables in Markdown, and their places in the documentation: between two comments, whose content is replaced."""

from __future__ import annotations

from collections.abc import Sequence


def row(cells: Sequence[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def head(cells: Sequence[str]) -> list[str]:
    """The two lines that begin a table."""
    return [row(cells), row(["---"] * len(cells))]


def marks(name: str) -> tuple[str, str]:
    """The comments around a place."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def filled(page: str, name: str, text: str) -> str:
    """The page with what stands in a place replaced."""
    start, end = marks(name)
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n\n{text}\n\n{end}{after}"
