"""`scan --estimate`: counts are those that detectors report, and nothing is started."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mspc_core import home as homes
from mspc_core.cli import main
from mspc_core.console import duration
from mspc_core.data.writer import DatasetWriter
from mspc_core.detectors import REGISTRY, create
from mspc_core.detectors.base import CleanData
from mspc_core.detectors.opinion import Blinding
from mspc_core.engine.forward import predict_logits
from mspc_core.errors import InputError
from mspc_core.estimating import prices as prices_of
from mspc_core.estimating.asking import ask
from mspc_core.estimating.counts import COUNTS, Facts, Work
from mspc_core.estimating.estimate import seconds_of
from mspc_core.estimating.prices import Prices
from mspc_core.models.train import TrainConfig
from mspc_core.models.zoo import ModelSpec, build_model
from mspc_core.runs import ScanConfig

SMALLER: dict[str, dict[str, Any]] = {
    "mspc": {"inner_steps": 3, "rounds": 1},
    "transplant": {"steps": 4},
    "pattern": {"steps": 3, "rounds": 2},
    "second_opinion": {"blinding": Blinding(first_epochs=1, epochs=1), "components": 5},
    "cognitive_distillation": {"steps": 2},
    "abl": {"epochs": 1},
    "sdfct": {"epochs": 1, "transformations": 2},
}
FOUND_LATER = {"mspc", "transplant", "pattern", "mixture", "second_opinion", "ibd_psc", "beatrix"}


def test_every_detector_has_a_count() -> None:
    assert COUNTS.keys() == REGISTRY.keys()


@pytest.mark.parametrize("name", REGISTRY)
def test_the_count_is_what_the_detector_reports(name: str, tiny_model: Any, random_images: np.ndarray) -> None:
    labels = predict_logits(tiny_model, random_images).argmax(1).numpy()
    kind = type(create(name).config)
    config = kind(**SMALLER.get(name, {}))
    clean = CleanData(random_images[:30], labels[:30])
    sizes, trusted = (np.unique(found, return_counts=True)[1] for found in (labels, clean.labels))
    work = COUNTS[name](Facts(sizes, 4, 16, trusted, norms=5, statistics=500, features=256), config)
    detector = create(name, config).fit(tiny_model, random_images, labels=labels, clean=clean)
    low, expected, high = map(round, work.equivalents)
    assert low <= expected <= high
    assert low <= detector.artifacts_.forward_equivalents <= high
    if name not in FOUND_LATER:
        assert low == high


def test_time_is_work_times_prices() -> None:
    prices = Prices(forward=1.0, scaled=10.0, gradient=100.0, training=1000.0, small={16: 0.5}, flop=1e-3)
    work = Work(forwards=2, scaled=3, gradients=4, trained=5, small={16: 8}, flops=7000)
    assert seconds_of(work, prices) == pytest.approx(2 + 30 + 400 + 5000 + 4 + 7)


def test_small_trainings_are_priced_with_their_own_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves of three quarters of 3,200 images are 1,200 each: batches of 32, where all of them have 64."""
    facts = Facts(np.array([1600, 1600]), 2, 16, np.zeros(0, dtype=int), features=8, statistics=20)
    work = COUNTS["second_opinion"](facts, create("second_opinion").config)
    assert work.small_sets == {8: 1200, 16: 3200}
    assert work.small.keys() == work.small_sets.keys()
    priced: dict[int, int] = {}

    def training(_: Any, images: np.ndarray, __: Any, batch: int, *rest: Any) -> float:
        priced[images.shape[1]] = batch
        return 1.0

    monkeypatch.setattr(prices_of, "_training", training)
    monkeypatch.setattr(prices_of, "_timed", lambda *_: 1.0)
    images, labels = np.zeros((40, 16, 16, 3), np.uint8), np.arange(40) % 2
    model = build_model(ModelSpec("small-cnn", 2, 16))
    prices_of.measure(model, images, labels, TrainConfig(epochs=1, batch_size=16), work.small_sets)
    assert priced == {8: 32, 16: 64}


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0 s"), (89, "89 s"), (300, "5 min"), (7200, "2.0 h")])
def test_durations_are_said_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_estimate_starts_nothing(home: Path, random_images: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    with DatasetWriter("noise", size=16, classes=["a", "b"], kind="test", source="test") as writer:
        for number, image in enumerate(random_images):
            writer.add(image, identity=f"{number:016x}", path=f"{number}.png", label=number % 2)
        writer.commit(source_key="test")
    command = ["scan", "noise", "--detectors", "spc,beatrix", "--epochs", "2", "--device", "cpu", "--estimate"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in found["stages"]] == ["data", "model", "spc"]
    assert found["stages"][2]["forward_equivalents"] == [480, 480, 480]
    assert found["seconds"] == pytest.approx(sum(stage["seconds"] for stage in found["stages"]), abs=0.2)
    assert all(stage["seconds"] > 0 for stage in found["stages"])
    assert found["memory_mib"]["resident"] == found["memory_mib"]["anonymous"] + found["memory_mib"]["file"]
    assert found["memory_mib"]["anonymous"] >= max(stage["memory_mib"] for stage in found["stages"]) > 0
    assert (found["images"], found["classes"], found["epochs"], found["device_mib"]) == (40, 2, 2, None)
    assert "clean data" in found["not_run"]["beatrix"]
    assert list(homes.runs_folder().iterdir()) == []


def test_the_demo_is_built_before_it_is_estimated(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "demo", "--estimate"]) == 2
    assert "store them first, with `demo`" in capsys.readouterr().err
    assert list(homes.runs_folder().iterdir()) == []


def test_another_process_estimates_for_whoever_must_not_load_torch(home: Path, random_images: np.ndarray) -> None:
    with DatasetWriter("noise", size=16, classes=["a", "b"], kind="test", source="test") as writer:
        for number, image in enumerate(random_images):
            writer.add(image, identity=f"{number:016x}", path=f"{number}.png", label=number % 2)
        writer.commit(source_key="test")
    config = ScanConfig(source="test", dataset="noise", size=16, detectors=("spc",), epochs=1, device="cpu")
    found = ask(config)
    assert [stage["name"] for stage in found["stages"]] == ["data", "model", "spc"]
    assert found["stages"][2]["forward_equivalents"] == [480, 480, 480]
    with pytest.raises(InputError, match="gone"):
        ask(replace(config, dataset="gone"))
    with pytest.raises(InputError, match="not ready after 0 s"):
        ask(config, patience=0.01)
    assert list(homes.runs_folder().iterdir()) == []
