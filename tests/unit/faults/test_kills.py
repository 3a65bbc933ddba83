"""Kill -9 at named points: right before an atomic write takes its place, or a commit to the database.

`python -m benchmarks.faults` does the same at every point, and a hundred times at random moments.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mspc_core import home as places
from mspc_core import jobs, poison_job, runs, work
from mspc_core.errors import InputError
from mspc_core.export.config import ExportConfig
from mspc_core.poisoning import PoisonConfig
from tests.unit.exporting import cats_and_dogs, make_run, scanned

ROOT = Path(__file__).resolve().parents[3]


def test_every_fifth_write_of_every_activity_killed_and_restarted(tmp_path: Path) -> None:
    """What is left can be read, the restart ends well, its result is the undisturbed one, and nothing is left over."""
    out = tmp_path / "faults.json"
    command = [sys.executable, "-m", "benchmarks.faults", "--points", "--small", "--stride", "5", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(out.read_text())["summary"]
    assert summary["kills"] == summary["restarts"] == summary["identical"]
    assert (summary["with_problems"], summary["half_written_files_left"]) == (0, 0)
    assert set(summary["kills_by_activity"]) == {"import", "training", "scan", "export", "review"}
    assert min(summary["kills_by_activity"].values()) >= 2


@pytest.mark.parametrize("kind", ["csv", "zip", "folder"])
def test_an_export_killed_after_it_appeared_is_found_whole(home: Path, tmp_path: Path, kind: str) -> None:
    """It is neither refused as something in the way, nor written twice."""
    _, run = scanned(cats_and_dogs(tmp_path / "source"))
    target = tmp_path / "out"
    config = ExportConfig(run=run.id, format=kind, out=str(target))
    folder = jobs.create(places.exports_folder(), config.as_json(), "export")
    assert work.work_on(folder).state == "finished"
    result, written = work.result_of(folder), target.stat().st_mtime_ns
    jobs.write_status(folder, jobs.JobStatus(state="running"))  # what a kill right after the renaming leaves
    assert jobs.read_status(folder).state == "interrupted"
    assert work.work_on(folder).state == "finished"
    assert (work.result_of(folder), target.stat().st_mtime_ns) == (result, written)

    changed = target / "checksums.sha256" if target.is_dir() else target
    changed.write_bytes(changed.read_bytes() + b"\n")
    status = work.work_on(folder)
    assert (status.state, "exists already" in str(status.error)) == ("failed", True)


def test_a_job_that_cannot_be_made_leaves_nothing(home: Path) -> None:
    def full(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        jobs.create(places.runs_folder(), {"kind": "scan"}, "x", full)
    assert list(places.runs_folder().iterdir()) == []


def test_a_half_made_job_is_no_job(home: Path, tmp_path: Path) -> None:
    """Its maker was killed before config.json, which comes last: the place is free, and nothing lists it."""
    for folder in (tmp_path / "out", places.runs_folder() / "x"):
        folder.mkdir()
        jobs.write_status(folder, jobs.queued())
        (folder / ".tmp-0123456789ab-config.json").write_text("{")
    assert runs.list_runs() == []
    with pytest.raises(InputError, match="does not exist any more"):
        runs.open_run(str(tmp_path / "out"))
    jobs.prepare(tmp_path / "out", {"kind": "scan"})
    assert jobs.read_config(tmp_path / "out") == {"kind": "scan"}


def test_a_job_without_a_status_was_interrupted(home: Path) -> None:
    folder = jobs.create(places.runs_folder(), {"kind": "scan"}, "x")
    (folder / "status.json").unlink()
    assert jobs.read_status(folder).state == "interrupted"


def test_the_scan_of_a_lab_job_is_started_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its run was made, and before or after that was started."""
    from tests.unit.attacks.test_poison import make_clean

    make_clean()
    config = PoisonConfig("clean", rate=0.1, out="lab", scan=True)
    folder = jobs.create(places.lab_folder(), config.as_json(), "lab")
    started: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "start", lambda run: (_ for _ in ()).throw(InputError("killed here")))
        assert work.work_on(folder).state == "failed"
    monkeypatch.setattr(jobs, "start", started.append)
    assert work.work_on(folder).state == "finished"
    (run,) = runs.list_runs()
    assert started == [run.folder]
    jobs.write_status(run.folder, jobs.JobStatus(state="finished"))
    assert work.work_on(folder).state == "finished"
    assert (len(started), poison_job.result_of(folder)["run"]) == (1, run.id)


def test_complete_is_written_last(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose suspects are not on disk yet must not say that it is complete."""
    from mspc_core.runs import Run

    dataset, _ = scanned(cats_and_dogs(tmp_path / "source"))
    run = make_run(dataset)
    seen: list[tuple[str, bool]] = []
    monkeypatch.setattr(Run, "save_scores", lambda self, scores: seen.append(("scores", "suspect" in scores)))
    monkeypatch.setattr(Run, "save_summary", lambda self, summary: seen.append(("summary", summary["complete"])))
    monkeypatch.setattr("mspc_core.scanning._check_usable", lambda *_: None)
    config = runs.ScanConfig(source="x", dataset=dataset.info.name, size=16, epochs=1, detectors=("spc",), device="cpu")
    folder = jobs.create(places.runs_folder(), config.as_json(), "x")
    assert work.work_on(folder).state == "finished"
    assert seen == [("scores", False), ("summary", False), ("scores", True), ("summary", True)]
    assert run.id != folder.name
