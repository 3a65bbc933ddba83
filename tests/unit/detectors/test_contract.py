"""What every registered detector keeps to. A new detector is one more line in the registry, and is tested here."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from torch import nn

from mspc_core import detectors
from mspc_core.detectors.abl import ABLConfig
from mspc_core.detectors.base import CleanData, config_as_json
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.cognitive_distillation import CognitiveDistillationConfig
from mspc_core.detectors.mspc import MSPCConfig
from mspc_core.detectors.opinion import Blinding
from mspc_core.detectors.pattern import PatternConfig
from mspc_core.detectors.second_opinion import SecondOpinionConfig
from mspc_core.detectors.transplant import TransplantConfig
from mspc_core.errors import Cancelled, InputError

QUICK: dict[str, Any] = {
    "abl": ABLConfig(epochs=2),
    "cognitive_distillation": CognitiveDistillationConfig(steps=4),
    "mspc": MSPCConfig(inner_steps=8),
    "pattern": PatternConfig(steps=5),
    "second_opinion": SecondOpinionConfig(blinding=Blinding(first_epochs=2, epochs=2), refinements=1),
    "transplant": TransplantConfig(steps=12),
}  # configurations that make slow detectors quick enough for tests
STOPS_AT: dict[str, int] = {
    "spc": 1,
    "strip": 1,
    "mixture": 1,
}  # how often a detector with few batches asks whether to stop, where that is below 3


def clean_data(name: str, images: np.ndarray) -> CleanData | None:
    return CleanData(images[:20], np.arange(20) % 4) if CATALOG[name].needs.clean_data else None


def test_every_detector_is_described() -> None:
    assert list(CATALOG) == list(detectors.REGISTRY)


@pytest.mark.parametrize("name", list(detectors.REGISTRY))
def test_fit_gives_what_the_contract_names(name: str, tiny_model: nn.Module, random_images: np.ndarray) -> None:
    reports: list[tuple[int, int]] = []
    labels = np.arange(40) % 4
    before = random_images.copy()
    detector = detectors.create(name, QUICK.get(name))
    returned = detector.fit(
        tiny_model,
        random_images,
        labels=labels,
        clean=clean_data(name, random_images),
        progress=lambda done, total, _: reports.append((done, total)),
    )
    assert returned is detector
    assert detector.name == name
    assert detector.title
    assert detector.citation
    assert detector.decision_scores_.shape == (40,)
    assert np.isfinite(detector.decision_scores_).all()
    assert detector.labels_.dtype == bool
    assert (detector.labels_ == (detector.decision_scores_ > detector.threshold_.value)).all()
    assert detector.threshold_.rule in ("natural", "quantile")
    assert detector.threshold_.explanation
    assert detector.artifacts_.forward_equivalents >= 40
    assert reports
    assert all(0 <= done <= total for done, total in reports)
    assert (random_images == before).all()
    rebuilt = type(detector.config)(**json.loads(json.dumps(config_as_json(detector.config))))
    assert config_as_json(rebuilt) == config_as_json(detector.config)


@pytest.mark.parametrize("name", list(detectors.REGISTRY))
def test_stopping(name: str, tiny_model: nn.Module, random_images: np.ndarray) -> None:
    calls = iter(range(10_000))
    with pytest.raises(Cancelled):
        detectors.create(name, QUICK.get(name)).fit(
            tiny_model,
            random_images,
            labels=np.arange(40) % 4,
            clean=clean_data(name, random_images),
            should_stop=lambda: next(calls) >= STOPS_AT.get(name, 3),
        )
    assert all(parameter.requires_grad for parameter in tiny_model.parameters()), "the model is left as it was"


@pytest.mark.parametrize("name", list(detectors.REGISTRY))
def test_a_model_that_gives_nan_is_named(name: str, tiny_model: nn.Module, random_images: np.ndarray) -> None:
    nn.init.constant_(tiny_model.backbone.head.bias, float("nan"))
    with pytest.raises(InputError, match="NaN or infinite outputs on 40 of 40"):
        detectors.create(name, QUICK.get(name)).fit(
            tiny_model, random_images, labels=np.arange(40) % 4, clean=clean_data(name, random_images)
        )


@pytest.mark.parametrize("name", list(detectors.REGISTRY))
def test_read_only_memory_maps_are_fine(
    name: str, tiny_model: nn.Module, random_images: np.ndarray, tmp_path, recwarn: pytest.WarningsRecorder
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "pixels.u8").write_bytes(random_images.tobytes())
    mapped = np.memmap(tmp_path / "pixels.u8", dtype=np.uint8, mode="r", shape=random_images.shape)
    detectors.create(name, QUICK.get(name)).fit(
        tiny_model, mapped, labels=np.arange(40) % 4, clean=clean_data(name, random_images)
    )
    assert not [warning for warning in recwarn if "not writable" in str(warning.message)]


def test_unknown_detector() -> None:
    with pytest.raises(InputError, match="choose from spc, mspc"):
        detectors.create("telepathy")
