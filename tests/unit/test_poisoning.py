"""Making a lab data set: the page's job and the command line give the same bytes; what ends early leaves nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mspc_core import home as places
from mspc_core import jobs, poison_job, poisoning, runs, work
from mspc_core.attacks import base
from mspc_core.attacks.poison import amount_of
from mspc_core.cli import main
from mspc_core.data.store import delete_dataset, list_datasets, open_dataset, sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError
from mspc_core.poisoning import PoisonConfig
from tests.lab import shape_arrays
from tests.unit.attacks.test_contract import QUICK
from tests.unit.attacks.test_poison import make_clean

LEARNING = {"steps": 3, "mask_steps": 2}


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    started: list[Path] = []
    monkeypatch.setattr(jobs, "start", started.append)
    return started


def job_of(config: PoisonConfig) -> Path:
    return jobs.create(places.lab_folder(), config.as_json(), "lab")


def store_shapes() -> None:
    images, labels = shape_arrays(12, size=16, seed=1)
    with DatasetWriter("shapes", size=16, classes=["a", "b", "c", "d"], kind="test", source="test") as writer:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = f"{number}.png"
            writer.add(image, identity=sample_id(path, image.tobytes()), path=path, label=int(label))
        writer.commit(source_key="test")


def content(root: Path) -> dict[str, bytes]:
    """All files of a data set; the time of creation is left out."""
    found = {path.name: path.read_bytes() for path in root.iterdir()}
    info = json.loads(found.pop("dataset.json"))
    del info["created"]
    return {**found, "dataset.json": json.dumps(info).encode()}


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        (PoisonConfig("shapes", "badnets", {"size": 3, "opacity": 0.5}, rate=0.2, target="c", seed=3, out="lab"),
         ["--attack", "badnets", "--set", "size=3", "--set", "opacity=0.5", "--rate", "0.2", "--target", "c",
          "--seed", "3"]),
        (PoisonConfig("shapes", "wanet", rate=0.1, target=1, label_mode="all-to-all", out="lab"),
         ["--attack", "wanet", "--rate", "0.1", "--target", "1", "--labels", "all-to-all"]),
        (PoisonConfig("shapes", "sig", {"delta": 40.0, "frequency": 5}, "", 0.1, "d", from_target=True, out="lab"),
         ["--attack", "sig", "--set", "delta=40.0", "--set", "frequency=5", "--rate", "0.1", "--target", "d",
          "--from-target"]),
        (PoisonConfig("shapes", "input-aware", LEARNING, rate=0.1, target=0, seed=1, out="lab"),
         ["--attack", "input-aware", "--set", "steps=3", "--set", "mask_steps=2", "--rate", "0.1", "--seed", "1"]),
        (PoisonConfig("shapes", "label-consistent", QUICK["label-consistent"], rate=0.1, target=0, out="lab"),
         ["--attack", "label-consistent", "--set", "epochs=2", "--set", "pgd_steps=3", "--rate", "0.1"]),
    ],
    ids=lambda value: value.attack if isinstance(value, PoisonConfig) else "",
)  # fmt: skip
def test_job_and_command_line_give_the_same_bytes(
    config: PoisonConfig, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("page", "command"):
        monkeypatch.setenv("BACKDOOR_LENS_HOME", str(tmp_path / name))
        store_shapes()
        before = content(places.datasets_folder() / "shapes")
        if name == "page":
            folder = job_of(config)
            assert work.work_on(folder).state == "finished"
            assert poison_job.result_of(folder)["name"] == "lab"
        else:
            assert main(["poison", "shapes", "--out", "lab", *arguments]) == 0
        assert content(places.datasets_folder() / "shapes") == before, "the source was touched"
        found.append(content(places.datasets_folder() / "lab"))
    assert found[0].keys() == found[1].keys()
    assert {"pixels.u8", "truth.parquet", "recipe.json"} <= found[0].keys()
    for key, value in found[0].items():
        assert value == found[1][key], key


def test_a_learned_trigger_is_kept_and_changes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned for a preview first, then used: the data set is the one that learning anew gives."""
    store_shapes()
    config = PoisonConfig("shapes", "input-aware", LEARNING, rate=0.1, out="first")
    folder = job_of(PoisonConfig(**{**config.as_json(), "kind": "trigger", "out": ""}))
    assert work.work_on(folder).state == "finished"
    assert [info.name for info in list_datasets()] == ["shapes"], "learning alone makes no data set"
    prepared = poisoning.prepare(config)
    assert poisoning.kept_trigger(prepared) is not None

    def never(*_: object) -> None:
        raise AssertionError("it was learned already")

    with monkeypatch.context() as patch:
        patch.setattr(type(prepared.attack), "learn", never)
        assert work.work_on(job_of(config)).state == "finished"
    shutil.rmtree(home / "triggers")
    assert work.work_on(job_of(PoisonConfig(**{**config.as_json(), "out": "second"}))).state == "finished"
    first, second = (content(open_dataset(name).root) for name in ("first", "second"))
    assert first["trigger.npz"] == second["trigger.npz"]
    assert first["pixels.u8"] == second["pixels.u8"]


