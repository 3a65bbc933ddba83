"""Every detector's passes go on in smaller pieces when memory runs out, with the same scores; trainings say so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors.abl import ABL, ABLConfig
from mspc_core.detectors.base import CleanData, Detector
from mspc_core.detectors.beatrix import Beatrix, BeatrixConfig
from mspc_core.detectors.cognitive_distillation import CognitiveDistillation, CognitiveDistillationConfig
from mspc_core.detectors.ibd_psc import IBDPSC, IBDPSCConfig
from mspc_core.detectors.opinion import Blinding, second_opinion
from mspc_core.detectors.pattern import Pattern, PatternConfig
from mspc_core.detectors.sdfct import SDFCT, SDFCTConfig
from mspc_core.detectors.spc import SPC
from mspc_core.detectors.spectral_signatures import SpectralSignatures
from mspc_core.detectors.strip import STRIP, STRIPConfig
from mspc_core.errors import MEMORY, InputError
from mspc_core.models import train
from tests.unit.engine.test_memory import ERRORS, Narrow

MAKERS: dict[str, Callable[[], Detector]] = {
    "spc": SPC,
    "strip": lambda: STRIP(STRIPConfig(overlays=5)),
    "pattern": lambda: Pattern(PatternConfig(steps=4, images_per_step=24, partners=20, rounds=2)),
    "beatrix": lambda: Beatrix(BeatrixConfig(band=1.0)),
    "cognitive_distillation": lambda: CognitiveDistillation(CognitiveDistillationConfig(steps=4)),
    "spectral_signatures": SpectralSignatures,
    "sdfct": lambda: SDFCT(SDFCTConfig(epochs=0, transformations=2)),
    "ibd_psc": lambda: IBDPSC(IBDPSCConfig(search_samples=20)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_scores_are_the_same(name: str, tiny_model: nn.Module, random_images: np.ndarray) -> None:
    labels = np.arange(40) % 4
    clean = CleanData(255 - random_images, labels)
    whole = MAKERS[name]().fit(tiny_model, random_images, labels=labels, clean=clean)
    narrow = Narrow(tiny_model, 9, ERRORS["cuda"])
    part = MAKERS[name]().fit(narrow, random_images, labels=labels, clean=clean)
    assert max(narrow.asked) > 9, "some did not fit"
    assert sum(size > 9 for size in narrow.asked) <= 9, "three times a pass at most: what fits is remembered"
    assert np.ptp(whole.decision_scores_) > 0
    np.testing.assert_allclose(part.decision_scores_, whole.decision_scores_, rtol=2e-3, atol=2e-4)


def test_a_training_is_not_made_another_one(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    narrow = Narrow(tiny_model, 9, ERRORS["cuda"])
    with pytest.raises(InputError, match="Memory ran out"):
        ABL(ABLConfig(epochs=1, batch_size=16)).fit(narrow, random_images, labels=np.arange(40) % 4)


def test_a_second_opinion_without_memory_is_none(random_images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise ERRORS["cuda"]()

    monkeypatch.setattr("mspc_core.detectors.opinion.train_model", no_room)
    with pytest.raises(InputError) as told:
        second_opinion(random_images, np.arange(40) % 4, 4, Blinding(), seed=0, device=torch.device("cpu"))
    assert str(told.value) == MEMORY
    assert train.train_model is not no_room
