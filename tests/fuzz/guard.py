"""The side of the tests: hands cases to a worker process, judges what comes back, counts."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.making.code import CANARY

ROOT = Path(__file__).resolve().parents[2]
WALL_SECONDS = 180  # far above the limit of CPU seconds: other programs may hold the processor
MEMORY_BYTES = 2 * 2**30  # resident growth that one case may cause


@dataclass(frozen=True)
class Link:
    """A symbolic link in a case's folder."""

    target: str


@dataclass(frozen=True)
class Case:
    """files: relative path → content, laid into the case's folder (paths that start with `home/`: into the product's
    home folder). options: for the target."""

    files: dict[str, bytes | Link]
    options: dict[str, Any] = field(default_factory=dict)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        names = {name: len(content) if isinstance(content, bytes) else content for name, content in self.files.items()}
        return f"Case({names if len(names) < 6 else len(names)}, {self.options})"


class Defect(AssertionError):  # noqa: N818  (a finding, not a failure of the tests)
    """The product did what it must not do."""


def lay(folder: Path, case: Case) -> None:
    """Write a case's files below `folder`, in place of those of the case before it."""
    for name in ("case", "home"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    for name, content in case.files.items():
        path = folder / (name if name.startswith("home/") else f"case/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.unlink(missing_ok=True)
            path.symlink_to(content.target)
        else:
            path.write_bytes(content)


class Guard:
    """Runs cases in a worker process that is started again when a case ends it. bare: without loading the product."""

    def __init__(self, folder: Path, *, bare: bool = False) -> None:
        self.folder, self._bare = folder, bare
        self.records: dict[str, list[dict[str, Any]]] = {}
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._secret = b"nobody may read this"
        (folder / "secret.png").write_bytes(self._secret)
        self._forget_reading()

    def run(self, target: str, case: Case, group: str = "") -> dict[str, Any]:
        """The worker's answer, kept in `records` under its group. Raises `Defect`."""
        lay(self.folder, case)
        answer = self._ask({"target": target, "options": case.options})
        self.records.setdefault(group or target, []).append(answer)
        if answer["outcome"] == "defect":
            raise Defect(f"{target}: {answer['detail']}")
        if answer["memory_bytes"] > MEMORY_BYTES:
            raise Defect(f"{target}: grew by {answer['memory_bytes'] / 2**20:.0f} MiB")
        if (ROOT / CANARY).exists():
            (ROOT / CANARY).unlink()
            raise Defect(f"{target}: opened a pickle")
        there = sorted(path.name for path in self.folder.iterdir())
        if not set(there) <= {"home", "case", "tmp", "secret.png"}:
            raise Defect(f"{target}: wrote beside its folders: {there}")
        # The watch hears what Python opens. Readers in other languages open files by themselves: the system notes that.
        if (self.folder / "secret.png").stat().st_atime_ns:
            self._forget_reading()
            raise Defect(f"{target}: read a file outside, past Python")
        if (self.folder / "secret.png").read_bytes() != self._secret:
            raise Defect(f"{target}: wrote over a file outside")
        self._forget_reading()
        return answer

    def _forget_reading(self) -> None:
        """Set the time of the last reading to 0; the next reading changes it, also where times are noted sparingly
        (`relatime`), because it lies before the last change."""
        secret = self.folder / "secret.png"
        os.utime(secret, ns=(0, secret.stat().st_mtime_ns))

    def notes_readings(self) -> bool:
        """Whether this file system notes when a file was read; one that is mounted with `noatime` does not."""
        (self.folder / "secret.png").read_bytes()
        noted = self.folder.joinpath("secret.png").stat().st_atime_ns > 0
        self._forget_reading()
        return noted

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return self._answer(process)

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], WALL_SECONDS)
        line = process.stdout.readline() if ready else ""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self.close()
        why = f"the process ended with {process.returncode}" if ready else f"no answer within {WALL_SECONDS} s"
        return {"outcome": "defect", "detail": why, "cpu_seconds": 0.0, "wall_seconds": 0.0, "memory_bytes": 0}

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            (self.folder / "tmp").mkdir(exist_ok=True)
            # Decoders write complaints about hostile files to standard error by themselves.
            log = (self.folder / "tmp" / "worker.log").open("ab")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", str(self.folder), *(["bare"] if self._bare else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    "PYTHONWARNINGS": "ignore",
                    "TMPDIR": str(self.folder / "tmp"),
                },
                text=True,
            )
            log.close()
            if not self._answer(self._process).get("ready"):
                said = (self.folder / "tmp" / "worker.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the worker did not start: {said}")
        return self._process