def test_the_rate_does_not_change_what_is_learned_but_settings_do(home: Path) -> None:
    store_shapes()

    def key(**changes: object) -> str:
        raw = {**PoisonConfig("shapes", "input-aware", LEARNING).as_json(), **changes}
        return poisoning.prepare(PoisonConfig.from_json(raw)).key

    assert key() == key(rate=0.2, label_mode="random", out="x", scan=True)
    others = [key(seed=1), key(target=2), key(settings={"steps": 4, "mask_steps": 2}), key(attack="issba", settings={})]
    assert len({key(), *others}) == 5


def test_only_a_dozen_triggers_are_kept_and_damaged_ones_are_learned_again(home: Path) -> None:
    store_shapes()
    folder = home / "triggers"
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"{number:032d}.npz").write_bytes(b"old")
    prepared = poisoning.prepare(PoisonConfig("shapes", "input-aware", LEARNING))
    poisoning.learn(prepared)
    assert len(list(folder.glob("*.npz"))) == 12
    path = folder / f"{prepared.key}.npz"
    for junk in (b"", b"junk", path.read_bytes()[:200], np.array([{}], dtype=object).dumps()):
        path.write_bytes(junk)
        assert poisoning.kept_trigger(prepared) is None
    assert poisoning.learn(prepared)
    assert poisoning.kept_trigger(prepared) is not None


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (PoisonConfig("gone"), "no stored data set 'gone'"),
        (PoisonConfig("../../etc"), "cannot be a name"),
        (PoisonConfig("clean", "magic"), "no attack 'magic'"),
        (PoisonConfig("clean", settings={"size": "<b>"}), "size must be a whole number"),
        (PoisonConfig("clean", settings={"colour": 1}), "does not take these settings"),
        (PoisonConfig("clean", target="dog"), "no class 'dog'"),
        (PoisonConfig("clean", target=3), "no class number 3"),
        (PoisonConfig("clean", target=-1), "no class number -1"),
        (PoisonConfig("clean", label_mode="sideways"), "Label modes are"),
        (PoisonConfig("clean", "sig", label_mode="all-to-one"), "keeps the labels"),
        (PoisonConfig("clean", "sig", rate=0.5), "at most 0.3333 is possible"),
        (PoisonConfig("clean", rate=0.9), "asks for 43 images to poison, but only 32 of 48"),
        (PoisonConfig("clean", "wanet", rate=0.3), "28 as covers"),
        (PoisonConfig("clean", rate=0.003), "less than one of 48 training images"),
        (PoisonConfig("clean", rate=0.0), "between 0 and 1"),
        (PoisonConfig("clean", rate=float("nan")), "between 0 and 1"),
        (PoisonConfig("clean", out="clean"), "exists already"),
        (PoisonConfig("clean", out="a/b"), "cannot be a name"),
        (PoisonConfig("clean", out="<img src=x>"), "cannot be a name"),
    ],
)
def test_what_cannot_be_made_is_said_before_a_job_exists(
    config: PoisonConfig, sentence: str, home: Path, no_start: list[Path]
) -> None:
    make_clean()
    with pytest.raises(InputError, match=sentence):
        poison_job.submit(config)
    assert not list(places.lab_folder().iterdir())


@pytest.mark.parametrize("mode", ["all-to-one", "all-to-all", "random"])
def test_a_single_class_is_refused(home: Path, mode: str) -> None:
    with DatasetWriter("one", size=8, classes=["only"], kind="test", source="test") as writer:
        writer.add(np.zeros((8, 8, 3), np.uint8), identity="0" * 16, path="0.png", label=0)
        writer.commit(source_key="test")
    with pytest.raises(InputError, match="single class"):
        poisoning.prepare(PoisonConfig("one", label_mode=mode))


def test_amounts_agree_with_their_limits() -> None:
    """The highest rate that is named works, and a little more does not."""
    labels = np.repeat([0, 1, 2, 3], [10, 200, 30, 160])
    for mode, cover_ratio, target in [
        ("all-to-one", 0.0, 1),
        ("all-to-one", 2.0, 1),
        ("all-to-all", 1.0, 0),
        ("random", 0.5, 0),
        ("clean", 0.0, 3),
        ("clean", 2.0, 1),
    ]:
        most = amount_of(labels, target=target, rate=0.01, cover_ratio=cover_ratio, mode=mode).most
        found = amount_of(labels, target=target, rate=most - 0.005, cover_ratio=cover_ratio, mode=mode)
        assert found.poisoned == round((most - 0.005) * 400)
        with pytest.raises(InputError, match="at most"):
            amount_of(labels, target=target, rate=min(0.999, most + 0.01), cover_ratio=cover_ratio, mode=mode)
    for mode, target in (("clean", 5), ("all-to-one", 1)):
        with pytest.raises(InputError, match="nothing"):
            amount_of(np.ones(20, np.int64), target=target, rate=0.1, cover_ratio=0, mode=mode)
    with pytest.raises(InputError, match="no training images"):
        amount_of(np.zeros(0, np.int64), target=0, rate=0.1, cover_ratio=0, mode="random")


