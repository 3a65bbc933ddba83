"""Clocks that jump, jobs that are stopped and continued, and two apps over one home folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mspc_core import cli, job_status, jobs, work
from mspc_core import home as places
from mspc_core.errors import InputError
from mspc_core.job_status import JobStatus
from mspc_core.runs import Run, ScanConfig
from tests.unit.exporting import cats_and_dogs
from tests.unit.test_jobs import new_job, start_process, wait_for
from ui import run_list
from ui.job_panel import heartbeat_line

DAY = 24 * 3600.0
BUSY = "while not reporter.should_stop() and not (folder / 'enough').exists(): time.sleep(0.01)"


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """jump(seconds): somebody sets the time."""
    real = time.time

    def by(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return by


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """later(seconds): so long has really passed since."""
    real = time.monotonic

    def by(seconds: float) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: real() + seconds)

    return by


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_clock_that_jumps_kills_no_job(home: Path, jump: Callable[[float], None], seconds: float) -> None:
    folder, waiting = new_job(), new_job()
    process = start_process(folder, BUSY)
    wait_for(lambda: jobs.read_status(folder).state == "running")
    jump(seconds)
    assert jobs.read_status(folder).state == "running"
    assert heartbeat_line(jobs.read_status(folder), time.time()) == "Working; last sign of life just now."
    assert jobs.read_status(waiting).state == "queued", "made a moment ago, whatever the clock says"
    (folder / "enough").touch()
    assert process.wait(30) == 0
    assert jobs.read_status(folder).state == "finished"


def test_a_clock_that_jumps_back_does_not_keep_the_dead_alive(
    home: Path, jump: Callable[[float], None], later: Callable[[float], None]
) -> None:
    folder = new_job()
    jump(-DAY)
    later(61)
    assert jobs.read_status(folder).state == "interrupted"


def test_the_estimate_does_not_follow_the_clock(
    home: Path, jump: Callable[[float], None], later: Callable[[float], None]
) -> None:
    reporter = jobs.Reporter(new_job())
    reporter.plan({"only": 1.0})
    reporter.begin()
    report = reporter.stage("only")
    jump(DAY)
    later(10)
    report(1, 4, "")
    assert reporter.status.eta == pytest.approx(30, abs=3)


def test_a_status_from_before_the_last_start_of_the_machine() -> None:
    assert job_status.silence(JobStatus(clock=time.monotonic() + 1000)) == float("inf")
    assert job_status.silence(JobStatus()) == float("inf")


def test_a_stopped_job_does_not_answer_and_is_not_started_twice(
    home: Path, later: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = new_job()
    process = start_process(folder, BUSY)
    wait_for(lambda: jobs.read_status(folder).state == "running")
    process.send_signal(signal.SIGSTOP)
    later(30)
    status = jobs.read_status(folder)
    assert (status.state, job_status.answers(status)) == ("running", False)
    line = heartbeat_line(status, time.time())
    assert line.startswith("Not answering. No sign of life for 3")
    assert f"end process {process.pid}" in line
    assert cli.main(["list"]) == 0
    assert f"{folder.name}: running, not answering" in capsys.readouterr().out
    with pytest.raises(InputError, match="running already"):
        jobs.start(folder)
    later(0)
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: job_status.answers(jobs.read_status(folder)))
    (folder / "enough").touch()
    assert process.wait(30) == 0
    assert jobs.read_status(folder).state == "finished"


def test_two_apps_start_a_job_once(home: Path, tmp_path: Path) -> None:
    """Four clicks at the same moment. Locks belong to open files, so threads compete as processes do."""
    wanted = {"kind": "import", "source": str(cats_and_dogs(tmp_path / "source")), "name": "pets", "size": 16}
    folder = jobs.create(places.imports_folder(), wanted, "pets")

    def click(_: int) -> str:
        try:
            jobs.start(folder)
            return "started"
        except InputError as error:
            return str(error)

    with job_status.held(home / "device-io.lock"), ThreadPoolExecutor(4) as pool:  # its turn comes after the clicks
        said = sorted(pool.map(click, range(4)))
    assert said == ["This job is running already."] * 3 + ["started"]
    wait_for(lambda: not jobs.read_status(folder).active, 60)
    assert jobs.read_status(folder).state == "finished"
    assert work.result_of(folder)["count"] == 12
    log = (folder / "log.txt").read_text()
    assert (log.count("stage: import"), "Traceback" in log) == (1, False)


def test_a_job_that_ended_while_a_click_waited_is_not_done_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other app's click came first, and its worker needed less time than this click's patience."""
    folder = new_job()
    lock = job_status.take(folder / ".lock")
    assert lock is not None

    def other_app_ends(_: float) -> None:
        jobs.write_status(folder, JobStatus(state="finished"))
        lock.close()

    monkeypatch.setattr(job_status.time, "sleep", other_app_ends)
    with pytest.raises(InputError, match="running already"):
        jobs.start(folder)
    assert jobs.read_status(folder).state == "finished"


