"""The Python interface: data sets from arrays, scans of trained and of own models, results, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mspc_core
from mspc_core import Cancelled, InputError, detectors, load_dataset, open_scan, poison, resume, scan, scanning, train
from mspc_core.api_results import ScanResult, TrainedModel
from mspc_core.data.store import Dataset, list_datasets
from mspc_core.detectors.pattern import PatternConfig
from mspc_core.detectors.transplant import TransplantConfig
from mspc_core.runs import list_runs
from tests.lab import SHAPES, shape_arrays, write_folder

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"progress": False}
MEAN, STD = (0.45, 0.44, 0.43), (0.2, 0.21, 0.22)


@pytest.fixture(scope="module")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with `shapes` (arrays, 240 train and 80 test), poisoned as `lab`."""
    folder = tmp_path_factory.mktemp("api")
    before = os.environ.get("BACKDOOR_LENS_HOME")
    os.environ["BACKDOOR_LENS_HOME"] = str(folder)
    images, labels = shape_arrays(80)
    clean = load_dataset(images[:240], labels[:240], test=(images[240:], labels[240:]), classes=SHAPES, name="shapes")
    poison(clean, target="ring", rate=0.15, settings={"size": 4}, name="lab", progress=False)
    yield folder
    if before is None:
        del os.environ["BACKDOOR_LENS_HOME"]
    else:
        os.environ["BACKDOOR_LENS_HOME"] = before


@pytest.fixture
def lab(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(lab_home))
    return load_dataset("lab")


@pytest.fixture(scope="module")
def trained(lab_home: Path) -> TrainedModel:
    return train("lab", epochs=5, progress=False)


@pytest.fixture(scope="module")
def result(lab_home: Path, trained: TrainedModel) -> ScanResult:
    """A scan with the trained model, two of the verdict's tests (with fewer steps than by default) and SPC."""
    quick = {"transplant": TransplantConfig(steps=80), "pattern": PatternConfig(steps=40)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "detector_of", lambda _, name: detectors.create(name, quick.get(name)))
        found = scan("lab", trained, detectors="spc,transplant,pattern", progress=False)
    assert found.poisoned, "there is something to tell"
    return found


