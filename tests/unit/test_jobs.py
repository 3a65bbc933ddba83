"""Jobs: how they end, that a killed one is told from a working one, queueing, cancelling, deleting."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mspc_core import home as places
from mspc_core import jobs
from mspc_core.errors import InputError
from mspc_core.jobs import Reporter

ROOT = Path(__file__).resolve().parents[2]


def new_job() -> Path:
    return jobs.create(places.runs_folder(), {"kind": "test"}, "a job")


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def start_process(folder: Path, body: str) -> subprocess.Popen[bytes]:
    """Run `jobs.run` in another process with `body` as the work."""
    code = (
        "import sys, time; from pathlib import Path; from mspc_core import jobs\n"
        f"def work(folder, reporter):\n    {body}\n"
        "jobs.run(Path(sys.argv[1]), work)"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT)


def test_a_finished_job(home: Path) -> None:
    folder, seen = new_job(), []

    def work(folder: Path, reporter: Reporter) -> None:
        reporter.plan({"first": 1.0, "second": 3.0})
        reporter.stage("first")(5, 10, "half of the first")
        seen.append(reporter.status.progress)
        reporter.stage("second")(1, 2, "half of the second")
        seen.append(reporter.status.progress)

    status = jobs.run(folder, work)
    assert seen == [0.125, 0.625]
    assert (status.state, status.progress, status.error) == ("finished", 1.0, None)
    assert jobs.read_status(folder).stages == ["first", "second"]
    assert "stage: second" in (folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("error", "sentence", "traceback"),
    [
        (InputError("The folder is empty: add images."), "The folder is empty: add images.", False),
        (OSError(28, "No space left on device", "/x"), "The disk is full (/x)", True),
        (ZeroDivisionError("oops"), "Unexpected problem (ZeroDivisionError: oops)", True),
        (MemoryError(), "Memory ran out", False),
    ],
)
def test_failures_are_sentences(home: Path, error: Exception, sentence: str, traceback: bool) -> None:
    folder = new_job()

    def work(folder: Path, reporter: Reporter) -> None:
        raise error

    status = jobs.run(folder, work)
    assert status.state == "failed"
    assert status.error is not None
    assert status.error.startswith(sentence)
    assert "Traceback" not in status.error
    assert ("Traceback" in (folder / "log.txt").read_text()) == traceback


def test_killed_is_not_running(home: Path) -> None:
    folder = new_job()
    process = start_process(folder, "time.sleep(60)")
    wait_for(lambda: jobs.read_status(folder).state == "running")
    assert jobs.read_status(folder).pid == process.pid
    process.kill()
    process.wait()
    assert json.loads((folder / "status.json").read_text())["state"] == "running", "it had no time to say anything"
    assert jobs.read_status(folder).state == "interrupted"


def test_cancelling_a_working_job(home: Path) -> None:
    folder = new_job()
    body = "\n    ".join(
        ["from mspc_core.errors import stop_if", "while True:", "    stop_if(reporter.should_stop); time.sleep(0.01)"]
    )
    process = start_process(folder, body)
    wait_for(lambda: jobs.read_status(folder).state == "running")
    with pytest.raises(InputError, match="running already"):
        jobs.start(folder)
    jobs.cancel(folder)
    assert process.wait(20) == 0
    assert jobs.read_status(folder).state == "cancelled"


def test_sigterm_cancels(home: Path) -> None:
    folder = new_job()
    process = start_process(folder, "while not reporter.should_stop(): time.sleep(0.01)")
    wait_for(lambda: jobs.read_status(folder).state == "running")
    process.terminate()
    assert process.wait(20) == 0


def test_cancelling_what_nobody_runs(home: Path) -> None:
    folder = new_job()
    jobs.cancel(folder)
    assert jobs.read_status(folder).state == "cancelled"


def test_jobs_of_one_device_take_turns_oldest_first(home: Path) -> None:
    running = new_job()
    first = start_process(running, "time.sleep(1.5)")
    wait_for(lambda: jobs.read_status(running).state == "running")
    older, newer = new_job(), new_job()
    processes = []
    for folder in (newer, older):  # the newer one's process comes first, and still waits its turn
        stamp = 1.0 if folder == older else 2.0
        raw = json.loads((folder / "status.json").read_text())
        (folder / "status.json").write_text(json.dumps({**raw, "created": stamp}))
        processes.append(start_process(folder, "time.sleep(0.3)"))
    wait_for(lambda: all("Waiting" in jobs.read_status(f).message for f in (older, newer)))
    for process in (first, *processes):
        assert process.wait(30) == 0
    assert [jobs.read_status(f).state for f in (running, older, newer)] == ["finished"] * 3
    started = [jobs.read_status(f).started or 0.0 for f in (running, older, newer)]
    assert started == sorted(started)


def test_jobs_of_other_devices_do_not_wait(home: Path) -> None:
    """A scan is running and another one is queued behind it; an import goes its own way."""
    scan, queued, other = new_job(), new_job(), new_job()
    first = start_process(scan, "time.sleep(8)")
    wait_for(lambda: jobs.read_status(scan).state == "running")
    second = start_process(queued, "pass")
    wait_for(lambda: "Waiting" in jobs.read_status(queued).message)
    assert jobs.run(other, lambda folder, reporter: None, device="io").state == "finished"
    assert jobs.read_status(scan).state == "running"
    first.kill()
    assert second.wait(20) == 0


def test_a_device_that_is_not_there_is_the_reason_given(home: Path) -> None:
    from mspc_core.work import work_on

    folder = jobs.create(places.runs_folder(), {"kind": "scan", "device": "cuda:99"}, "scan")
    status = work_on(folder)
    assert status.state == "failed"
    assert status.error is not None
    assert "not available here" in status.error
    assert jobs.read_status(folder).state == "failed"


def test_running_out_of_memory_is_a_sentence(home: Path) -> None:
    folder = new_job()

    def work(folder: Path, reporter: Reporter) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    status = jobs.run(folder, work)
    assert status.error is not None
    assert status.error.startswith("Memory ran out")


def test_a_folder_deleted_while_it_works(home: Path) -> None:
    folder = new_job()
    process = start_process(folder, "while not reporter.should_stop(): time.sleep(0.01)")
    wait_for(lambda: jobs.read_status(folder).state == "running")
    folder.rename(home / "gone")
    assert process.wait(20) == 0
    assert not folder.exists(), "nothing is written back"
    with pytest.raises(InputError, match="does not exist any more"):
        jobs.read_status(folder)


def test_damaged_status(home: Path) -> None:
    folder = new_job()
    (folder / "status.json").write_text("{ half a")
    with pytest.raises(InputError, match="damaged"):
        jobs.read_status(folder)


def test_an_occupied_place_is_not_taken(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        jobs.prepare(tmp_path / "mine", {})
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_progress_estimate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter done after ten seconds leaves thirty."""
    folder = new_job()
    clock = [1000.0]
    monkeypatch.setattr(jobs.time, "monotonic", lambda: clock[0])
    reporter = Reporter(folder)
    reporter.plan({"only": 1.0})
    reporter.begin()
    report = reporter.stage("only")
    clock[0] += 10
    report(1, 4, "")
    assert reporter.status.eta == pytest.approx(30.0)
