"""Whole retrainings on a small poisoned set: before and after, resuming, relabelling, the chain, and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mspc_core import atomic, runs, scanning
from mspc_core.cli import main
from mspc_core.detectors.transplant import Transplant, TransplantConfig
from mspc_core.errors import InputError
from mspc_core.job_status import held
from mspc_core.models import train
from mspc_core.retrain import chain, confirmed, plan
from mspc_core.retrain.config import RetrainConfig, Retraining, create, latest_result, list_retrainings
from mspc_core.runs import Run
from tests.lab import write_folder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`lab`, poisoned shapes, scanned by the transplant test as run `scanned` and retrained with seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("retrain")
    before = os.environ.get("BACKDOOR_LENS_HOME")
    os.environ["BACKDOOR_LENS_HOME"] = str(folder / "home")
    try:
        source = write_folder(folder / "pictures", 60, test_each=15)
        assert main(["import", str(source), "--name", "shapes", "--size", "16"]) == 0
        assert main(["poison", "shapes", "--target", "ring", "--rate", "0.15", "--out", "lab", "--set", "size=4"]) == 0
        scan = ["scan", "lab", "--epochs", "8", "--detectors", "transplant"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scanning, "detector_of", lambda *_: Transplant(TransplantConfig(steps=100)))
            assert main([*scan, "--out", str(folder / "home" / "runs" / "scanned")]) == 0
        assert main(["retrain", "scanned", "--seeds", "0,1", "--references"]) == 0
        yield folder / "home"
    finally:
        if before is None:
            del os.environ["BACKDOOR_LENS_HOME"]
        else:
            os.environ["BACKDOOR_LENS_HOME"] = before


@pytest.fixture
def scanned(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The shared run; nothing may change it."""
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(lab_home))
    return runs.open_run("scanned")


