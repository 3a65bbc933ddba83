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

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from mspc_core import atomic, home
from mspc_core.errors import Cancelled, InputError, Progress, explain_os_error

HEARTBEAT_SECONDS = 2.0
_WRITE_EVERY = 0.4  # seconds between two writes of the progress


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


def create(parent: Path, config: dict[str, Any], label: str) -> Path:
    """A new job folder `<time>-<label>-<random>` under `parent`, queued but not started."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = parent / f"{stamp}-{home.name_from(label)[:40]}-{secrets.token_hex(2)}"
    prepare(folder, config)
    return folder


def prepare(folder: Path, config: dict[str, Any]) -> None:
    """Make `folder` a queued job. Raises `InputError` if it holds something else."""
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / "config.json", config)
    atomic.write_json(folder / "status.json", asdict(JobStatus(created=time.time())))


def check_free(folder: Path) -> None:
    """Raises `InputError` if `folder` cannot become a job folder because something is there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty: choose another place with --out.")


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
    alive = _locked(folder / ".lock")  # asked first: a job that ends in between has written its status by then
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


def _out_of_memory(error: RuntimeError) -> bool:
    """PyTorch reports a full memory as a RuntimeError of several wordings."""
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def fail(folder: Path, reason: str) -> JobStatus:
    """Record that a job cannot even begin, with the reason in one sentence."""
    status = replace(read_status(folder), state="failed", message="Stopped.", error=reason, ended=time.time())
    atomic.write_json(folder / "status.json", asdict(status))
    return status


def cancel(folder: Path) -> None:
    """Ask the job to stop; one that nobody runs is marked cancelled at once."""
    if not folder.is_dir():
        raise InputError(f"The run {folder.name!r} does not exist any more.")
    (folder / "cancel").touch()
    if not _locked(folder / ".lock"):
        status = read_status(folder)
        if status.state not in ("finished", "failed"):
            ended = replace(status, state="cancelled", ended=time.time(), message="Cancelled.")
            atomic.write_json(folder / "status.json", asdict(ended))


def start(folder: Path) -> None:
    """Run the job in its own process, which goes on when the caller ends. A cancelled or killed one is resumed."""
    if _locked(folder / ".lock"):
        raise InputError("This job is running already.")
    (folder / "cancel").unlink(missing_ok=True)
    atomic.write_json(folder / "status.json", asdict(JobStatus(created=time.time(), message="Waiting to start.")))
    # Threads that spin while they wait steal the second core from the browser and from other jobs.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "BACKDOOR_LENS_HOME": str(home.home())}
    with (folder / "log.txt").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "mspc_core", "work", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).resolve().parent.parent,
            env=environment,
            start_new_session=True,
        )


def run(
    folder: Path,
    work: Callable[[Path, Reporter], None],
    *,
    device: str = "cpu",
    on_progress: Callable[[JobStatus], None] | None = None,
) -> JobStatus:
    """Do a job in this process: take its lock, wait for the device's turn, work, record how it ended.

    Bad input and cancelling are recorded, not raised; any other error is recorded as failed, with its traceback in
    log.txt. Returns the final status. SIGTERM cancels.
    """
    with _held(folder / ".lock", patience=2.0) as mine:
        if not mine:
            raise InputError("This job is running already in another process.")
        reporter = Reporter(folder, on_progress, device)
        before = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: (folder / "cancel").touch())
        try:
            with reporter.beating(), _turn(folder, device, reporter):
                reporter.begin()
                work(folder, reporter)
            reporter.end("finished", "Done.")
        except (Cancelled, KeyboardInterrupt):
            reporter.end("cancelled", "Cancelled. What was finished is kept; resume to go on from there.")
        except InputError as error:
            reporter.end("failed", "Stopped.", str(error))
        except OSError as error:
            reporter.log_exception()
            reporter.end("failed", "Stopped.", explain_os_error(error))
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or _out_of_memory(error)):
                reporter.fail_unexpectedly(error)
                return reporter.status
            reporter.end("failed", "Stopped.", "Memory ran out: use a smaller image size or close other programs.")
        except Exception as error:
            reporter.fail_unexpectedly(error)
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)
        return reporter.status


