"""The command line's progress bar (rich), on stderr so that stdout stays clean for results."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from mspc_core.errors import Progress


def printable(text: object) -> str:
    """Text from data, made safe for a terminal: control and direction characters become visible replacements, so that
    a file name can neither move the cursor nor fake a line of output."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else c for c in str(text))


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Yields a progress function. Where stderr is no terminal, it prints nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)

        def report(done: int, total: int, message: str) -> None:
            bar.update(task, completed=done, total=total, description=(message or title)[:60].replace("[", "("))

        yield report
