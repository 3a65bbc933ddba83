"""What an unfinished import has finished, so that a killed one goes on where it was instead of decoding all again.

    datasets/.tmp-resume-<key>/
      .lock                  held while an import writes here; the system frees it when the process dies
      pixels.u8              as in a stored data set; what lies beyond the last part is cut off
      parts/00000001.json    rows and skipped files of one stretch, and the digest of everything up to its end

A part is written, atomically, after its pixels have reached the disk, and believed only if their digest is the same
when they are read again: so a resumed import stores what an undisturbed one would have stored.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from mspc_core import atomic, home

_PARTS, _LOCK = "parts", ".lock"
_KEPT_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Part:
    """rows: of the manifest. skipped: (path, reason). items: of the source that were seen up to the end of this part.
    digest: of all pixels and labels up to there."""

    rows: list[tuple[Any, ...]]
    skipped: list[tuple[str, str]]
    items: int
    digest: str


def folder_of(key: str) -> Path:
    """Where the import of this key is written until it is whole."""
    return home.datasets_folder() / f"{atomic.TEMPORARY_PREFIX}resume-{key[:32]}"


def bytes_kept(key: str) -> int:
    """Size of the pixels that a killed import of this key has left."""
    try:
        return (folder_of(key) / "pixels.u8").stat().st_size
    except OSError:
        return 0


def claim(folder: Path) -> IO[bytes] | None:
    """Make the folder ours: the open lock file, or None while another process writes there."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = (folder / _LOCK).open("ab")
    except FileNotFoundError:  # the other one was done just now
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.fstat(handle.fileno()).st_ino == (folder / _LOCK).stat().st_ino
    except OSError:
        ours = False
    if not ours:
        handle.close()
        return None
    return handle


def sweep(folder: Path) -> None:
    """Remove what a killed import had under a temporary name, else it would become part of the data set. The folder is
    ours, so nobody is writing there, however fresh it looks."""
    for path in folder.rglob(f"{atomic.TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def clean() -> None:
    """Remove what nobody has gone on with for a week."""
    for folder in home.datasets_folder().glob(f"{atomic.TEMPORARY_PREFIX}resume-*"):
        if folder.is_symlink() or time.time() - _last_change(folder) < _KEPT_SECONDS:
            continue
        lock = claim(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()


def _last_change(folder: Path) -> float:
    try:
        return max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return time.time()


def write(folder: Path, number: int, part: Part) -> None:
    parts = folder / _PARTS
    parts.mkdir(exist_ok=True)
    atomic.write_bytes(parts / f"{number:08d}.json", json.dumps(asdict(part), ensure_ascii=False).encode())


def read(folder: Path) -> Iterator[Part]:
    """Parts in order, up to the first that is missing or damaged."""
    number = 1
    while True:
        try:
            raw = atomic.read_json(folder / _PARTS / f"{number:08d}.json")
            rows = [tuple(row) for row in raw["rows"]]
            skipped = [(str(path), str(reason)) for path, reason in raw["skipped"]]
            yield Part(rows, skipped, int(raw["items"]), str(raw["digest"]))
        except (OSError, ValueError, KeyError, TypeError):
            return
        number += 1


def forget(folder: Path, after: int = 0) -> None:
    """Remove the parts with a number above `after`; with 0 all of them, and the lock file."""
    if not after:
        shutil.rmtree(folder / _PARTS, ignore_errors=True)
        (folder / _LOCK).unlink(missing_ok=True)
        return
    for path in (folder / _PARTS).glob("*.json"):
        if not path.stem.isdecimal() or int(path.stem) > after:
            path.unlink()
