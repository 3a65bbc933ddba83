"""The comparison: two small cells end to end, resuming, and tables whose numbers were worked out by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mspc_core import cleaning, runs
from mspc_core.bench import figures, plan, run, tables, targets
from mspc_core.bench.plan import Cell, Setting
from mspc_core.bench.work import Task
from mspc_core.cli import main
from mspc_core.data.store import Dataset, open_folder
from mspc_core.errors import InputError
from mspc_core.models import checkpoint, train
from tests.lab import write_folder

PLAN = plan.CELLS
CELLS = (
    Cell("patch", "badnets", {"size": 3}, rate=0.2, half="tuned", groups=("paper",)),
    Cell("untouched", half="tuned", groups=("clean",)),
    Cell("too-much", "badnets", rate=0.9),
    Cell("future", "attack-of-tomorrow"),
)
ARGUMENTS = ["--size", "16", "--epochs", "1", "--train", "60", "--seeds", "3", "--jobs", "2", "--detectors"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The four cells, run once with SPC and a detector that lacks clean data: home/, result.json and result.md."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch, run.home_at(folder / "user"):
        patch.setattr(plan, "CELLS", CELLS)
        write_folder(folder / "pictures", 20, test_each=6)
        assert detection(folder) == 2, "one cell cannot be run"
        yield folder


def detection(folder: Path, detectors: str = "spc,spc_limited", *more: str) -> int:
    places = ["--home", str(folder / "home"), "--out", str(folder / "result.json"), "--document"]
    arguments = ["bench", "detection", "--data", str(folder / "pictures"), *ARGUMENTS, detectors, "--trusted", ""]
    return main([*arguments, *places, str(folder / "result.md"), *more])


def rows_of(folder: Path) -> dict[str, Any]:
    return {row["cell"]: row for row in json.loads((folder / "result.json").read_text())["cells"]}


def cell_home(folder: Path, name: str) -> Path:
    (found,) = (folder / "home" / "cells").glob(f"{name}-s3-*")
    return found


def test_the_rows_say_what_the_run_folders_say(bench: Path) -> None:
    result, rows = json.loads((bench / "result.json").read_text()), rows_of(bench)
    assert list(rows) == ["patch", "untouched"]
    assert result["left_out"] == {"future": "there is no attack 'attack-of-tomorrow' yet"}
    assert list(result["failed"]) == ["too-much, seed 3"]
    assert "A rate of 0.9 asks for 54 images to poison" in result["failed"]["too-much, seed 3"]
    row, scanned = rows["patch"], runs.Run(cell_home(bench, "patch") / "runs" / "scan")
    scores, summary = scanned.scores(), scanned.summary()
    truth = scores["is_backdoor"].to_numpy(dtype=bool)
    assert (row["scanned"], row["poisoned"], row["seed"]) == (60, 12, 3)
    assert truth.sum() == 12
    assert row["detectors"]["spc"]["auroc"] == summary["detectors"]["spc"]["metrics"]["auroc"]
    assert row["detectors"]["spc"]["fpr"] == pytest.approx(scores["spc_flagged"][~truth].mean())
    assert row["detectors"]["consensus"]["tpr"] == pytest.approx(scores["suspect"][truth].mean())
    assert row["not_run"] == {"spc_limited": "it needs clean data, and no part of this data set was named as trusted"}
    assert row["cleaning"]["reference"]["dropped"] == 12
    assert row["accuracy"] == summary["model"]["val_accuracy"]
    calm = rows["untouched"]
    assert (calm["poisoned"], calm["detectors"]["spc"]["tpr"], calm["detectors"]["spc"]["auroc"]) == (0, None, None)
    assert calm["detectors"]["spc"]["flagged_share"] == calm["detectors"]["spc"]["fpr"]
    assert calm["cleaning"]["reference"]["accuracy"] == calm["accuracy"], "nothing was poisoned, nothing is dropped"
    document = (bench / "result.md").read_text()
    assert document.count("not run (a)") == 4, "three tables of attacks, one of clean data"
    assert "- a: " in document


def test_a_deleted_cell_is_computed_again_from_its_stages(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows_of(bench)
    folder = cell_home(bench, "patch")
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    kept |= {path: path.stat().st_mtime_ns for path in (folder / "retrained").iterdir()}
    assert len(kept) == 2, "the scan's model, and the figures of the training without the poison"
    (folder / "cell.json").unlink()
    assert detection(bench, "spc,spc_limited", "--attacks", "patch,untouched") == 0
    printed = capsys.readouterr().out
    assert "2 cells, 1 finished before" in printed
    assert "untouched:" not in printed
    assert rows_of(bench) == before, "the same, down to the seconds of the stage that was kept"
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "nothing was trained again"


def test_a_detector_is_added_without_training_again(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows_of(bench)["patch"]
    weights = cell_home(bench, "patch") / "runs" / "scan" / "model.safetensors"
    stamp = weights.stat().st_mtime_ns
    assert detection(bench, "spc,spc_limited", "--attacks", "patch", "--trusted", "test") == 0
    after = rows_of(bench)
    assert weights.stat().st_mtime_ns == stamp
    assert after["patch"]["detectors"]["spc"] == before["detectors"]["spc"]
    assert after["patch"]["not_run"] == {}
    assert 0 <= after["patch"]["detectors"]["spc_limited"]["auroc"] <= 1
    assert "untouched" in after, "rows of other cells stay in the file"


def test_add_keeps_rows_and_adds_what_they_lack(
    bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A comparison of another home, which trained the same model: its new detector joins the row that is there."""
    kept = json.loads((bench / "result.json").read_text())
    for row in kept["cells"]:
        row["detectors"]["spc"]["auroc"], row["verdict"]["text"] = 0.123, "as before"
    (tmp_path / "result.json").write_text(json.dumps(kept))
    os.symlink(bench / "pictures", tmp_path / "pictures")
    assert detection(tmp_path, "spectral_signatures", "--attacks", "patch", "--no-cleaning", "--add") == 0
    row = rows_of(tmp_path)["patch"]
    assert row["detectors"]["spc"]["auroc"] == 0.123
    assert row["verdict"]["text"] == "as before"
    assert 0 <= row["detectors"]["spectral_signatures"]["auroc"] <= 1
    assert row["asked"] == ["spc", "spc_limited", "spectral_signatures"]
    assert row["cleaning"] == rows_of(bench)["patch"]["cleaning"]
    assert "untouched" in rows_of(tmp_path)

    kept["cells"][0]["train_accuracy"] += 0.01
    (tmp_path / "result.json").write_text(json.dumps(kept))
    assert detection(tmp_path, "spectral_signatures", "--attacks", "patch", "--no-cleaning", "--add") == 2
    found = json.loads((tmp_path / "result.json").read_text())
    assert list(found["failed"]) == ["patch, seed 3"]
    assert "is not the one of the result file" in found["failed"]["patch, seed 3"]
    assert "spectral_signatures" not in found["cells"][0]["detectors"]
    assert "error" not in capsys.readouterr().err


