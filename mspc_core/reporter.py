"""How a running job tells what it does: status.json, log.txt, a heartbeat, and the progress of each stage."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mspc_core import atomic
from mspc_core.errors import InputError, Progress
from mspc_core.job_status import JobStatus, read_status

HEARTBEAT_SECONDS = 2.0
_WRITE_EVERY = 0.4  # seconds between two writes of the progress


class Reporter:
    """Writes status.json and log.txt of a running job; hands out the progress function of each stage."""

    def __init__(
        self, folder: Path, on_progress: Callable[[JobStatus], None] | None = None, device: str = "cpu"
    ) -> None:
        self.folder = folder
        self._on_progress = on_progress
        self._lock = threading.RLock()
        self._written = float("-inf")
        self._begun: float | None = None
        self._weights: dict[str, float] = {}
        self._resumed_at = 0.0
        now = time.time()
        try:
            created = read_status(folder).created
        except InputError:
            created = now
        clock = time.monotonic()
        self.status = JobStatus(pid=os.getpid(), created=created or now, heartbeat=now, clock=clock, device=device)

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
        self._begun = time.monotonic()
        self._set(state="running", started=time.time(), message="Starting.", force=True)

    def waiting(self) -> None:
        """Another job has the device."""
        self._set(state="queued", message="Waiting for another job to finish.")

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
        # A full or read-only disk must not end the work here, nor hide the sentence that says so: what the work itself
        # cannot write ends it.
        with suppress(OSError):
            if self.folder.is_dir():
                with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
                    log.write(text)

    def _set(self, force: bool = False, **changes: Any) -> None:
        now = time.monotonic()
        with self._lock:
            self.status = replace(self.status, **changes, heartbeat=time.time(), clock=now)
            if "progress" in changes:
                self.status = replace(self.status, eta=self._eta(now))
            if not force and now - self._written < _WRITE_EVERY:
                return
            self._written = now
            try:
                atomic.write_json(self.folder / "status.json", asdict(self.status))
            except FileNotFoundError:
                return  # the folder was deleted; should_stop ends the work
            except OSError:
                pass  # as for the log
        if self._on_progress:
            self._on_progress(self.status)

    def _eta(self, now: float) -> float | None:
        done = self.status.progress - self._resumed_at
        if self._begun is None or self.status.state != "running" or done < 0.02:
            return None
        return (now - self._begun) * (1.0 - self.status.progress) / done