def test_a_started_job_is_alive_before_it_says_anything_and_dead_when_it_dies(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker holds the lock from its first instant: nothing has to be guessed from how long ago it was started."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    worker = tmp_path / "worker"
    worker.write_text(f'#!/bin/sh\nread line < "{gate}"\n')
    worker.chmod(0o755)
    folder = new_job()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(worker))
        jobs.start(folder)
    assert jobs.read_status(folder).state == "queued"
    with pytest.raises(InputError, match="running already"):
        jobs.start(folder)
    monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + 100)
    assert jobs.read_status(folder).state == "queued", "a slow start is no death"
    gate.write_text("die\n")
    wait_for(lambda: jobs.read_status(folder).state == "interrupted")
    assert "memory" in jobs.read_status(folder).message


def test_no_memory_for_another_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    folder = new_job()
    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(InputError, match="Memory ran out"):
        jobs.start(folder)
    assert (jobs.read_status(folder).state, job_status.locked(folder / ".lock")) == ("failed", False)


def test_a_dead_process_frees_the_device(home: Path) -> None:
    first, second = new_job(), new_job()
    process = start_process(first, BUSY)
    wait_for(lambda: jobs.read_status(first).state == "running")
    process.kill()
    process.wait()
    assert jobs.run(second, lambda folder, reporter: None).state == "finished"


def test_a_crash_inside_of_a_library_is_told_from_a_kill(home: Path) -> None:
    folder = jobs.create(places.runs_folder(), ScanConfig("x").as_json(), "x")
    crash = "import ctypes, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); ctypes.string_at(0)"
    assert start_process(folder, f"reporter.stage('data'); exec({crash!r})").wait(60) < 0
    status = jobs.read_status(folder)
    assert status.state == "interrupted"
    assert "A library crashed (Segmentation fault), perhaps at a damaged or hostile file" in str(status.error)
    log = (folder / "log.txt").read_text()
    assert "Fatal Python error: Segmentation fault" in log
    assert "in work" in log, "where it happened"
    assert run_list.row_of(Run(folder)).detail.startswith("A library crashed")
    process = start_process(folder, "reporter.stage('data'); time.sleep(60)")
    wait_for(lambda: "stage" in (folder / "log.txt").read_text()[len(log) :])
    process.kill()
    process.wait()
    assert (jobs.read_status(folder).state, jobs.read_status(folder).error) == ("interrupted", None), "the last end"


def test_what_a_worker_starts_does_not_hold_its_lock(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a killed job would seem to be alive as long as its children are."""
    folder = new_job()
    lock = job_status.take(folder / ".lock")
    assert lock is not None
    copy = os.dup(lock.fileno())
    os.set_inheritable(copy, True)
    lock.close()
    monkeypatch.setenv(job_status.INHERITED_LOCK, str(copy))
    inside: list[tuple[bool, bool, bool]] = []

    def look(folder: Path, reporter: jobs.Reporter) -> None:
        own, named = os.get_inheritable(copy), job_status.INHERITED_LOCK in os.environ
        inside.append((own, named, job_status.locked(folder / ".lock")))

    assert jobs.run(folder, look).state == "finished"
    assert inside == [(False, False, True)]
    assert not job_status.locked(folder / ".lock")