def test_several_trainings_after_cleaning_are_averaged(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows_of(bench)["patch"]
    retrained = cell_home(bench, "patch") / "retrained"
    kept = {path: path.stat().st_mtime_ns for path in retrained.iterdir()}
    options = ("--attacks", "patch", "--trusted", "test", "--trainings", "2")
    assert detection(bench, "spc,spc_limited", *options) == 0
    assert "1 cells, 0 finished before" in capsys.readouterr().out
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "the first training is not done again"
    (other,) = set(retrained.glob("*.json")) - set(kept)
    after = rows_of(bench)["patch"]
    reference = after["cleaning"]["reference"]
    assert (before["trainings"], after["trainings"], reference["dropped"]) == (1, 2, 12)
    for key in ("accuracy", "attack_success_rate"):
        each = [before["cleaning"]["reference"][key], json.loads(other.read_text())[key]]
        assert reference[f"each_{key}"] == each
        assert reference[key] == pytest.approx(sum(each) / 2)
    assert after["accuracy"] == before["accuracy"], "the scanned model is the same"
    assert "| patch | tuned | 1 | 2 | " in (bench / "result.md").read_text()


def test_results_of_other_data_are_not_overwritten(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (bench / "result.json").read_bytes()
    assert detection(bench, "spc", "--epochs", "2") == 2
    assert "another setting or other data" in capsys.readouterr().err
    assert (bench / "result.json").read_bytes() == before


def test_retraining_on_everything_gives_the_same_model(bench: Path) -> None:
    folder = cell_home(bench, "patch")
    dataset, about = data_of(bench), json.loads((folder / "runs" / "scan" / "model.json").read_text())
    recipe = train.TrainConfig(**about["training"])
    rows = dataset.indices("train")
    device = torch.device("cpu")
    again = cleaning.retrain(dataset, rows, arch="small-cnn", training=recipe, device=device)
    scanned, _ = checkpoint.load_saved_model(folder / "runs" / "scan")
    for name, value in scanned.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=0)
    assert (again.images, again.accuracy) == (60, about["val_accuracy"])
    assert again.attack_success_rate == about["attack_success_rate"]
    fewer = cleaning.retrain(dataset, rows[:40], arch="small-cnn", training=recipe, device=device)
    assert fewer.images == 40
    assert any((fewer.model.state_dict()[key] != value).any() for key, value in scanned.state_dict().items())
    with pytest.raises(InputError, match="12 images of"):
        cleaning.retrain(dataset, rows[:12], arch="small-cnn", training=recipe, device=device)
    with pytest.raises(InputError, match="of 1 classes"):
        cleaning.retrain(
            dataset, rows, labels=np.zeros(60, dtype=np.int64), arch="small-cnn", training=recipe, device=device
        )


def data_of(folder: Path) -> Dataset:
    return open_folder(cell_home(folder, "patch") / "datasets" / "patch")


def test_subsets_are_drawn_with_the_seed(bench: Path, tmp_path: Path) -> None:
    (whole,) = [path for path in (bench / "home" / "datasets").iterdir() if path.name == "pictures"]
    setting = Setting("x", train=30, test=5, arch="small-cnn")
    with run.home_at(tmp_path / "a"):
        first, other = (run.subset(open_folder(whole), setting, seed) for seed in (0, 1))
    with run.home_at(tmp_path / "b"):
        again = run.subset(open_folder(whole), setting, 0)
    assert first.info.content_key == again.info.content_key != other.info.content_key
    assert first.info.split_counts == {"train": 30, "test": 5}
    source = open_folder(whole).manifest.set_index("sample_id")["label"]
    stored = first.manifest.set_index("sample_id")["label"]
    assert (source.loc[stored.index] == stored).all()


def test_order_and_choice() -> None:
    order = [(cell.name, seed) for cell, seed in plan.in_order(CELLS[:2], [4, 0, 4])]
    assert order == [("patch", 4), ("untouched", 4), ("patch", 0), ("untouched", 0)]
    cells, left = plan.choose(["clean", "future", "badnets"], CELLS)
    assert [cell.name for cell in cells] == ["patch", "untouched", "too-much"]
    assert list(left) == ["future"]
    twins = (Cell("badnets", "badnets"), Cell("other", "badnets"))
    assert [cell.name for cell in plan.choose(["badnets"], twins)[0]] == ["badnets"], "a cell's name is that cell alone"
    with pytest.raises(InputError, match="no cell, attack or group 'nonsense'"):
        plan.choose(["nonsense"])
    with pytest.raises(InputError, match="None of the chosen cells can run"):
        plan.choose(["future"], CELLS)
    refused = plan.choose([], (Cell("bad", "badnets", {"size": 0}), Cell("good", "badnets")))
    assert list(refused[1]) == ["bad"]


def test_the_plan_is_sound() -> None:
    names = [cell.name for cell in PLAN]
    assert len(set(names)) == len(names)
    assert len({run.home.name_from(name) for name in names}) == len(names), "each has a folder of its own"
    assert {cell.half for cell in PLAN} == {"tuned", "held-out"}
    assert len([cell for cell in PLAN if "paper" in cell.groups]) == 8
    _, left_out = plan.choose([], PLAN)
    assert all("there is no attack" in reason for reason in left_out.values()), "registered attacks take their settings"


def test_interrupting_leaves_no_cell_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, *, one_thread: bool) -> subprocess.Popen[bytes]:
        assert one_thread, "two at a time"
        started.append(subprocess.Popen(["sleep", "60"]))
        if len(started) == 2:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return started[-1]

    monkeypatch.setattr(run, "_start", start)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run.run_cells([tmp_path / name for name in "abc"], 2, lambda folder, problem: None)
    assert [process.poll() for process in started] == [-signal.SIGTERM] * 2, "the third was never started"
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_folder_of_a_cell_changes_with_what_changes_its_model(home: Path) -> None:
    setting = plan.SETTINGS["cpu"]
    one = Task(CELLS[0], 0, setting, "/x", ("spc",))
    assert Task.from_json(json.loads(json.dumps(one.as_json()))) == one
    same = Task(Cell("patch", "badnets", {"size": 3}, rate=0.2), 0, setting, "/y", ("mspc",), "test", False)
    assert run.cell_folder(one, "key") == run.cell_folder(same, "key"), "its half and detectors change nothing"
    others = [
        run.cell_folder(one, "other data"),
        run.cell_folder(Task(CELLS[0], 1, setting, "/x", ("spc",)), "key"),
        run.cell_folder(Task(CELLS[1], 0, setting, "/x", ("spc",)), "key"),
        run.cell_folder(Task(CELLS[0], 0, plan.SETTINGS["gpu"], "/x", ("spc",)), "key"),
    ]
    assert len({run.cell_folder(one, "key"), *others}) == 5


