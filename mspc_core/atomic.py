"""Files that are either whole or absent: temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_PREFIX = ".tmp-"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file for writing that takes the place of `path` only when the block ends without an error."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{path.name}")
    try:
        with temporary.open("xb") as handle:
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


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