def test_a_full_disk_is_said_beforehand(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clean()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(InputError, match="needs 1 MB, but only 0 MB are free"):
        poisoning.check(poisoning.prepare(PoisonConfig("clean")))


def test_a_scan_follows_if_asked_for(home: Path, no_start: list[Path]) -> None:
    make_clean()
    folder = job_of(PoisonConfig("clean", rate=0.1, target="b", out="lab", scan=True))
    assert work.work_on(folder).state == "finished"
    (run,) = runs.list_runs()
    assert no_start == [run.folder]
    assert (run.config().dataset, run.config().size, run.config().detectors) == ("lab", 16, runs.DEFAULT_DETECTORS)
    assert poison_job.result_of(folder) == {"name": "lab", "poisoned": 5, "covers": 0, "count": 60, "run": run.id}


def test_a_stopped_job_goes_on_after_what_it_wrote(
    home: Path, no_start: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the data set and its scan: resuming takes the data set that is there."""
    make_clean()
    folder = job_of(PoisonConfig("clean", rate=0.1, out="lab", scan=True))

    def broken(config: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "create_run", broken)
        status = work.work_on(folder)
    assert status.state == "failed"
    assert status.error is not None
    assert status.error.startswith("The disk is full")
    before = content(open_dataset("lab").root)
    assert work.work_on(folder).state == "finished"
    assert content(open_dataset("lab").root) == before
    assert len(no_start) == 1


def test_a_name_taken_meanwhile_is_not_overwritten(home: Path) -> None:
    """Another recipe under the same name is another data set."""
    make_clean()
    assert work.work_on(job_of(PoisonConfig("clean", rate=0.1, out="lab"))).state == "finished"
    before = content(open_dataset("lab").root)
    status = work.work_on(job_of(PoisonConfig("clean", rate=0.2, out="lab")))
    assert status.state == "failed"
    assert "exists already" in (status.error or "")
    assert content(open_dataset("lab").root) == before


def test_data_deleted_meanwhile(home: Path) -> None:
    make_clean()
    folder = job_of(PoisonConfig("clean", out="lab"))
    delete_dataset("clean")
    status = work.work_on(folder)
    assert (status.state, status.error) == ("failed", "There is no stored data set 'clean': import it first.")


def test_cancelling_leaves_nothing_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clean()
    folder = job_of(PoisonConfig("clean", rate=0.1, out="lab"))
    planted = base.attack_class("badnets").plant

    def cancelled(self: base.Attack, *arguments: object, **more: object) -> np.ndarray:
        (folder / "cancel").touch()
        monkeypatch.setattr("mspc_core.attacks.poison._CHUNK", 8)
        return planted(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("mspc_core.attacks.poison._CHUNK", 8)
    monkeypatch.setattr(base.attack_class("badnets"), "plant", cancelled)
    assert work.work_on(folder).state == "cancelled"
    assert [path.name for path in places.datasets_folder().iterdir()] == ["clean"]


@pytest.mark.parametrize(
    "change",
    [
        {"settings": "size=3"},
        {"dataset": 5},
        {"more": 1},
        {"attack": "no-such"},
        {"attack": None},
        {"rate": "x"},
        {"seed": -1},
        {"out": 3},
    ],
)
def test_damaged_configurations(home: Path, change: dict[str, object]) -> None:
    make_clean()
    folder = jobs.create(places.lab_folder(), {**PoisonConfig("clean").as_json(), **change}, "x")
    status = work.work_on(folder)
    assert status.state == "failed"
    assert "Unexpected" not in (status.error or "")


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_results_that_are_missing_or_damaged(home: Path, text: str | None) -> None:
    folder = job_of(PoisonConfig("clean"))
    if text is not None:
        (folder / "result.json").write_text(text)
    assert poison_job.result_of(folder) == {}


def test_the_demo_is_made_from_the_same_clean_images(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mspc_core import demo

    monkeypatch.setattr(demo, "TRAIN", 60)
    monkeypatch.setattr(demo, "TEST", 20)
    assert work.work_on(jobs.create(places.lab_folder(), {"kind": "signs"}, "signs")).state == "finished"
    clean = open_dataset(demo.CLEAN_NAME)
    assert (clean.info.count, clean.has_truth) == (80, False)
    assert demo.build_demo().info.source == demo.CLEAN_NAME
    lab = PoisonConfig(demo.CLEAN_NAME, rate=0.1, out="lab")
    made = poisoning.write(poisoning.prepare(lab), base.NOTHING)
    assert poison_job.scan_of(made).epochs == demo.EPOCHS