def row(cell: str, seed: int, **changes: Any) -> dict[str, Any]:
    """A row as the benchmark writes it, with figures by hand."""
    base: dict[str, Any] = {
        "cell": cell,
        "attack": "badnets",
        "label_mode": "all-to-one",
        "half": "tuned",
        "groups": ["paper"],
        "seed": seed,
        "scanned": 100,
        "poisoned": 10,
        "verdict": {"level": "poisoned", "text": "", "flagged": 10},
        "accuracy": 0.7,
        "attack_success_rate": 0.9,
        "not_run": {},
        "detectors": {},
        "machine": {"processor": "abacus", "cores": 2, "threads": 1, "accelerator": None, "shared": True},
    }
    return {**base, **changes}


def measured(auroc: float | None, tpr: float | None, fpr: float, **changes: Any) -> dict[str, Any]:
    return {
        "auroc": auroc,
        "average_precision": auroc,
        "tpr_at_1_fpr": tpr,
        "tpr": tpr,
        "fpr": fpr,
        "flagged_share": fpr,
        "seconds": 4.0,
        "forward_equivalents_per_image": 12.0,
        "notes": [],
        **changes,
    }


def by_hand() -> list[dict[str, Any]]:
    """One poisoned cell over three seeds, another one over a single seed, one clean set."""
    rows = []
    for seed, auroc in enumerate((0.8, 0.9, 1.0)):
        found = {"spc": measured(auroc, 1.0, 0.3), "mspc": measured(0.95, 0.9, 0.1)}
        found["consensus"] = measured(None, (0.98, 0.99, 1.0)[seed], 0.0)
        cleaned = {"dropped": 10, "accuracy": 0.696, "attack_success_rate": 0.01}
        reference = {"dropped": 10, "accuracy": 0.7, "attack_success_rate": 0.005}
        cleaning_ = {"verdict": cleaned, "reference": reference}
        rows.append(row("patch", seed, detectors=found, cleaning=cleaning_))
    found = {"spc": measured(0.5, 0.0, 0.0), "consensus": measured(None, 0.5, 0.02)}
    rows.append(row("warp", 0, detectors=found, not_run={"mspc": "no reason"}, groups=["hard"], half="held-out"))
    found = {
        "spc": measured(None, None, 0.2),
        "mspc": measured(None, None, 0.1),
        "consensus": measured(None, None, 0.0),
    }
    calm = {"level": "no_evidence", "text": "", "flagged": 0}
    rows.append(row("untouched", 0, attack="", detectors=found, verdict=calm, groups=["clean"], poisoned=0))
    return rows


