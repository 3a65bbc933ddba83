"""What a job folder says: its configuration, its state, and whether a process is alive behind it."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from mspc_core import atomic
from mspc_core.errors import InputError


@dataclass(frozen=True)
class JobStatus:
    """progress: 0 … 1 over the whole job. eta: seconds left, or None while unknown. error: one sentence."""

    state: str = "queued"
    stage: str = ""
    stages: list[str] = field(default_factory=list)
    progress: float = 0.0
    message: str = ""
    eta: float | None = None
    error: str | None = None
    pid: int | None = None
    device: str = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    heartbeat: float | None = None

    @property
    def active(self) -> bool:
        return self.state in ("queued", "running")


def read_config(folder: Path) -> dict[str, Any]:
    """Raises `InputError` when the folder is gone or is no job."""
    try:
        config: dict[str, Any] = atomic.read_json(folder / "config.json")
        return config
    except FileNotFoundError:
        raise InputError(f"The run {folder.name!r} does not exist any more: choose another one.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, NotADirectoryError):
        raise InputError(f"{folder.name!r} is not a readable run folder: choose another one.") from None


def read_status(folder: Path) -> JobStatus:
    """The job's state as it is now: a dead process is told from a working one by its lock. Raises `InputError`."""
    alive = locked(folder / ".lock")  # asked first: a job that ends in between has written its status by then
    try:
        raw = atomic.read_json(folder / "status.json")
        status = JobStatus(**raw)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"The run {folder.name!r} does not exist any more: choose another one.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError):
        raise InputError(f"The status of run {folder.name!r} is damaged: start it again.") from None
    starting = status.state == "queued" and time.time() - status.created < 60
    if status.active and not alive and not starting:
        return replace(status, state="interrupted", message="The process ended before the work was done.")
    return status


@contextmanager
def held(path: Path, *, patience: float = 0.0) -> Iterator[bool]:
    """Try to hold the lock file; yields whether it is ours. The system frees it when the process dies.

    Whoever asks `locked` holds it for an instant; `patience` (seconds) waits that out.
    """
    handle: IO[bytes] = path.open("ab")
    deadline = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = True
            except BlockingIOError:
                mine = False
            if mine or time.monotonic() >= deadline:
                break
            time.sleep(0.02)
        yield mine
    finally:
        handle.close()


def locked(path: Path) -> bool:
    """Does any process hold this lock file?"""
    try:
        handle = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
