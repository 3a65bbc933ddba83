"""The report of a run: one self-contained HTML file, and the same as PDF through an installed Chromium.

`write_report` is what the command line does, `render` what the app shows. Parts: `material` reads the run; `overview`,
`data_facts`, `scoring`, `evidence`, `cases`, `reviewed`, `retrained`, `limits`, `reproduce` turn it into plain values;
the templates turn these into HTML, escaping every text. Importing this package loads nothing heavy.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mspc_core import atomic
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from mspc_core.runs import Run

DEFAULT_NAME = "report.html"
_MARK = re.compile(rb'<meta name="backdoor-lens-run" content="([^"]*)">')
_HEAD = 4096  # bytes at the start of a file in which a report says whose it is


@dataclass(frozen=True)
class Written:
    """Where a report was put. pdf: None where none was asked for."""

    html: Path
    pdf: Path | None


def render(run: Run, *, now: datetime | None = None) -> str:
    """The report of a run as one HTML document. now: the time it says it was written.

    Raises `InputError` while the run has no result, or when its files cannot be read.
    """
    from mspc_core.report.document import document

    return document(run, now or datetime.now(UTC))


def write_report(run: Run, out: Path | None = None, *, pdf: bool = False, force: bool = False) -> Written:
    """Write the report to `out` (report.html in the current folder if not given), and with `pdf` the same beside it.

    An earlier report of the same run is replaced; anything else in the way is kept unless `force`. Each file is whole
    or absent. Raises `InputError`.
    """
    target = (out or Path(DEFAULT_NAME)).expanduser()
    if target.suffix.lower() == ".pdf":
        target, pdf = target.with_suffix(".html"), True
    printed = target.with_suffix(".pdf") if pdf else None
    _check_free(target, printed, run.id, force)
    content = render(run)
    made = None
    if printed is not None:  # before anything is written, so that a missing browser leaves nothing half done
        from mspc_core.report.pdf import html_to_pdf

        made = html_to_pdf(content)
    atomic.write_bytes(target, content.encode("utf-8", "replace"))
    if printed is not None and made is not None:
        atomic.write_bytes(printed, made)
    return Written(target, printed)


def _check_free(target: Path, printed: Path | None, run: str, force: bool) -> None:
    if not target.parent.is_dir():
        raise InputError(f"There is no folder {target.parent}: create it, or choose another --out.")
    for path in (target, printed):
        if path is not None and path.is_dir():
            raise InputError(f"{path} is a folder: name the file to write with --out.")
    ours = _written_for(target) == run
    for path in (target, printed):
        if path is not None and path.exists() and not ours and not force:
            raise InputError(
                f"{path} exists and is not a report of this run: choose another --out, or replace it with --force."
            )


def _written_for(path: Path) -> str | None:
    """The run that an existing report is of; None for any other file."""
    try:
        with path.open("rb") as handle:
            found = _MARK.search(handle.read(_HEAD))
    except OSError:
        return None
    return html.unescape(found[1].decode("utf-8", "replace")) if found else None
