"""What a job folder says: its configuration, its state, and whether a process is alive behind it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from mspc_core import atomic, crashes
from mspc_core.errors import InputError
from mspc_core.shapes import misfit_fields

STATES = ("queued", "running", "finished", "failed", "cancelled", "interrupted")
_YEAR_9000 = 2.2e11  # seconds; later times are none that a calendar shows

KILLED = (
    "The process was killed before the work was done, perhaps because memory ran out or the machine was restarted. "
    "What was finished is kept; resume to go on from there."
)
QUIET_SECONDS = 20.0  # a job at work writes its status every few seconds; after so long it does not answer
INHERITED_LOCK = "BACKDOOR_LENS_LOCK_FD"  # the descriptor of a job's lock that its starter hands to the worker
_STARTING_SECONDS = 60.0  # between making a job and taking its lock; a worker started by `jobs.start` has it at once


@dataclass(frozen=True)
class JobStatus:
    """progress: 0 … 1 over the whole job. eta: seconds left, or None while unknown. error: one sentence.

    created, started, ended, heartbeat: wall clock, for people. clock: seconds of the machine's own clock when this was
    written. Ages are told by it, because it does not jump when somebody sets the time.
    """

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
    clock: float | None = None

    @property
    def active(self) -> bool:
        return self.state in ("queued", "running")


def read_config(folder: Path) -> dict[str, Any]:
    """Raises `InputError` when the folder is gone or is no job."""
    try:
        return atomic.read_object(folder / "config.json")
    except FileNotFoundError:
        raise InputError(f"The run {folder.name!r} does not exist any more: choose another one.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, NotADirectoryError):
        raise InputError(f"{folder.name!r} is not a readable run folder: choose another one.") from None


def read_status(folder: Path) -> JobStatus:
    """The job's state as it is now: a dead process is told from a working one by its lock. Raises `InputError`."""
    alive = locked(folder / ".lock")  # asked first: a job that ends in between has written its status by then
    try:
        raw = atomic.read_object(folder / "status.json")
        if misfit_fields(raw, JobStatus):
            raise TypeError("not a status")
        status = JobStatus(**raw)
        if not _is_possible(status):
            raise TypeError("not a possible status")
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "config.json").is_file():  # its maker was killed, or somebody removed the one file
            return JobStatus(state="queued" if alive else "interrupted", message="" if alive else KILLED)
        raise InputError(f"The run {folder.name!r} does not exist any more: choose another one.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError):
        raise InputError(f"The status of run {folder.name!r} is damaged: start it again.") from None
    starting = status.state == "queued" and silence(status) < _STARTING_SECONDS
    if status.active and not alive and not starting:
        return replace(status, state="interrupted", message=KILLED, error=crashes.sentence_of(folder / "log.txt"))
    return status


def silence(status: JobStatus) -> float:
    """Seconds since a job last wrote its status; infinite where that cannot be told: the status is of an older version,
    or from before the machine's last start."""
    if status.clock is None:
        return float("inf")
    passed = time.monotonic() - status.clock
    return passed if passed >= 0 else float("inf")


def answers(status: JobStatus) -> bool:
    """False for a job that is alive and silent: it was stopped (SIGSTOP), or the machine hangs."""
    return status.state != "running" or not QUIET_SECONDS < silence(status) < float("inf")


def _is_possible(status: JobStatus) -> bool:
    times = (status.created, status.started, status.ended, status.heartbeat, status.eta)
    known = status.state in STATES and 0 <= status.progress <= 1
    return known and all(value is None or 0 <= value < _YEAR_9000 for value in times)


@contextmanager
def held(path: Path, *, patience: float = 0.0) -> Iterator[bool]:
    """Try to hold the lock file; yields whether it is ours. The system frees it when the process dies.

    Whoever asks `locked` holds it for an instant; `patience` (seconds) waits that out.
    """
    handle = take(path, patience=patience)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            handle.close()


def take(path: Path, *, patience: float = 0.0) -> IO[bytes] | None:
    """The lock file, held until the handle is closed in every process that has it; None if another one holds it."""
    handle: IO[bytes] = path.open("ab")
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= deadline:
                handle.close()
                return None
        except OSError:
            handle.close()
            raise
        time.sleep(0.02)


def handed_over(path: Path) -> IO[bytes] | None:
    """The lock file as the process that started this one holds it for us, None where it does not."""
    text = os.environ.pop(INHERITED_LOCK, "")
    if not text.isdecimal():
        return None
    descriptor = int(text)
    try:
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            return None
        os.set_inheritable(descriptor, False)  # what this process starts must not hold it
        handle: IO[bytes] = os.fdopen(descriptor, "ab")
    except OSError:
        return None
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


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
