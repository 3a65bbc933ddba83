"""Work that outlives the browser: a job is a folder, run by one process, watched through its files.

    <job>/config.json   what to do; `kind` names who does it (`mspc_core.work`)
    <job>/status.json   JobStatus: state, stage, progress, time left, heartbeat, pid
    <job>/log.txt       what happened, with the full error if it failed
    <job>/.lock         held by the process that runs the job: the one proof that it is alive
    <job>/cancel        asks that process to stop

States: queued → running → finished | failed | cancelled. A job whose file says running while nobody holds the lock was
killed: it is shown as interrupted and can be resumed. Jobs for the same device take turns, oldest first.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mspc_core import access, atomic, crashes, home, quotas, serving
from mspc_core.errors import MEMORY, Cancelled, InputError, explain_os_error, out_of_memory
from mspc_core.job_status import INHERITED_LOCK, JobStatus, handed_over, held, locked, read_config, read_status, take
from mspc_core.reporter import Reporter

__all__ = ["JobStatus", "Reporter", "cancel", "create", "fail", "prepare", "read_config", "read_status", "run", "start"]
STAMP = "%Y%m%d-%H%M%S"  # local time, with which the names of job folders begin


class _Interrupted(BaseException):
    """Ctrl-C while a job works. Not a KeyboardInterrupt: where one passes through `exec` of a string, as importing a
    dataclass does, CPython notes it as unhandled and ends the process by SIGINT even if it was caught later."""


def create(parent: Path, config: dict[str, Any], label: str, fill: Callable[[Path], object] | None = None) -> Path:
    """A new job folder `<time>-<label>-<random>` under `parent`, queued but not started. It appears whole, with what
    `fill` writes into it besides its configuration."""
    stamp = datetime.now().strftime(STAMP)
    folder = parent / f"{stamp}-{home.name_from(label)[:40]}-{secrets.token_hex(2)}"
    parent.mkdir(parents=True, exist_ok=True)
    atomic.sweep(parent)
    temporary = atomic.temporary_for(folder)
    with quotas.room_for_job(folder, new=True):
        temporary.mkdir()
        try:
            with atomic.claimed_folder(temporary):
                _make(temporary, config, fill)
                os.rename(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    atomic.sync_folder(parent)
    return folder


def prepare(folder: Path, config: dict[str, Any], fill: Callable[[Path], object] | None = None) -> None:
    """Make `folder` a queued job. Raises `InputError` if it holds something else.

    config.json comes last and vouches for the rest: without it the folder is no job.
    """
    check_free(folder)
    with quotas.room_for_job(folder, new=True):
        _make(folder, config, fill)


def _make(folder: Path, config: dict[str, Any], fill: Callable[[Path], object] | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    access.record(folder)
    write_status(folder, queued())
    if fill is not None:
        fill(folder)
    atomic.write_json(folder / "config.json", config)


def folders_in(parent: Path) -> list[Path]:
    """The job folders in `parent`, newest first; those that are still being made are left out."""
    try:
        found = [folder for folder in parent.iterdir() if not folder.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda folder: folder.name, reverse=True)


def queued(message: str = "") -> JobStatus:
    """The status of a job that nobody works on yet."""
    return JobStatus(created=time.time(), clock=time.monotonic(), message=message)


def write_status(folder: Path, status: JobStatus) -> None:
    atomic.write_json(folder / "status.json", asdict(status))


def check_free(folder: Path) -> None:
    """Raises `InputError` if `folder` cannot become a job folder because something is there. What a killed `prepare`
    leaves does not count."""
    if folder.exists() and (not folder.is_dir() or any(not _left_over(path.name) for path in folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty: choose another place with --out.")


def _left_over(name: str) -> bool:
    return name in ("status.json", ".lock", access.OWNER) or name.startswith(atomic.TEMPORARY_PREFIX)


def fail(folder: Path, reason: str) -> JobStatus:
    """Record that a job cannot even begin, with the reason in one sentence."""
    status = replace(read_status(folder), state="failed", message="Stopped.", error=reason, ended=time.time())
    write_status(folder, status)
    return status


def cancel(folder: Path) -> None:
    """Ask the job to stop; one that nobody runs is marked cancelled at once."""
    if not folder.is_dir():
        raise InputError(f"The run {folder.name!r} does not exist any more.")
    access.check_owner(folder)
    (folder / "cancel").touch()
    if not locked(folder / ".lock"):
        status = read_status(folder)
        if status.state not in ("finished", "failed"):
            ended = replace(status, state="cancelled", ended=time.time(), message="Cancelled.")
            write_status(folder, ended)


def start(folder: Path) -> None:
    """Run the job in its own process, which goes on when the caller ends. A cancelled or killed one is resumed.

    The job's lock is taken here and handed to that process. So two apps over one home folder cannot both start it, and
    a worker that dies before it has said anything is known to be dead. Raises `InputError` if it is running already.
    """
    if not folder.is_dir():
        raise InputError(f"The run {folder.name!r} does not exist any more.")
    access.check_owner(folder)
    seen = _written(folder / "status.json")
    lock = take(folder / ".lock", patience=0.5)
    if lock is None:
        raise InputError("This job is running already.")
    with lock:
        if _written(folder / "status.json") != seen:  # another app started it meanwhile; it may be done
            raise InputError("This job is running already.")
        with quotas.room_for_job(folder, new=False):
            (folder / "cancel").unlink(missing_ok=True)
            write_status(folder, queued("Waiting to start."))
        # Threads that spin while they wait steal the second core from the browser and from other jobs.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "BACKDOOR_LENS_HOME": str(home.home())}
        environment[access.VARIABLE] = access.current() or ""
        for name in serving.SECRETS:
            environment.pop(name, None)
        processes = int(read_config(folder).get("processes") or 1)
        if processes > 1:  # each gets its part of the cores; torchrun would give it one
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        else:  # torchrun hands nothing on: there the first process takes the lock itself, once it has started
            environment[INHERITED_LOCK] = str(lock.fileno())
        try:
            with (folder / "log.txt").open("ab") as log:
                subprocess.Popen(
                    [sys.executable, *_launcher(processes), "-m", "mspc_core", "work", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=Path(__file__).resolve().parent.parent,
                    env=environment,
                    pass_fds=[lock.fileno()] if processes == 1 else [],
                    start_new_session=True,
                )
        except OSError as error:  # no memory for another process, or too many of them
            raise InputError(str(fail(folder, explain_os_error(error)).error)) from error


def _written(path: Path) -> tuple[int, int] | None:
    """Which version of a file this is: another one after each atomic write."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _launcher(processes: int) -> list[str]:
    """torchrun for several processes on this machine (`mspc_core.following`); nothing for one."""
    if processes == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]


