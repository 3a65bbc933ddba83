"""Files that are either whole or absent: temporary file in the same folder, fsync, rename.

What is being written is locked while its writer lives (`claim`). So what a killed process left behind is told from what
is at work without asking how old it is: clocks jump, and a slow writer may be silent for long.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mspc_core.files import read_json as read_json
from mspc_core.files import read_object as read_object

TEMPORARY_PREFIX = ".tmp-"
_TEMPORARY_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9a-f]{12}(-.*)?", re.DOTALL)
# Between making a temporary file and locking it lies an instant, in which it looks abandoned.
_FRESH_SECONDS = 5.0


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file for writing that takes the place of `path` only when the block ends without an error."""
    temporary = temporary_for(path)
    try:
        with temporary.open("xb") as handle:
            claim(handle.fileno())
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """`write(handle)` into `path`, atomically."""
    with replacing(path) as handle:
        write(handle)


def write_bytes(path: Path, content: bytes) -> None:
    write_with(path, lambda handle: handle.write(content))


def write_json(path: Path, value: Any) -> None:
    """UTF-8 JSON, indented so that a person can read it. NaN and infinity are refused (they are not JSON)."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def temporary_for(path: Path) -> Path:
    """A new name beside `path` for what will take its place. Long names are cut: the file system has a limit."""
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{path.name[:100]}")


def claim(descriptor: int) -> None:
    """Mark what is being written as alive, until the descriptor is closed or the process dies. Where the file system
    knows no locks, nothing there is ever taken for abandoned."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def claimed_folder(folder: Path) -> Iterator[None]:
    """`claim` for a folder that is being filled."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        claim(descriptor)
        yield
    finally:
        os.close(descriptor)


def abandoned(path: Path) -> bool:
    """Has the writer of this temporary file or folder died?"""
    try:
        if path.is_symlink() or abs(time.time() - path.lstat().st_mtime) < _FRESH_SECONDS:
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def sweep(folder: Path, *, below: bool = False) -> int:
    """Remove what killed processes left half-written in `folder` (below: and in the folders in it). Returns how many
    entries went; what cannot be removed stays."""
    removed = 0
    try:
        pattern = f"{TEMPORARY_PREFIX}*"
        found = list(folder.rglob(pattern) if below else folder.glob(pattern))
    except OSError:
        return 0
    for path in found:
        if not _TEMPORARY_NAME.fullmatch(path.name) or not abandoned(path):
            continue
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed += 1
    return removed


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
