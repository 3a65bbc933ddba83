"""Detectors that cannot run are left out with the reason, the others run, and a useless model is called one."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from mspc_core import detectors, obstacles, runs, scan_checks
from mspc_core.cli import main
from mspc_core.data.store import open_dataset
from mspc_core.detectors.base import Artifacts, CleanData, Needs, Situation, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.errors import InputError
from mspc_core.models.zoo import ModelSpec, build_model
from tests.lab import write_folder

QUICK = ["--epochs", "1", "--size", "16"]


@dataclass(frozen=True)
class Nothing:
    """No settings."""


class _Stub:
    """A detector that scores by brightness, and keeps what it was given."""

    name: ClassVar[str]
    title, citation, needs = "Stub", "nobody", Needs()
    clean: ClassVar[CleanData | None] = None

    def __init__(self, config: Any = None) -> None:
        self.config = config or Nothing()

    def fit(self, model: Any, images: np.ndarray, *, clean: CleanData | None = None, **_: Any) -> _Stub:
        type(self).clean = clean
        self.decision_scores_ = images.mean((1, 2, 3)).astype(np.float64)
        self.threshold_ = Threshold(150.0, "manual", "bright")
        self.labels_ = self.decision_scores_ > 150.0
        self.artifacts_ = Artifacts()
        return self


class WantsClean(_Stub):
    name = "wants_clean"


class WantsBatchNorm(_Stub):
    name = "wants_batch_norm"


class Refuses(_Stub):
    name = "refuses"

    def fit(self, model: Any, images: np.ndarray, **_: Any) -> _Stub:
        raise InputError("these images have no colour")


class GivesNaN(_Stub):
    name = "gives_nan"

    def fit(self, model: Any, images: np.ndarray, **options: Any) -> _Stub:
        super().fit(model, images, **options)
        self.decision_scores_[:3] = np.nan
        return self


NEEDS = {"wants_clean": Needs(clean_data=True), "wants_batch_norm": Needs(batch_norm=True)}


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stubs above, registered beside the real detectors."""
    for cls in (WantsClean, WantsBatchNorm, Refuses, GivesNaN):
        needs = NEEDS.get(cls.name, Needs())
        monkeypatch.setitem(detectors.REGISTRY, cls.name, f"{__name__}:{cls.__name__}")
        monkeypatch.setitem(CATALOG, cls.name, replace(CATALOG["spc"], title=cls.name.upper(), needs=needs))
    monkeypatch.setattr(WantsClean, "clean", None)


