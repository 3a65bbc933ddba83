"""`python -m mspc_core report RUN`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mspc_core.console import printable

Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def report(
    run: Annotated[str, typer.Argument(help="Run id or folder.")],
    out: Annotated[str, typer.Option(help="HTML file to write; with .pdf, the PDF and the HTML beside it.")] = (
        "report.html"
    ),
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print it to PDF, through Chromium or Chrome.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is not a report of this run.")] = False,
    as_json: Json = False,
) -> None:
    """Write what a scan found as one HTML file that opens without a network, and as PDF if asked.

    An earlier report of the same run is replaced. CHROME names the browser that prints the PDF, where it is not found.
    """
    from mspc_core.report import write_report
    from mspc_core.runs import open_run

    written = write_report(open_run(run), Path(out), pdf=pdf, force=force)
    paths = {"html": str(written.html), **({"pdf": str(written.pdf)} if written.pdf else {})}
    if as_json:
        print(json.dumps(paths, ensure_ascii=False))
        return
    for path in paths.values():
        print(f"report: {printable(path)}")