def result_by_hand() -> dict[str, Any]:
    return {
        "benchmark": "detection",
        "command": "python -m mspc_core bench detection",
        "setting": {"name": "cpu", "arch": "small-cnn"},
        "data": {"name": "pictures"},
        "versions": {"torch": "1"},
        "cells": by_hand(),
    }


def test_tables_by_hand() -> None:
    """Mean and spread of 0.8, 0.9, 1.0 are 0.9 and 0.1; the best mean of a row is bold."""
    text = tables.document([result_by_hand()])
    lines = text.splitlines()
    auroc = lines[lines.index("### AUROC") :]
    assert auroc[2] == "| attack | half | n | SPC | MSPC | Consensus |"
    assert auroc[4] == "| patch | tuned | 3 | 0.900 ± 0.100 | **0.950 ± 0.000** | – |"
    assert auroc[5] == "| warp | held-out | 1 | 0.500 | not run (a) | – |"
    assert auroc[6] == "| *mean, tuned* |  | 1 cells | 0.900 | **0.950** | – |"
    assert auroc[7] == "| *mean, held-out* |  | 1 cells | 0.500 | – | – |"
    assert "- a: MSPC: no reason" in lines
    rule = lines[lines.index("Bold: the largest difference of the two.") :]
    assert rule[4] == (
        "| patch | tuned | 3 | 1.000 ± 0.000 / 0.300 ± 0.000 | 0.900 ± 0.000 / 0.100 ± 0.000 | "
        "**0.990 ± 0.010 / 0.000 ± 0.000** |"
    )
    assert "| untouched | tuned | 1 | 70.0% | 1 of 1 | 20.0% | 10.0% | **0.0%** |" in lines
    assert (
        "| patch | tuned | 3 | 1 | 70.0% ± 0.0 | 90.0% ± 0.0 | 10 | 10 | 69.6% ± 0.0 | 1.0% ± 0.0 "
        "| 70.0% ± 0.0 | 0.5% ± 0.0 |" in lines
    )
    assert "| SPC | 12.0 (12.0 to 12.0) | 4 |" in lines
    assert "Computed on: abacus, 2 cores, 1 thread a cell (shared with other work). torch 1." in lines


