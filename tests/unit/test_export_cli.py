"""The command and the background job of an export."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mspc_core import home as places
from mspc_core import jobs, work
from mspc_core.cli import main
from mspc_core.errors import InputError
from mspc_core.export.config import ExportConfig
from mspc_core.runs import Run
from tests.unit.exporting import cats_and_dogs, files_of, leftovers, picture, scanned

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path / "source")


@pytest.fixture
def run(home: Path, source: Path) -> Run:
    return scanned(source, ("cat/1.jpg",))[1]


def test_export_says_what_it_did(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", run.id, "--format", "folder", "--keep", "clean", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "11 samples (clean)" in shown.out
    assert "byte-identical" in shown.out
    assert "sha256 of checksums.sha256: " in shown.out
    assert len(files_of(tmp_path / "out")) == 14


def test_export_as_json_by_the_runs_path(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(run.folder), "--format", "list", "--keep", "flagged", "--out", str(tmp_path / "x.txt")]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["dropped"], found["drop"]) == (1, 1, "reviewed")
    assert (tmp_path / "x.txt").read_text() == "cat/1.jpg\n"


def test_bad_input_is_one_line_and_status_2(
    run: Run, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in (["--out", str(source / "x")], ["--out", str(tmp_path / "x"), "--drop", "what"]):
        assert main(["export", run.id, "--format", "csv", *options]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_changed_files_are_listed(run: Run, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "cat" / "0.jpg").write_bytes(picture(7, "JPEG"))
    arguments = ["export", run.id, "--format", "folder", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "  cat/0.jpg: changed since it was imported\n" in error
    assert "--skip-changed" in error.splitlines()[-1]
    assert main([*arguments, "--skip-changed"]) == 0
    assert "  cat/0.jpg: changed" in capsys.readouterr().err


def test_sigterm_takes_away_what_was_begun(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "many"
    for number in range(3000):
        place = source / ("cat" if number % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(picture(number % 50))
    _, run = scanned(source)
    (tmp_path / "place").mkdir()
    command = [sys.executable, "-m", "mspc_core", "export", run.id, "--format", "folder"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "place" / "out")], cwd=ROOT, stderr=subprocess.PIPE, env={**os.environ}
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not leftovers(tmp_path / "place"):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, b"Cancelled.\n")
    assert not list((tmp_path / "place").iterdir())


def test_a_background_job(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    monkeypatch.setattr(jobs, "start", started.append)
    config = ExportConfig(run=run.id, format="zip", out=str(tmp_path / "out.zip"))
    folder = work.submit_export(config)
    assert started == [folder]
    assert folder.parent == places.exports_folder()
    status = work.work_on(folder)
    assert (status.state, status.stage, status.device) == ("finished", "export", "export")
    found = work.result_of(folder)
    assert (found["samples"], found["path"]) == (11, str(tmp_path / "out.zip"))


def test_a_job_is_refused_before_it_exists(run: Run, source: Path) -> None:
    with pytest.raises(InputError, match="inside the source"):
        work.submit_export(ExportConfig(run=run.id, format="csv", out=str(source / "x.csv")))
    assert not list(places.exports_folder().iterdir())


def test_a_job_lists_changed_files_in_its_log(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "start", lambda folder: None)
    folder = work.submit_export(ExportConfig(run=run.id, format="hf", out=str(tmp_path / "out")))
    (source / "dog" / "0.png").unlink()
    status = work.work_on(folder)
    assert status.state == "failed"
    assert "1 of 11 images cannot be exported" in str(status.error)
    assert "dog/0.png: not in the source any more" in (folder / "log.txt").read_text()
    assert not (tmp_path / "out").exists()


def test_a_cancelled_job_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "start", lambda folder: None)
    folder = work.submit_export(ExportConfig(run=run.id, format="folder", out=str(tmp_path / "out")))
    (folder / "cancel").touch()
    assert work.work_on(folder).state == "cancelled"
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)
    (folder / "cancel").unlink()
    assert work.work_on(folder).state == "finished"


def test_settings_round_trip_and_others_are_refused() -> None:
    config = ExportConfig(run="r", format="csv", out="x", keep="all", link=True)
    assert ExportConfig.from_json(json.loads(json.dumps(config.as_json()))) == config
    with pytest.raises(InputError, match="not usable"):
        ExportConfig.from_json({"run": "r", "colour": "red"})
