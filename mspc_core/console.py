"""The command line's progress bar (rich), on stderr so that stdout stays clean for results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mspc_core.errors import Progress


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
