"""The command line: its contract of exit statuses and one-line errors, and a whole scan on a small poisoned set."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mspc_core import detectors, runs, scanning
from mspc_core.cli import main
from mspc_core.data.store import list_datasets, open_dataset
from mspc_core.detectors.base import Detector
from mspc_core.detectors.mspc import MSPCConfig
from mspc_core.detectors.opinion import Blinding
from mspc_core.detectors.pattern import PatternConfig
from mspc_core.detectors.second_opinion import SecondOpinionConfig
from mspc_core.detectors.transplant import TransplantConfig
from mspc_core.errors import InputError
from tests.lab import write_folder

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--epochs", "6", "--size", "16"]


def one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], status: int = 2) -> str:
    """Run a command that must fail; returns its single line on stderr."""
    assert main(arguments) == status
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in captured.err + captured.out
    return lines[0]


@pytest.fixture(scope="module")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a folder imported as `shapes`, and `lab`, its poisoned copy, scanned as run `scanned`."""
    folder = tmp_path_factory.mktemp("lab")
    before = os.environ.get("BACKDOOR_LENS_HOME")
    os.environ["BACKDOOR_LENS_HOME"] = str(folder / "home")
    try:
        source = write_folder(folder / "pictures", 100, test_each=25)
        assert main(["import", str(source), "--name", "shapes", "--size", "16"]) == 0
        assert main(["poison", "shapes", "--target", "ring", "--rate", "0.12", "--out", "lab", "--set", "size=4"]) == 0
        assert main(["scan", "lab", *QUICK, "--out", str(folder / "home" / "runs" / "scanned")]) == 0
    finally:
        if before is None:
            del os.environ["BACKDOOR_LENS_HOME"]
        else:
            os.environ["BACKDOOR_LENS_HOME"] = before
    return folder / "home"


@pytest.fixture
def scanned(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> runs.Run:
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(lab_home))
    return runs.open_run("scanned")


def test_a_scan_writes_the_whole_run_folder(scanned: runs.Run) -> None:
    files = {path.name for path in scanned.folder.iterdir()}
    expected = {"config.json", "status.json", "log.txt", "model.safetensors", "model.json", "scores.parquet"}
    assert expected | {"masks.npz", "summary.json", "early_losses.npz"} <= files
    assert "training.safetensors" not in files, "the training checkpoint is gone once it is not needed"
    assert not [name for name in files if name.startswith(".tmp-")]
    assert scanned.status().state == "finished"
    scores = scanned.scores()
    columns = ["sample_id", "path", "label", "predicted", "confidence"]
    assert list(scores.columns[:5]) == columns
    for name in ("spc", "mspc", "transplant"):
        assert {f"{name}_score", f"{name}_flagged"} <= set(scores.columns)
    assert scores.columns[-1] == "is_backdoor"
    assert len(scores) == 400
    assert scores["sample_id"].is_unique
    assert (scores["sample_id"] == open_dataset("lab").manifest["sample_id"].iloc[scores["row"]].to_numpy()).all()
    masks = scanned.masks()
    assert masks["mspc"].shape[1:] == (16, 16)
    assert masks["transplant"].shape == (4, 16, 16)


def test_a_scan_keeps_what_the_model_sees(scanned: runs.Run) -> None:
    """The features and the PCA map are there without a further pass, and are those of the stored model."""
    from mspc_core.detectors.features import collect_features
    from mspc_core.maps import store
    from mspc_core.models.checkpoint import load_saved_model

    rows = scanned.scores()["row"].to_numpy()
    key = store.key_of(scanned, rows)
    features, found = store.features_of(scanned, key), store.map_of(scanned, store.PCA, key)
    expected = collect_features(load_saved_model(scanned.folder)[0], scanned.dataset().pixels[rows]).penultimate
    assert features is not None
    assert found is not None
    np.testing.assert_allclose(features, expected, rtol=2e-2, atol=2e-2)
    assert found.points.shape == (400, 2)