def own_network(classes: int = 4):  # type: ignore[no-untyped-def]
    """A network of the caller's making, in training mode but for its first layer."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, classes))
    net.train()
    net[0].eval()
    return net


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "sklearn", "rich")
    code = (
        "import sys, mspc_core; print([n for n in sys.modules if n.startswith('mspc_core.')]);"
        "from mspc_core import load_dataset, train, scan;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.split("\n")[:2] == ["[]", "[]"]


def test_names_stay_functions_after_use(result: ScanResult) -> None:
    """No submodule may carry the name of a public function: importing it would replace the function."""
    for name in mspc_core.__all__:
        assert not (ROOT / "mspc_core" / f"{name}.py").exists()
        assert not (ROOT / "mspc_core" / name).exists()
        assert callable(getattr(mspc_core, name))
    with pytest.raises(AttributeError, match="no attribute 'telepathy'"):
        mspc_core.telepathy  # noqa: B018


def test_arrays_become_a_stored_data_set(home: Path) -> None:
    images, labels = shape_arrays(6)
    dataset = load_dataset(images, labels, test=(images[:4], labels[:4]), classes=SHAPES, progress=False)
    assert (dataset.info.name, dataset.info.size, dataset.info.classes) == ("arrays", 16, SHAPES)
    assert (dataset.pixels[:24] == images).all()
    assert dataset.indices("test").tolist() == [24, 25, 26, 27]
    assert (dataset.manifest["label"].to_numpy()[:24] == labels).all()
    again = load_dataset(images, labels, test=(images[:4], labels[:4]), classes=SHAPES, progress=False)
    assert again.info.name == "arrays", "the same arrays are stored once"
    words = load_dataset(images, [SHAPES[label] for label in labels], name="words", size=32, progress=False)
    assert words.info.classes == tuple(sorted(SHAPES))
    assert words.pixels.shape == (24, 32, 32, 3)
    images[0] = 0
    assert load_dataset(images, labels, progress=False).info.name == "arrays-2"
    assert {info.name for info in list_datasets()} == {"arrays", "arrays-2", "words"}


def test_sources_and_names(home: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = write_folder(tmp_path / "pictures", 3)
    dataset = load_dataset(folder, size=16, progress=lambda done, total, message: seen.append((done, total)))
    assert (dataset.info.name, dataset.info.count) == ("pictures", 12)
    assert seen[-1] == (12, 12)
    assert load_dataset("pictures").info == dataset.info


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((np.zeros((4, 8, 8, 3)), [0, 1, 0, 1]), {}, "must be uint8 .* multiply by 255"),
        ((np.zeros((4, 3, 16, 16), np.uint8), [0, 1, 0, 1]), {}, "channels last; theirs is"),
        ((np.zeros((4, 16, 16, 3), np.uint8), [0, 1, 0]), {}, r"4 images, but their labels have the shape \[3\]"),
        ((np.zeros((4, 16, 16, 3), np.uint8),), {}, "come without labels"),
        ((np.zeros((4, 16, 16, 3), np.uint8), [0, 1, 0, -1]), {}, "train label at position 3 cannot be used"),
        ((np.zeros((4, 16, 16, 3), np.uint8), [0, 1, 0, 2]), {"classes": ["a", "b"]}, "position 3 cannot be used"),
        ((np.zeros((4, 16, 16, 3), np.uint8), [0, 0, 0, 0]), {}, "only one class"),
        ((np.zeros((4, 16, 20, 3), np.uint8), [0, 1, 0, 1]), {}, "not square"),
        ((np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1]), {}, "image size must be a whole number from 16"),
        (("nowhere/at/all",), {}, "There is no file, folder"),
        (("nowhere", [0, 1]), {}, "Labels, a test part and class names go with arrays"),
    ],
)
def test_data_that_cannot_be_used(home: Path, arguments: tuple[object, ...], options: dict, sentence: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=sentence):
        load_dataset(*arguments, progress=False, **options)  # type: ignore[arg-type]
    assert list_datasets() == []


def test_results_have_the_usual_names(result: ScanResult, lab: Dataset) -> None:
    assert set(result.detectors) == {"spc", "transplant", "pattern"}
    spc = result["spc"]
    assert spc.decision_scores_.shape == spc.labels_.shape == (240,)
    assert (spc.labels_ == (spc.decision_scores_ > spc.threshold_)).all()
    assert (spc.threshold_, spc.threshold_rule) == (0.5, "natural")
    assert spc.metrics is not None
    assert 0 <= spc.metrics["auroc"] <= 1
    assert (result.labels_ == (result.decision_scores_ > result.threshold_)).all()
    assert len(result.suspects) == result.labels_.sum() == result.summary["verdict"]["flagged"]
    assert sorted([*result.suspect_rows, *result.kept_rows]) == list(range(240))
    assert (lab.manifest["sample_id"].to_numpy()[result.scores["row"]] == result.scores["sample_id"]).all()
    assert result.poisoned == (result.summary["verdict"]["level"] == "poisoned")
    assert result.verdict in str(result)
    assert str(result.run.folder) in str(result)
    assert "Normalised" not in repr(result)
    assert result.dataset.info.name == "lab"
    with pytest.raises(InputError, match=r"no results of 'strip' \(it was not asked for\)"):
        result["strip"]


def test_a_run_is_left_for_the_app(result: ScanResult) -> None:
    run = next(run for run in list_runs() if run.id == result.run.id)
    assert run.status().state == "finished"
    assert {"model.safetensors", "early_losses.npz", "masks.npz"} <= {path.name for path in run.folder.iterdir()}
    opened = open_scan(run.id)
    assert (opened.scores == result.scores).all(axis=None)
    from mspc_core.models.checkpoint import load_saved_model

    _, about = load_saved_model(run.folder)
    assert about["trained_here"]
    assert about["attack_success_rate"] is not None


def test_a_trained_model_gives_what_a_scan_trains(lab: Dataset, trained: TrainedModel) -> None:
    """`train` then `scan` is the same as `scan` alone, with the same seed."""
    alone = scan(lab, detectors="spc", epochs=5, **QUIET)
    given = scan(lab, trained, detectors=["spc"], **QUIET)
    assert (alone["spc"].decision_scores_ == given["spc"].decision_scores_).all()
    assert alone.poisoned is None, "SPC alone gives no verdict"
    assert not given.labels_.any()
    assert trained.images == 240
    assert trained.accuracy is not None


def test_own_network_by_what_it_takes(lab: Dataset) -> None:
    """Given as it is with its statistics, or wrapped by hand to take [0, 1]: the same scores; left as it was."""
    import torch
    from torch import nn

    net = own_network()
    modes = [part.training for part in net.modules()]
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    first = scan(lab, net, normalise=(MEAN, STD), detectors="spc,strip", **QUIET)
    assert [part.training for part in net.modules()] == modes
    assert all((net.state_dict()[name] == value).all() for name, value in weights.items())
    assert all(parameter.requires_grad for parameter in net.parameters())

    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))  # type: ignore[no-any-return]

    second = scan(lab, Unit(), normalise="none", detectors="spc,strip", **QUIET)
    assert np.abs(first["spc"].decision_scores_ - second["spc"].decision_scores_).max() < 0.1
    assert "given from Python" in str(first)
    assert "in [0, 1]" in str(second)
    assert not (first.run.folder / "model.safetensors").exists()


def test_own_network_of_a_known_architecture_is_kept(lab: Dataset, trained: TrainedModel) -> None:
    net = trained.model.backbone
    normalise = tuple(trained.spec.mean), tuple(trained.spec.std)
    kept = scan(lab, net, arch="small-cnn", normalise=normalise, detectors="spc", **QUIET)
    assert (kept.run.folder / "model.safetensors").is_file()
    assert (kept["spc"].decision_scores_ == scan(lab, trained, detectors="spc", **QUIET)["spc"].decision_scores_).all()
    with pytest.raises(InputError, match="not a tiny-vit for 4 classes"):
        scan(lab, net, arch="tiny-vit", normalise="none", detectors="spc", **QUIET)


def test_models_that_cannot_be_used(lab: Dataset, trained: TrainedModel) -> None:
    from torch import nn

    before = {run.id for run in list_runs()}
    for model, options, sentence in (
        (own_network(), {}, "Say what the model takes"),
        (own_network(), {"normalise": "sometimes"}, "Normalisation is one of"),
        (own_network(), {"normalise": ((0, 0, 0), (1, 1, 0))}, "deviations above 0"),
        (own_network(), {"normalise": ((0.5,), (0.5,))}, "three numbers each"),
        (own_network(7), {"normalise": "none"}, r"logits of shape \[B, 4\].*gives \[2, 7\]"),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 4)), {"normalise": "none"}, "cannot take 16×16 images"),
        (nn.Flatten(), {"normalise": "none"}, "no parameters"),
        (own_network(), {"normalise": "none", "device": "cuda:3"}, "is on cpu: move it"),
        ("no/such/file.pt", {}, "no checkpoint at"),
        (42, {}, "A int is no model"),
        (None, {"detectors": "telepathy"}, "no detector 'telepathy'"),
        (None, {"trusted": "val"}, "no image in the split 'val'"),
        (None, {"normalise": "sometimes"}, "Normalisation is one of"),
        (None, {"normalise": "half"}, "Normalisation is for a given model"),
        (trained, {"normalise": "half"}, "brings its normalisation"),
        (trained, {"arch": "small-cnn"}, "brings its normalisation and architecture"),
        (trained, {"epochs": 3}, "Epochs and augmentation are for training"),
        (Path(__file__), {"normalise": (MEAN, STD)}, "normalisation is named"),
    ):
        with pytest.raises(InputError, match=sentence):
            scan(lab, model, **{"detectors": "spc", **options}, progress=False)  # type: ignore[arg-type]
    assert {run.id for run in list_runs()} == before, "a scan that cannot start leaves nothing behind"


def test_training_on_rows(lab: Dataset, result: ScanResult) -> None:
    again = train(lab, rows=result.kept_rows, epochs=1, **QUIET)
    assert again.images == len(result.kept_rows)
    for options, sentence in (
        ({"rows": [0, 1, 1]}, "named twice"),
        ({"rows": [0, 5000]}, "whole numbers from 0 to 319"),
        ({"rows": [0.5]}, "whole numbers"),
        ({"rows": [0, 1, 2]}, "at least 20 images"),
        ({"labels": [9] * 240}, "one class number"),
        ({"epochs": -1}, "cannot be -1"),
        ({"arch": "resnet19"}, "Did you mean"),
        ({"device": "tpu"}, "not available"),
    ):
        with pytest.raises(InputError, match=sentence):
            train(lab, **options, progress=False)  # type: ignore[arg-type]


def test_a_cancelled_scan_goes_on(lab: Dataset, tmp_path: Path) -> None:
    """Ctrl-C in the middle: `Cancelled`, and the finished detector is not computed again."""
    import signal

    net = own_network()

    pressed: list[str] = []

    def press(done: int, total: int, message: str) -> None:
        if message.startswith("strip") and not pressed:
            pressed.append(message)
            signal.raise_signal(signal.SIGINT)

    where = tmp_path / "run"
    with pytest.raises(Cancelled, match="resume with the same model"):
        scan(lab, net, normalise="none", detectors="spc,strip", out=where, progress=press)
    assert (where / "stages" / "spc.json").is_file()
    with pytest.raises(InputError, match="has not finished"):
        open_scan(where)
    with pytest.raises(InputError, match="another model"):
        resume(where, own_network().apply(lambda part: part), normalise="half", progress=False)
    stamp = (where / "stages" / "spc.json").stat().st_mtime_ns
    finished = resume(where, net, normalise="none", progress=False)
    assert set(finished.detectors) == {"spc", "strip"}
    assert (where / "stages" / "spc.json").stat().st_mtime_ns == stamp
    same = scan(lab, net, normalise="none", detectors="spc,strip", out=where, progress=False)
    assert (same.scores == finished.scores).all(axis=None)
    with pytest.raises(InputError, match="other settings"):
        scan(lab, net, normalise="none", detectors="spc", out=where, progress=False)


def test_the_command_line_says_that_it_lacks_the_model(lab: Dataset, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    from mspc_core.cli import main

    where = tmp_path / "run"
    scan(lab, own_network(), normalise="none", detectors="spc", out=where, progress=False)
    assert main(["resume", str(where)]) == 2
    assert "was given from Python" in capsys.readouterr().err


def test_weights_from_a_file(lab: Dataset, trained: TrainedModel, result: ScanResult) -> None:
    """The run's own weights, given as a file, give the run's own scores."""
    weights = result.run.folder / "model.safetensors"
    found = scan("lab", weights, arch="small-cnn", detectors="spc", progress=False)
    assert (found["spc"].decision_scores_ == result["spc"].decision_scores_).all()


def test_a_run_of_an_older_version(result: ScanResult, tmp_path: Path) -> None:
    shutil.copytree(result.run.folder, tmp_path / "old")
    result.scores.drop(columns=["suspect_score"]).to_parquet(tmp_path / "old" / "scores.parquet")
    with pytest.raises(InputError, match="older version"):
        open_scan(tmp_path / "old")
