"""A scan on several processes as command line and app start it: equal scores, a death in the middle, resuming."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mspc_core import cli, gpus, jobs, runs, scan_checks, work
from mspc_core import home as places
from mspc_core.data.store import sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError
from mspc_core.job_status import read_status
from mspc_core.runs import Run, ScanConfig
from tests.unit.distributed import everything

ROOT = Path(__file__).resolve().parents[3]
DETECTORS = ("spc", "abl")


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def store_data() -> None:
    images, labels = everything.data()
    with DatasetWriter("small", size=everything.SIZE, classes=("a", "b", "c", "d"), kind="folder", source="/x") as to:
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = f"{label}/{row}.png"
            split = "train" if row < 150 else "test"
            to.add(image, identity=sample_id(path, image.tobytes()), path=path, label=int(label), split=split)
        to.commit(source_key="small")


def test_a_process_dies_and_the_run_is_resumed_by_others(home: Path, tmp_path: Path) -> None:
    """Trained and scanned by torchrun's until one is killed; finished by others, as the app starts them."""
    store_data()
    folder = tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = ["-m", "mspc_core", "scan", "small", "--epochs", "2", "--detectors", ",".join(DETECTORS)]
    process = subprocess.Popen(
        [sys.executable, *launcher, *command, "--out", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (folder / "stages" / "spc.json").is_file() or process.poll() is not None)
    number, _ = (folder / ".lock-1").read_text().split()
    os.kill(int(number), signal.SIGKILL)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    said = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(said) == 1
    assert f"Process 2 of 2 ({os.uname().nodename}, pid {number}) ended" in said[0]
    status = read_status(folder)
    assert status.state == "failed"
    assert status.error is not None
    assert status.error in said[0]
    assert not (folder / "stages" / "abl.json").exists()

    run = Run(folder)
    assert run.config().processes == 1
    model = (folder / "model.safetensors").read_bytes()
    spc = (folder / "stages" / "spc.npz").stat().st_mtime_ns
    run.save_config(replace(run.config(), processes=2))
    jobs.start(folder)
    wait_for(lambda: read_status(folder).state not in ("queued", "running"))
    assert read_status(folder).state == "finished", (folder / "log.txt").read_text()
    assert (folder / "model.safetensors").read_bytes() == model
    assert (folder / "stages" / "spc.npz").stat().st_mtime_ns == spc, "finished stages are not repeated"
    log = (folder / "log.txt").read_text()
    assert log.count("2 processes (gloo)") == 2

    config = ScanConfig("small", "small", size=everything.SIZE, checkpoint=str(folder / "model.safetensors"))
    alone = runs.create_run(replace(config, detectors=DETECTORS), tmp_path / "alone")
    assert work.work_on(alone.folder).state == "finished"
    found, wanted = run.scores(), alone.scores()
    assert found.equals(wanted)
    assert run.summary()["complete"]
    features = [np.load(each / "map" / "features.npy") for each in (folder, alone.folder)]
    assert np.array_equal(*features)
    assert [path.name for path in (folder / "map").iterdir() if path.name.startswith(".")] == []


def test_other_commands_run_once(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    told: list[str] = []
    monkeypatch.setattr(cli, "dismiss", lambda *_: told.append("end"))
    assert cli.main(["list"]) == 2
    assert (
        capsys.readouterr().err
        == "error: Only scan and resume run on several processes: start 'list' without torchrun.\n"
    )
    assert told == ["end"], "the others are let go"


def test_the_app_starts_one_process_a_gpu(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda command, **rest: started.append((command, rest["env"])))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for count in (1, 4):
        run = runs.create_run(ScanConfig("demo", processes=count))
        jobs.start(run.folder)
    (plain, _), (several, environment) = started
    assert plain[1:4] == ["-m", "mspc_core", "work"]
    assert several[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", "-m"]
    assert several[6:8] == ["mspc_core", "work"]
    assert environment["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 4))


@pytest.mark.parametrize(("count", "device"), [(0, "auto"), (65, "auto"), (2, "cuda:1"), (2, "mps")])
def test_unusable_numbers_of_processes_are_refused(count: int, device: str) -> None:
    with pytest.raises(InputError):
        scan_checks.check(ScanConfig("demo", processes=count, device=device))


def test_the_number_of_processes_makes_no_other_scan() -> None:
    stored = ScanConfig("demo", processes=4)
    assert scan_checks.same_scan(stored, ScanConfig("demo"))
    assert not scan_checks.same_scan(stored, ScanConfig("demo", seed=1))


@pytest.mark.parametrize(
    ("chosen", "count"), [(None, 3), ("0,1", 2), ("", 0), ("2,-1,0", 1), ("GPU-8a,GPU-9b", 2), ("0,1,2,3,4", 3)]
)
def test_visible_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, count: int) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia7", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert gpus.visible() == count


def test_a_job_on_two_gpus_waits_for_both(home: Path) -> None:
    """One is busy: the other stays free for others meanwhile."""
    job = jobs.create(places.runs_folder(), {"kind": "test"}, "both")
    lock = places.home() / "device-cuda-1.lock"
    ran: list[str] = []
    with jobs.held(lock) as mine:
        assert mine
        reporter = jobs.Reporter(job, device="cuda:0+cuda:1")

        def stop() -> bool:
            ran.append("waited")
            with jobs.held(places.home() / "device-cuda-0.lock") as free:
                assert free
            return len(ran) > 2

        reporter.should_stop = stop  # type: ignore[method-assign]
        with pytest.raises(jobs.Cancelled), jobs._turn(job, "cuda:0+cuda:1", reporter):
            ran.append("both")
    assert ran == ["waited"] * 3
    with jobs._turn(job, "cuda:0+cuda:1", jobs.Reporter(job, device="cuda:0+cuda:1")):
        assert jobs.locked(lock)