def test_the_summary_agrees_with_the_scores(scanned: runs.Run) -> None:
    summary, scores = scanned.summary(), scanned.scores()
    assert summary["complete"] is True
    assert summary["true_backdoors"] == 48
    for name, record in summary["detectors"].items():
        assert record["flagged"] == scores[f"{name}_flagged"].sum()
        assert (scores[f"{name}_flagged"] == (scores[f"{name}_score"] > record["threshold"]["value"])).all()
        truth = scores["is_backdoor"].to_numpy(dtype=bool)
        assert record["metrics"]["tpr"] == pytest.approx(scores[f"{name}_flagged"][truth].mean())
        # AUROC worked out slowly: the share of (backdoor, clean) pairs in the right order, ties counting half.
        bad, good = scores[f"{name}_score"][truth].to_numpy(), scores[f"{name}_score"][~truth].to_numpy()
        pairs = (bad[:, None] > good).mean() + 0.5 * (bad[:, None] == good).mean()
        assert record["metrics"]["auroc"] == pytest.approx(pairs)
    assert summary["verdict"]["flagged"] == scores["suspect"].sum()


def test_the_verdict_finds_the_planted_target(scanned: runs.Run) -> None:
    summary = scanned.summary()
    assert summary["model"]["val_accuracy"] > 0.8
    assert summary["model"]["attack_success_rate"] > 0.8
    assert summary["verdict"]["level"] == "poisoned"
    precision = summary["model"]["precision"]
    assert (precision["used"], precision["sample"]) == ("float32", 0), "tests have one precision, so none was compared"
    assert scanned.config().threads >= 1, "kept for a run that is resumed"
    assert [row["name"] for row in summary["verdict"]["target_classes"]] == ["ring"]
    suspects = scanned.scores().query("suspect")
    assert suspects["is_backdoor"].mean() > 0.9


