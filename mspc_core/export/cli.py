"""`python -m mspc_core export RUN --format … --out PATH`."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mspc_core.console import printable, progress_bar
from mspc_core.errors import ShouldStop

if TYPE_CHECKING:
    from mspc_core.export.work import ExportResult

_LISTED = 20


def export(
    run: Annotated[str, typer.Argument(help="Run id or folder.")],
    format: Annotated[str, typer.Option(help="csv, parquet, list, indices, folder, zip, hf, fiftyone.")],
    out: Annotated[str, typer.Option(help="File or folder to make; it must not exist.")],
    keep: Annotated[str, typer.Option(help="clean, flagged or all; empty: all for csv and parquet, else clean.")] = "",
    drop: Annotated[
        str,
        typer.Option(
            help="What is not clean: reviewed (the verdict's suspects as corrected by reviewers), flagged (the "
            "suspects), rejected (what reviewers removed), detector:NAME, file:PATH (a list of sample ids)."
        ),
    ] = "reviewed",
    link: Annotated[bool, typer.Option("--link", help="Hard links instead of copies (format folder).")] = False,
    scanned_only: Annotated[bool, typer.Option("--scanned-only", help="Leave out splits not scanned.")] = False,
    skip_changed: Annotated[
        bool, typer.Option("--skip-changed", help="Leave out files that changed or vanished since the import.")
    ] = False,
    pixels: Annotated[str, typer.Option(help="original bytes, or the stored (resized) pixels as PNG.")] = "original",
    relabel: Annotated[
        str, typer.Option(help="confirmed: keep dropped samples whose new label was confirmed, under that label.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write scores, lists or a clean copy of the data, with checksums. The source is only read."""
    from mspc_core.export.config import ExportConfig
    from mspc_core.export.work import SourceChangedError
    from mspc_core.export.work import export as write

    config = ExportConfig(
        run=run,
        format=format,
        out=out,
        keep=keep,
        drop=drop,
        link=link,
        scanned_only=scanned_only,
        skip_changed=skip_changed,
        pixels=pixels,
        relabel=relabel,
    )
    with _terminable() as should_stop, progress_bar("exporting") as bar:
        try:
            result = write(config, progress=bar, should_stop=should_stop)
        except SourceChangedError as error:
            _list(error.problems)
            raise
    if as_json:
        print(json.dumps(result.as_json(), ensure_ascii=False))
    else:
        _print(result)


def _print(result: ExportResult) -> None:
    from mspc_core.export.config import FORMATS

    print(f"{FORMATS[result.format].title}: {result.samples:,} samples ({result.keep}) in {printable(result.path)}")
    print(f"dropped by the rule {printable(result.drop)}: {result.dropped:,}")
    if result.byte_identical:
        print("the images are byte-identical to the source")
    what = "sha256" if result.byte_identical is None or result.format == "zip" else "sha256 of checksums.sha256"
    print(f"{what}: {result.sha256}")
    for warning in result.warnings:
        print(f"note: {printable(warning)}", file=sys.stderr)
    _list(result.left_out)


def _list(problems: list[tuple[str, str]]) -> None:
    for path, reason in problems[:_LISTED]:
        print(f"  {printable(path)}: {printable(reason)}", file=sys.stderr)
    if len(problems) > _LISTED:
        print(f"  … and {len(problems) - _LISTED:,} more", file=sys.stderr)


@contextmanager
def _terminable() -> Iterator[ShouldStop]:
    """SIGTERM asks to stop, so that what was begun is taken away; Ctrl-C does so by its exception."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