@pytest.fixture
def shapes(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    source = write_folder(tmp_path / "pictures", 12, test_each=5)
    assert main(["import", str(source), "--name", "shapes", "--size", "16"]) == 0
    capsys.readouterr()
    return "shapes"


def test_the_others_run(stubs: None, shapes: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "refuses,wants_clean,gives_nan,spc"
    assert main(["scan", shapes, *QUICK, "--detectors", asked, "--json"]) == 0
    captured = capsys.readouterr()
    reason = "it needs clean data, and no part of this data set was named as trusted"
    assert captured.err.strip().splitlines() == [f"WANTS_CLEAN cannot run: {reason}"], "said before the job starts"
    summary = json.loads(captured.out)
    assert summary["complete"] is True
    assert list(summary["detectors"]) == ["spc"]
    assert summary["not_run"] == {
        "wants_clean": reason,
        "refuses": "these images have no colour",
        "gives_nan": "it gave no finite score for 3 of 48 samples",
    }
    scores = runs.open_run(summary["run"]).scores()
    assert [name for name in scores if name.endswith("_score")] == ["spc_score", "suspect_score"]
    assert main(["resume", summary["run"]]) == 0
    printed = capsys.readouterr().out
    assert "REFUSES: not run, these images have no colour" in printed


def test_a_trusted_split_is_handed_over(stubs: None, shapes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", shapes, *QUICK, "--detectors", "wants_clean", "--trusted", "test", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["not_run"] == {}
    dataset = open_dataset(shapes)
    rows = dataset.indices("test")
    assert WantsClean.clean is not None
    np.testing.assert_array_equal(WantsClean.clean.images, dataset.pixels[rows])
    np.testing.assert_array_equal(WantsClean.clean.labels, dataset.manifest["label"].to_numpy()[rows])
    assert runs.open_run(summary["run"]).config().trusted == "test"


def test_none_left_is_bad_input(stubs: None, shapes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", shapes, *QUICK, "--detectors", "wants_clean"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: None of the chosen detectors can run here (WANTS_CLEAN: it needs clean data")
    assert not list(runs.home.runs_folder().iterdir()), "nothing is left behind"
    assert main(["scan", shapes, *QUICK, "--detectors", "wants_clean,refuses"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "WANTS_CLEAN" in error
    assert "REFUSES: these images have no colour" in error


def test_the_architecture_is_known_before_the_job(stubs: None, shapes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", shapes, *QUICK, "--arch", "tiny-vit", "--detectors", "wants_batch_norm"]) == 2
    assert "it needs BatchNorm layers, and this model has none" in capsys.readouterr().err
    assert main(["scan", shapes, *QUICK, "--detectors", "wants_batch_norm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["not_run"] == {}


def test_situation_by_hand() -> None:
    """Class 7 does not occur, so it is no smallest class."""
    labels = np.array([0, 0, 0, 2, 2, 9])
    assert obstacles.situation(labels, trusted=False) == Situation(3, 1, False, None, None)
    small = build_model(ModelSpec("small-cnn", 10, 16))
    assert obstacles.situation(labels, trusted=True, model=small, size=16) == Situation(3, 1, True, True, True)
    vision = build_model(ModelSpec("tiny-vit", 10, 16))
    assert obstacles.situation(labels, trusted=True, model=vision, size=16) == Situation(3, 1, True, True, False)


class NoGradient(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.mean((1, 2, 3)) > 0.5).float()[:, None].detach() * self.weight.detach()


def test_a_model_without_gradients_is_told() -> None:
    model = NoGradient().train()
    assert obstacles.situation(np.array([0, 1]), trusted=False, model=model).gradients is False
    assert model.training, "left as it was"
    with pytest.raises(InputError, match="it needs gradients"):
        obstacles.cannot_run(["mspc"], obstacles.situation(np.array([0, 1]), trusted=False, model=model))


def test_clean_data_are_drawn_with_the_seed(shapes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstacles, "_MOST_CLEAN", 6)
    dataset = open_dataset(shapes)
    train = dataset.indices("train")
    first, again, other = (obstacles.clean_data(dataset, train, "test", seed) for seed in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.images.shape == (6, 16, 16, 3)
    np.testing.assert_array_equal(first.images, again.images)
    assert (np.asarray(first.images) != np.asarray(other.images)).any()
    assert obstacles.clean_data(dataset, train, "", 0) is None
    with pytest.raises(InputError, match="no image in the split 'val'"):
        obstacles.clean_data(dataset, train, "val", 0)
    with pytest.raises(InputError, match="is scanned itself"):
        obstacles.clean_data(dataset, np.arange(dataset.info.count), "test", 0)


def test_model_notes_by_hand() -> None:
    labels, classes = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3, 3]), ("a", "b", "c", "d")
    constant = obstacles.model_notes(np.full(10, 3), labels, classes, 0.4)
    assert len(constant) == 1
    assert "'d' of every image" in constant[0]
    mixed = np.array([0, 1] * 5)
    assert "only 49% of the training images" in obstacles.model_notes(mixed, labels, classes, 0.49)[0]
    assert obstacles.model_notes(mixed, labels, classes, 0.51) == []
    most = np.array([0] * 8 + [1] * 2)  # guessing class 0 every time is right for 80 %
    assert "only 85%" in obstacles.model_notes(mixed, most, classes, 0.85)[0]
    assert obstacles.model_notes(mixed, most, classes, 0.95) == []


def test_a_model_that_says_one_class_is_named_in_the_summary(
    shapes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = build_model(ModelSpec("small-cnn", 4, 16))
    torch.nn.init.constant_(model.backbone.head.bias, 0.0)
    with torch.no_grad():
        model.backbone.head.bias[2] = 1e4
    torch.save(model.state_dict(), tmp_path / "stuck.pth")
    arguments = ["scan", shapes, "--model", str(tmp_path / "stuck.pth"), "--detectors", "spc", "--json"]
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert any("'cross' of every image" in note for note in summary["model"]["notes"])
    assert summary["model"]["poor"] is True
    with torch.no_grad():
        model.backbone.head.bias[2] = float("nan")
    torch.save(model.state_dict(), tmp_path / "broken.pth")
    arguments[3] = str(tmp_path / "broken.pth")
    assert main(arguments) == 2
    assert "NaN or infinite outputs on 48 of 48 images" in capsys.readouterr().err


def test_names_of_sets() -> None:
    assert scan_checks.detector_names("default") == runs.DEFAULT_DETECTORS
    assert scan_checks.detector_names("all") == tuple(detectors.REGISTRY)
    others = tuple(name for name in runs.DEFAULT_DETECTORS if name != "mspc")
    assert scan_checks.detector_names("mspc, default") == ("mspc", *others)
    assert scan_checks.detector_names("") == ()
    with pytest.raises(InputError, match="val or test, not 'train'"):
        scan_checks.check(runs.ScanConfig(source="x", trusted="train"))


def test_runs_from_before_can_be_opened(home: Path) -> None:
    raw = runs.ScanConfig(source="x", dataset="x").as_json()
    del raw["trusted"]
    assert runs.ScanConfig.from_json(raw) == runs.ScanConfig(source="x", dataset="x")