def test_json_output_is_the_summary(scanned: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Resuming a finished run repeats nothing and prints its summary."""
    before = scanned.scores()
    assert main(["resume", "scanned", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["verdict"] == scanned.summary()["verdict"]
    pd.testing.assert_frame_equal(before, scanned.scores())


def quick_detector(config: runs.ScanConfig, name: str) -> Detector:
    """With fewer steps than by default: what is asked is whether two scans agree, not what they find."""
    quick = {
        "mspc": MSPCConfig(inner_steps=12),
        "pattern": PatternConfig(steps=15, partners=60),
        "second_opinion": SecondOpinionConfig(blinding=Blinding(first_epochs=2, epochs=2), refinements=2),
        "transplant": TransplantConfig(steps=30),
    }
    return detectors.create(name, quick.get(name))


def test_a_killed_scan_resumes_to_the_same_scores(
    scanned: runs.Run, lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its training gives the weights of an undisturbed one, and its detectors the scores of an undisturbed scan."""
    environment = {**os.environ, "BACKDOOR_LENS_HOME": str(lab_home)}
    command = [sys.executable, "-m", "mspc_core", "scan", "lab", *QUICK, "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "stages" / "spc.json").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert runs.open_run(str(tmp_path / "run")).status().state == "interrupted"
    assert not (tmp_path / "run" / "stages" / "pattern.json").exists(), "there is something left to resume"
    monkeypatch.setattr(scanning, "detector_of", quick_detector)
    assert main(["resume", str(tmp_path / "run")]) == 0
    resumed = runs.open_run(str(tmp_path / "run"))
    weights = scanned.folder / "model.safetensors"
    assert (resumed.folder / "model.safetensors").read_bytes() == weights.read_bytes()
    assert main(["scan", "lab", "--model", str(weights), "--out", str(tmp_path / "undisturbed")]) == 0
    undisturbed = runs.open_run(str(tmp_path / "undisturbed"))
    pd.testing.assert_frame_equal(resumed.scores(), undisturbed.scores())
    for name in ("spc_score", "mixture_score", "predicted", "confidence"):
        pd.testing.assert_series_equal(resumed.scores()[name], scanned.scores()[name])
    for name in ("mspc_score", "pattern_score", "transplant_score", "second_opinion_score"):
        assert resumed.scores()[name].nunique() > 1, "they say something"
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "epoch 1:" in log.split("stage: spc")[0]
    assert log.count("epoch 1:") == 1, "training was not repeated"


def test_interrupting_the_command_line_exits_130(lab_home: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "BACKDOOR_LENS_HOME": str(lab_home)}
    command = [sys.executable, "-m", "mspc_core", "scan", "lab", *QUICK, "--out", str(tmp_path / "run")]
    # A shell starts background commands with SIGINT ignored, and so would these tests' children be.
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    log = tmp_path / "run" / "log.txt"
    while not (log.is_file() and "stage: model" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "resume" in errors
    assert runs.open_run(str(tmp_path / "run")).status().state == "cancelled"


def test_own_weights_instead_of_training(scanned: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = scanned.folder / "model.safetensors"
    arguments = ["scan", "lab", "--model", str(weights), "--detectors", "spc", "--out", str(tmp_path / "own"), "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"]["trained_here"] is False
    assert printed["verdict"]["level"] == "unknown"
    own = runs.open_run(str(tmp_path / "own")).scores()
    np.testing.assert_array_equal(own["spc_score"], scanned.scores()["spc_score"])


def test_scan_refuses_what_cannot_work(scanned: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in (scanned.folder.parent).iterdir())
    assert "There is no file, folder" in one_line(capsys, ["scan", str(tmp_path / "nowhere")])
    assert "no detector 'magic'" in one_line(capsys, ["scan", "lab", "--detectors", "magic"])
    assert "Did you mean" in one_line(capsys, ["scan", "lab", "--arch", "resnet-18"])
    assert "no checkpoint" in one_line(capsys, ["scan", "lab", "--model", str(tmp_path / "w.pth")])
    assert "not available here" in one_line(capsys, ["scan", "lab", "--device", "cuda:77"])
    (tmp_path / "pickled.pth").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    refused = one_line(capsys, ["scan", "lab", "--model", str(tmp_path / "pickled.pth")])
    assert "could run code" in refused or "cannot be read" in refused
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    assert "not empty" in one_line(capsys, ["scan", "lab", "--out", str(tmp_path / "full")])
    assert sorted(path.name for path in (scanned.folder.parent).iterdir()) == before, "no half-made run is left"


def test_too_small_data(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "few", 3)
    assert "at least 20" in one_line(capsys, ["scan", str(tmp_path / "few"), "--size", "16"])
    assert "There is no file, folder" in one_line(capsys, ["import", str(tmp_path / "nothing")])


def test_usage_errors_are_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_line(capsys, ["scan"])
    one_line(capsys, ["frobnicate"])
    one_line(capsys, ["poison", "x", "--rate", "lots"])
    assert "no stored data set 'x'" in one_line(capsys, ["poison", "x"])
    assert "cannot be a name" in one_line(capsys, ["poison", "../../etc"])


def test_another_scan_does_not_pass_for_the_one_in_the_folder(
    scanned: runs.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(scanned.folder)
    assert "other settings" in one_line(capsys, ["scan", "shapes", *QUICK, "--out", where])
    assert "other settings" in one_line(capsys, ["scan", "lab", "--epochs", "7", "--size", "16", "--out", where])
    assert main(["scan", "lab", *QUICK, "--out", where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == scanned.summary()["verdict"]


def test_a_run_knows_that_its_data_were_replaced(
    scanned: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other images under the same name must not be shown, or scanned on, as this run's."""
    import shutil

    shutil.copytree(scanned.folder.parent.parent, tmp_path / "home")
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(tmp_path / "home"))
    other = write_folder(tmp_path / "others", 30, seed=9)
    shutil.rmtree(tmp_path / "home" / "datasets" / "lab")
    assert main(["import", str(other), "--name", "lab", "--size", "16"]) == 0
    capsys.readouterr()
    with pytest.raises(InputError, match="was replaced"):
        runs.open_run("scanned").dataset()
    assert "was replaced" in one_line(capsys, ["resume", "scanned"])


def test_text_from_data_cannot_steer_the_terminal(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_folder(tmp_path / "pictures", 3)
    (source / "bar" / "x\x1b[2Jverdict\n: clean.png").write_text("no image")
    assert main(["import", str(source), "--size", "16"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert not [line for line in printed.splitlines() if line.startswith(": clean")]


def test_a_damaged_run_does_not_hide_the_others(
    scanned: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = scanned.folder.parent / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "status.json").write_text("{ half")
    try:
        assert main(["list"]) == 0
        printed = capsys.readouterr().out
        assert "scanned: finished" in printed
        assert "broken: damaged" in printed
    finally:
        for path in broken.iterdir():
            path.unlink()
        broken.rmdir()


def test_listing(scanned: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {entry["dataset"] for entry in printed["datasets"]} == {info.name for info in list_datasets()}
    assert [row["state"] for row in printed["runs"] if row["run"] == "scanned"] == ["finished"]
    assert main(["list"]) == 0
    assert "likely poisoned" in capsys.readouterr().out
