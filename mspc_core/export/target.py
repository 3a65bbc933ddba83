"""Where an export goes: never over something, never into the source, and either whole or absent."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mspc_core import access, atomic, home
from mspc_core.data.folder import inside
from mspc_core.data.source import shown
from mspc_core.data.store import DatasetInfo
from mspc_core.errors import InputError

_SPARE_BYTES = 16 * 2**20


def check_target(out: str, info: DatasetInfo | None, run_folder: Path) -> Path:
    """The absolute path of the export. Raises `InputError` if something is there, if there is no folder to put it in,
    or if it would lie in the source or among the tool's own files. info: of the data set, if it is there."""
    text = out.strip()
    if not text or "\0" in text:
        raise InputError("No place was given: name the file or folder to make.")
    path = Path(os.path.abspath(os.path.expanduser(text)))
    access.check_writable(path)
    real = os.path.join(os.path.realpath(path.parent), path.name)
    if info is not None:
        _check_apart(real, info)
    if os.path.lexists(path):
        raise InputError(f"{path} exists already: choose another name; nothing was overwritten.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}: make it first, or choose another place.")
    own = [home.datasets_folder(), home.runs_folder(), home.imports_folder(), run_folder]
    if any(_within(os.path.realpath(folder), real) for folder in own):
        raise InputError(f"{path} lies among this tool's own files: choose another place.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"No permission to write in {path.parent}: choose another place.")
    return path


def check_space(path: Path, needed: int) -> None:
    """Raises `InputError` if the disk cannot hold `needed` bytes."""
    free = shutil.disk_usage(path.parent).free
    if needed + _SPARE_BYTES > free:
        raise InputError(
            f"The export takes about {needed / 2**30:,.2f} GiB and the disk has {free / 2**30:,.2f} GiB free: free "
            "some space or choose another place."
        )


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path` only when the block ends without an error. Raises `InputError` if something has
    taken the name in between."""
    _clean_stale(path)
    temporary = atomic.temporary_for(path)
    try:
        with temporary.open("xb") as handle:
            atomic.claim(handle.fileno())
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        _check_still_free(path)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    atomic.sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is renamed to `path` only when the block ends without an error, else removed."""
    _clean_stale(path)
    temporary = atomic.temporary_for(path)
    try:
        temporary.mkdir()
        with atomic.claimed_folder(temporary):
            yield temporary
            atomic.sync_folder(temporary)
            _check_still_free(path)
            os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    atomic.sync_folder(path.parent)


def _clean_stale(path: Path) -> None:
    """Remove what a killed export to the same place left behind."""
    named = re.compile(re.escape(atomic.TEMPORARY_PREFIX) + "[0-9a-f]{12}-" + re.escape(path.name[:100]))
    with os.scandir(path.parent) as entries:
        stale = [entry.path for entry in entries if named.fullmatch(entry.name) and not entry.is_symlink()]
    for place in map(Path, stale):
        with contextlib.suppress(OSError):
            if not atomic.abandoned(place):
                continue
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink()


def _check_still_free(path: Path) -> None:
    if os.path.lexists(path):
        raise InputError(f"{path} was made by somebody else meanwhile: choose another name; nothing was overwritten.")


def _check_apart(real: str, info: DatasetInfo) -> None:
    from mspc_core.export.originals import on_disk

    if not os.path.isabs(info.source) or not os.path.lexists(on_disk(info.source)):
        return  # a name, as of lab data, or gone
    source = os.path.realpath(on_disk(info.source))
    if os.path.isdir(source) and _within(source, real):
        raise InputError(f"{shown(real)} lies inside the source {shown(source)}, which is never written to.")
    if _within(real, source):
        raise InputError(f"{shown(real)} holds the source {shown(source)}: choose a place beside it.")


def _within(folder: str, path: str) -> bool:
    return path == folder or inside(folder, path)