class Reporter:
    """Writes status.json and log.txt of a running job; hands out the progress function of each stage."""

    def __init__(
        self, folder: Path, on_progress: Callable[[JobStatus], None] | None = None, device: str = "cpu"
    ) -> None:
        self.folder = folder
        self._on_progress = on_progress
        self._lock = threading.RLock()
        self._written = 0.0
        self._weights: dict[str, float] = {}
        self._resumed_at = 0.0
        now = time.time()
        try:
            created = read_status(folder).created
        except InputError:
            created = now
        self.status = JobStatus(pid=os.getpid(), created=created or now, heartbeat=now, device=device)

    def plan(self, weights: dict[str, float]) -> None:
        """Name the stages in order, each with its expected seconds; they make up the whole progress."""
        self._weights = dict(weights)
        self._set(stages=list(weights))

    def stage(self, name: str, message: str = "") -> Progress:
        """Enter a stage; the returned function reports work done inside it."""
        self.log(f"stage: {name}")
        names, total = list(self._weights), sum(self._weights.values()) or 1.0
        before = sum(self._weights[n] for n in names[: names.index(name)]) / total if name in names else 0.0
        share = self._weights.get(name, 0.0) / total
        self._set(stage=name, progress=before, message=message, force=True)

        def report(done: int, of: int, text: str) -> None:
            self._set(progress=before + share * min(1.0, done / max(1, of)), message=text or message)

        return report

    def skipped(self, name: str) -> None:
        """A stage that a resumed job finds finished: it takes no time and must not spoil the estimate."""
        self.stage(name, "finished before")(1, 1, "")
        total = sum(self._weights.values()) or 1.0
        self._resumed_at += self._weights.get(name, 0.0) / total

    def should_stop(self) -> bool:
        """True once someone asked to cancel or deleted the folder."""
        return (self.folder / "cancel").exists() or not self.folder.is_dir()

    def begin(self) -> None:
        self._set(state="running", started=time.time(), message="Starting.", force=True)

    def end(self, state: str, message: str, error: str | None = None) -> None:
        self.log(f"{state}: {error or message}")
        progress = 1.0 if state == "finished" else self.status.progress
        self._set(state=state, message=message, error=error, ended=time.time(), eta=None, progress=progress, force=True)

    def log(self, text: str) -> None:
        self._append(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def fail_unexpectedly(self, error: Exception) -> None:
        """A bug: its traceback goes to the log, one sentence to the status."""
        self.log_exception()
        kind = type(error).__name__
        self.end("failed", "Stopped.", f"Unexpected problem ({kind}: {error}); details are in log.txt.")

    def log_exception(self) -> None:
        import traceback

        self._append(traceback.format_exc())

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Refresh the heartbeat while the work is busy."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT_SECONDS):
                self._set(force=True)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _append(self, text: str) -> None:
        if self.folder.is_dir():
            with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
                log.write(text)

    def _set(self, force: bool = False, **changes: Any) -> None:
        now = time.time()
        with self._lock:
            self.status = replace(self.status, **changes, heartbeat=now)
            if "progress" in changes:
                self.status = replace(self.status, eta=self._eta(now))
            if not force and now - self._written < _WRITE_EVERY:
                return
            self._written = now
            try:
                atomic.write_json(self.folder / "status.json", asdict(self.status))
            except FileNotFoundError:
                return  # the folder was deleted; should_stop ends the work
        if self._on_progress:
            self._on_progress(self.status)

    def _eta(self, now: float) -> float | None:
        done = self.status.progress - self._resumed_at
        if self.status.started is None or self.status.state != "running" or done < 0.02:
            return None
        return (now - self.status.started) * (1.0 - self.status.progress) / done


@contextmanager
def _turn(folder: Path, device: str, reporter: Reporter) -> Iterator[None]:
    """Hold the device. Waits while another job holds it or an older one is queued for it."""
    lock = home.home() / f"device-{home.name_from(device)}.lock"
    while True:
        if reporter.should_stop():
            raise Cancelled
        with _held(lock) as mine:
            if mine and not _older_waiting(folder, reporter.status):
                yield
                return
        reporter._set(state="queued", message="Waiting for another job to finish.")
        time.sleep(0.5)


def _older_waiting(folder: Path, own: JobStatus) -> bool:
    """Is an older job alive that waits for the same device?"""
    for other in (*home.runs_folder().iterdir(), *home.imports_folder().iterdir()):
        if other == folder or not _locked(other / ".lock"):
            continue
        try:
            status = read_status(other)
        except InputError:
            continue
        if status.state != "queued" or status.device != own.device:
            continue
        if (status.created, other.name) < (own.created, folder.name):
            return True
    return False


@contextmanager
def _held(path: Path, *, patience: float = 0.0) -> Iterator[bool]:
    """Try to hold the lock file; yields whether it is ours. The system frees it when the process dies.

    Whoever asks `_locked` holds it for an instant; `patience` (seconds) waits that out.
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


def _locked(path: Path) -> bool:
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