def run(
    folder: Path,
    work: Callable[[Path, Reporter], None],
    *,
    device: str = "cpu",
    on_progress: Callable[[JobStatus], None] | None = None,
) -> JobStatus:
    """Do a job in this process: take its lock, wait for the device's turn, work, record how it ended.

    Bad input and cancelling are recorded, not raised; any other error is recorded as failed, with its traceback in
    log.txt. Returns the final status. SIGTERM and SIGINT cancel.
    """
    with _own(folder / ".lock"), crashes.noted(folder / "log.txt"):
        atomic.sweep(folder, below=True)
        reporter = Reporter(folder, on_progress, device)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def interrupted(*_: object) -> None:
            # Python drops an exception that is raised inside a destructor or a callback of C code; the file stays.
            (folder / "cancel").touch()
            raise _Interrupted

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: (folder / "cancel").touch())
            signal.signal(signal.SIGINT, interrupted)
        try:
            with reporter.beating(), _turn(folder, device, reporter):
                reporter.begin()
                work(folder, reporter)
            reporter.end("finished", "Done.")
        except (Cancelled, KeyboardInterrupt, _Interrupted):
            reporter.end("cancelled", "Cancelled. What was finished is kept; resume to go on from there.")
        except InputError as error:
            reporter.end("failed", "Stopped.", str(error))
        except OSError as error:
            reporter.log_exception()
            reporter.end("failed", "Stopped.", explain_os_error(error))
        except Exception as error:
            if out_of_memory(error):
                reporter.end("failed", "Stopped.", MEMORY)
            else:
                reporter.fail_unexpectedly(error)
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)
        return reporter.status


@contextmanager
def _own(path: Path) -> Iterator[None]:
    """Hold the job's lock: the one that `start` handed over, or a new one. Raises `InputError` if another process
    holds it."""
    lock = handed_over(path) or take(path, patience=2.0)
    if lock is None:
        raise InputError("This job is running already in another process.")
    with lock:
        yield


@contextmanager
def _turn(folder: Path, device: str, reporter: Reporter) -> Iterator[None]:
    """Hold the device, or all of several ("cuda:0+cuda:1"). Waits while another job holds one of them or an older one
    is queued for it; nothing is held meanwhile."""
    locks = [home.home() / f"device-{home.name_from(lane)}.lock" for lane in device.split("+")]
    while True:
        if reporter.should_stop():
            raise Cancelled
        with ExitStack() as stack:
            if all([stack.enter_context(held(lock)) for lock in locks]) and not _older_waiting(folder, reporter.status):
                yield
                return
        reporter.waiting()
        time.sleep(0.5)


def _older_waiting(folder: Path, own: JobStatus) -> bool:
    """Is an older job alive that waits for the same device?"""
    parents = (home.runs_folder(), home.imports_folder(), home.exports_folder(), home.lab_folder())
    folders = [folder for parent in parents for folder in folders_in(parent)]
    for other in (*folders, *home.runs_folder().glob("*/retrains/*"), *home.runs_folder().glob("*/map")):
        if other == folder or not locked(other / ".lock"):
            continue
        try:
            status = read_status(other)
        except InputError:
            continue
        if status.state != "queued" or not set(status.device.split("+")) & set(own.device.split("+")):
            continue
        if (status.created, other.name) < (own.created, folder.name):
            return True
    return False