def test_targets_by_hand() -> None:
    lines = targets.table(by_hand()).splitlines()[2:]
    assert lines == [
        "| paper's attacks: mean TPR ≥ 0.98 | 0.990 | patch | yes |",
        "| paper's attacks: mean FPR ≤ 0.01 | 0.000 | patch | yes |",
        "| warp, all-to-all, untargeted: lowest TPR ≥ 0.90 | 0.500 | warp | **no** |",
        "| clean data: at most 0.5 % flagged | 0.00% | untouched | yes |",
        '| clean data: verdict "no evidence" for every seed | 1 | untouched | yes |',
        "| after cleaning: highest ASR ≤ 2 % | 1.0% | patch | yes |",
        "| after cleaning: at most 0.5 points below the truly clean part | 0.40% | patch | yes |",
    ]


def test_figures_by_hand() -> None:
    one = figures.figure([0.2, None, 0.4])
    assert one is not None
    assert (one.mean, one.count, one.largest, one.smallest) == (pytest.approx(0.3), 2, 0.4, 0.2)
    assert one.stdev == pytest.approx(np.std([0.2, 0.4], ddof=1))
    assert figures.shown(one, 3) == "0.300 ± 0.141 (n=2)"
    assert figures.figure([None]) is None
    assert figures.shown(None, 3) == "–"


def test_tables_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result_by_hand()))
    assert main(["bench", "tables", str(tmp_path / "result.json"), "--out", str(tmp_path / "new" / "r.md")]) == 0
    assert (tmp_path / "new" / "r.md").read_text() == tables.document([result_by_hand()])
    (tmp_path / "other.json").write_text('{"benchmark": "demo"}')
    capsys.readouterr()
    assert main(["bench", "tables", str(tmp_path / "other.json")]) == 2
    assert "is no result file" in capsys.readouterr().err


def test_bad_input(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["bench", "detection", "--home", str(tmp_path / "h"), "--out", str(tmp_path / "r.json")]
    flat = write_folder(tmp_path / "flat", 5)
    cases = {
        "needs a training and a test split": ["--data", str(flat), "--size", "16"],
        "Settings are cpu, gpu": ["--data", "x", "--setting", "quantum"],
        "--seeds takes whole numbers": ["--data", "x", "--seeds", "one"],
        "no detector 'magic'": ["--data", "x", "--detectors", "magic"],
        "no cell, attack or group 'nonsense'": ["--data", "x", "--attacks", "nonsense"],
    }
    for words, arguments in cases.items():
        assert main([*where, *arguments]) == 2
        captured = capsys.readouterr().err
        assert words in captured
        assert captured.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "r.json").exists()
    assert os.environ["BACKDOOR_LENS_HOME"] == str(home)