@pytest.fixture
def own_copy(lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the home folder, to be changed."""
    shutil.copytree(lab_home, tmp_path / "home")
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(tmp_path / "home"))
    return runs.open_run("scanned")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run `retrain` with input that must be refused; its one line."""
    capsys.readouterr()
    assert main(["retrain", *arguments]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.strip().splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    return lines[0]


class TestFiguresOfAWholeRetraining:
    def test_the_attack_is_gone_and_the_accuracy_is_not(self, scanned: Run) -> None:
        result = latest_result(scanned)
        before, after, references = result["before"], result["after"], result["references"]
        assert before["attack_success_rate"] > 0.8
        assert after["attack_success_rate"] < 0.4
        assert after["accuracy"] > before["accuracy"] - 0.1
        assert references["everything"]["attack_success_rate"] > 0.8
        assert references["clean_part"]["attack_success_rate"] < 0.4
        assert [row["seed"] for row in references["everything"]["by_seed"]] == [0, 1]
        assert set(after["per_class_accuracy"]) == {"bar", "cross", "ring", "corner"}

    def test_the_estimate_comes_near_the_true_rate(self, scanned: Run) -> None:
        result = latest_result(scanned)
        estimated = result["estimated_asr"]
        assert estimated["before"] > 0.8
        assert estimated["after"] == pytest.approx(result["after"]["attack_success_rate"], abs=0.25)
        assert "ring" in estimated["how"]

    def test_counts_agree_with_the_scores(self, scanned: Run) -> None:
        result, scores = latest_result(scanned), scanned.scores()
        suspect, truth = scores["suspect"].to_numpy(dtype=bool), scores["is_backdoor"].to_numpy(dtype=bool)
        assert (result["dropped"], result["kept"]) == (suspect.sum(), (~suspect).sum())
        assert result["missed_poison"] == (truth & ~suspect).sum()
        assert result["lost_clean"] == (~truth & suspect).sum()
        assert sum(row["dropped"] for row in result["classes"]) == result["dropped"]
        removed = result["removed"]
        assert removed["count"] == result["dropped"]
        assert removed["old_label_after"] < removed["old_label_before"]
        assert len(result["curves"]["before"]["loss"]) == len(result["curves"]["after"]["loss"]) == 8

    def test_most_suggestions_are_right(self, scanned: Run) -> None:
        suggestions = latest_result(scanned)["suggestions"]
        assert suggestions["equal_original"] > 0.7 * suggestions["count"]
        (retraining,) = list_retrainings(scanned)
        table = retraining.suggestions().merge(scanned.scores()[["sample_id", "original_label"]], on="sample_id")
        assert (table["suggested_label"] == table["original_label"]).sum() == suggestions["equal_original"]
        assert table["confidence"].between(0, 1).all()

    def test_both_places_hold_the_same(self, scanned: Run) -> None:
        (retraining,) = list_retrainings(scanned)
        assert retraining.result() == latest_result(scanned)
        assert (scanned.folder / latest_result(scanned)["folder"]) == retraining.folder
        assert not list(retraining.folder.glob("trainings/*/checkpoint.safetensors"))
        assert not list(retraining.folder.glob("trainings/clean-*/*.safetensors"))

    def test_it_is_listed(self, scanned: Run, capsys: pytest.CaptureFixture[str]) -> None:
        capsys.readouterr()
        assert main(["list"]) == 0
        assert "retrains/" in (printed := capsys.readouterr().out)
        assert "finished; dropped" in printed


def test_a_killed_retraining_resumes_to_the_same_figures(own_copy: Run) -> None:
    """Killed after the first of its trainings: that one is not repeated, and the figures are those undisturbed."""
    (undisturbed,) = list_retrainings(own_copy)
    config = replace(undisturbed.config(), references=False)
    retraining = create(own_copy, config, undisturbed.choice())
    command = [sys.executable, "-m", "mspc_core", "work", str(retraining.folder)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ.copy(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (retraining.folder / "trainings" / "after-0" / "figures.json").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert retraining.status().state == "interrupted"
    assert main(["resume", str(retraining.folder)]) == 0
    log = (retraining.folder / "log.txt").read_text()
    assert log.count("epoch 1:") == 2, "one for each seed"
    assert retraining.result()["after"] == undisturbed.result()["after"]
    assert retraining.result()["estimated_asr"] == undisturbed.result()["estimated_asr"]


def test_cancelling_keeps_what_is_there(own_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = latest_result(own_copy)
    (first,) = list_retrainings(own_copy)
    retraining = create(own_copy, replace(first.config(), seeds=(5,)), first.choice())
    (retraining.folder / "cancel").touch()
    from mspc_core.work import work_on

    assert work_on(retraining.folder).state == "cancelled"
    assert retraining.result() == {}
    assert latest_result(own_copy) == before


def test_confirmed_labels_are_kept_under_them(own_copy: Run, tmp_path: Path) -> None:
    """All suspects under their true labels: nothing is dropped but those without a confirmed label."""
    scores = own_copy.scores()
    suspects = scores[scores["suspect"]]
    table = suspects[["sample_id"]].assign(suggested_label=suspects["original_label"].astype(int))
    table.iloc[1:].to_csv(tmp_path / "labels.csv", index=False)
    assert main(["retrain", "scanned", "--relabel", f"file:{tmp_path / 'labels.csv'}"]) == 0
    result = latest_result(own_copy)
    assert (result["dropped"], result["relabelled"]) == (1, len(suspects) - 1)
    assert result["relabelled_right"] == len(suspects) - 1
    assert result["after"]["attack_success_rate"] < 0.4
    choice = list_retrainings(own_copy)[0].choice()
    assert choice.labels == confirmed.read(own_copy)
    confirmed.withdraw(own_copy, list(choice.labels)[:2])
    assert len(confirmed.read(own_copy)) == len(suspects) - 3
    with pytest.raises(InputError, match="no class number 4"):
        confirmed.confirm(own_copy, {"x": 4})


def test_the_cleaned_set_is_scanned_as_a_child(own_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The child scans the kept rows with the retrained model, and the chain can be followed from both ends."""
    (retraining,) = list_retrainings(own_copy)
    own_copy.save_config(replace(own_copy.config(), detectors=("spc",)))  # quick, and enough for a chain
    child = chain.rescan(retraining)
    assert main(["resume", str(child.folder)]) == 0
    scores, parent = child.scores(), own_copy.scores()
    kept = parent[~parent["suspect"].to_numpy(dtype=bool)]
    assert scores["sample_id"].tolist() == kept["sample_id"].tolist()
    np.testing.assert_array_equal(scores["row"], kept["row"])
    assert "epoch 1:" not in (child.folder / "log.txt").read_text(), "the model was there already"
    after = retraining.result()["after"]["by_seed"][0]
    assert child.summary()["model"]["val_accuracy"] == after["accuracy"]
    assert child.config().parent == own_copy.id
    for run in (own_copy, child):
        links = chain.chain_of(run)
        assert [link.id for link in links] == [own_copy.id, child.id]
        assert [link.dropped for link in links] == [0, len(parent) - len(kept)]
    with held(retraining.folder / ".lock"), pytest.raises(InputError, match="being retrained"):
        runs.delete_run(own_copy)
    runs.delete_run(own_copy)
    assert [link.id for link in chain.chain_of(child)] == [child.id], "a deleted parent ends the chain"


def test_a_scan_takes_labels_and_rows_from_its_list(scanned: Run, tmp_path: Path) -> None:
    from mspc_core.retrain.kept import Choice, write_choice
    from mspc_core.scanning import samples_of

    ids, dataset = scanned.scores()["sample_id"].tolist(), scanned.dataset()
    rows, labels = samples_of(scanned, scanned.config(), dataset)
    write_choice(tmp_path / "selection.csv", Choice(frozenset({ids[0], ids[3]}), {ids[1]: 3}))
    kept, given = samples_of(Run(tmp_path), replace(scanned.config(), exclude="selection.csv"), dataset)
    assert kept.tolist() == [row for row in rows if row not in (rows[0], rows[3])]
    assert given.tolist() == [3, labels[2], *labels[4:]]
    with pytest.raises(InputError, match="cannot be read"):
        samples_of(Run(tmp_path / "gone"), replace(scanned.config(), exclude="selection.csv"), dataset)


class TestRefused:
    def test_what_cannot_be_asked(self, scanned: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        count = len(list_retrainings(scanned))
        assert "nothing to drop" in refused(capsys, "scanned", "--drop", "rejected")
        assert "no result in this run" in refused(capsys, "scanned", "--drop", "detector:spc")
        assert "does not say what to drop" in refused(capsys, "scanned", "--drop", "all")
        assert "no list of samples" in refused(capsys, "scanned", "--drop", f"file:{tmp_path / 'none'}")
        assert "Seeds are numbers" in refused(capsys, "scanned", "--seeds", "one")
        assert "No new label has been confirmed" in refused(capsys, "scanned", "--relabel", "confirmed")
        assert "not available here" in refused(capsys, "scanned", "--device", "cuda:77")
        assert "does not exist" in refused(capsys, "nowhere")
        assert len(list_retrainings(scanned)) == count, "nothing was begun"

    def test_fewer_than_two_classes(self, scanned: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        scores = scanned.scores()
        listed = tmp_path / "list.txt"
        listed.write_text("\n".join(scores["sample_id"][scores["label"] != 0]))
        assert "one class" in refused(capsys, "scanned", "--drop", f"file:{listed}")
        listed.write_text("\n".join(scores["sample_id"].sort_values()[:-15]))
        assert "training needs at least 20" in refused(capsys, "scanned", "--drop", f"file:{listed}")

    def test_a_vanished_class_is_warned_of(self, scanned: Run, tmp_path: Path) -> None:
        scores = scanned.scores()
        listed = tmp_path / "list.txt"
        listed.write_text("\n".join(scores["sample_id"][scores["label"] == 0]))
        found = plan.make_plan(scanned, RetrainConfig(drop=f"file:{listed}"))
        assert found.vanished == ["bar"]
        assert any("Every image of bar" in warning for warning in found.warnings)

    def test_an_unfinished_run(self, own_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
        own_copy.save_summary({**own_copy.summary(), "complete": False})
        atomic.write_json(own_copy.folder / "status.json", {"state": "cancelled"})
        assert "is cancelled: resume it first" in refused(capsys, "scanned")

    def test_a_clean_run(self, own_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
        own_copy.save_scores(own_copy.scores().assign(suspect=False))
        assert "flags nothing" in refused(capsys, "scanned")

    def test_data_that_is_gone(self, own_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
        from mspc_core.data.store import delete_dataset

        delete_dataset("lab")
        assert "no stored data set 'lab'" in refused(capsys, "scanned")

    def test_a_training_that_diverges(
        self, own_copy: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = latest_result(own_copy)

        def diverge(*_: Any, **__: Any) -> None:
            raise InputError("Training diverged in epoch 1 (learning rate 0.15): choose another model.")

        monkeypatch.setattr(train, "train_model", diverge)
        said = refused(capsys, "scanned")
        assert "Training diverged" in said
        assert "as they were" in said
        assert latest_result(own_copy) == before

    def test_a_run_without_its_model(self, own_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
        (own_copy.folder / "model.safetensors").unlink()
        assert "keeps no model" in refused(capsys, "scanned")

    def test_own_weights_have_no_recipe(self, own_copy: Run) -> None:
        about = atomic.read_json(own_copy.folder / "model.json")
        atomic.write_json(own_copy.folder / "model.json", {**about, "trained_here": False})
        assert plan.recipe_of(own_copy) is None
        assert any("your own weights" in text for text in plan.make_plan(own_copy, RetrainConfig()).warnings)


def test_json_output(scanned: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A finished retraining prints its figures without computing anything again."""
    (retraining,) = list_retrainings(scanned)
    capsys.readouterr()
    assert main(["resume", str(retraining.folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["after"] == Retraining(retraining.folder).result()["after"]
