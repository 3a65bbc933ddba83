"""What is left of a process in which a library crashed: no exception is raised then, the system ends it at once.

Decoders of images and tables are libraries of other languages, and read files of strangers.
"""

from __future__ import annotations

import faulthandler
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mspc_core.files import open_regular

_LAST = 64 * 1024  # bytes of a log in which a crash is looked for: one says up to 20 KB
# The second alternative is a line of `Reporter.log` with which every attempt begins: a crash before it is an older one.
_LINE = re.compile(rb"^(?:Fatal Python error: ([\w .:()-]{1,60})|\d{4}-\S{10,30} stage: )", re.MULTILINE)


@contextmanager
def noted(log: Path) -> Iterator[None]:
    """Within it, a crash of this process writes its kind and its place to the log. Nothing where something else in this
    process notes crashes already, as pytest does, or where the log cannot be written."""
    if faulthandler.is_enabled():
        yield
        return
    try:
        handle = log.open("ab")
    except OSError:
        yield
        return
    with handle:
        faulthandler.enable(handle, all_threads=False)
        try:
            yield
        finally:
            faulthandler.disable()


def sentence_of(log: Path) -> str | None:
    """One sentence on the crash that ended the job whose log this is; None where it did not end by one."""
    try:
        with open_regular(log) as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - _LAST))
            found = list(_LINE.finditer(handle.read(_LAST)))
    except OSError:
        return None
    kind = found[-1].group(1) if found else None
    if kind is None:
        return None
    return (
        f"A library crashed ({kind.decode('ascii')}), perhaps at a damaged or hostile file; the log says where. What "
        "was finished is kept; where it crashes again, leave out the files that were changed last."
    )
