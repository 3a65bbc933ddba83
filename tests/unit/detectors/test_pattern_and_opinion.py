"""Pattern transplant, feature mixture and second opinion end to end: small networks on clean and poisoned shapes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.blend import Blend
from mspc_core.detectors.classwise import UNIMODAL
from mspc_core.detectors.mixture import Mixture
from mspc_core.detectors.opinion import Blinding
from mspc_core.detectors.pattern import Pattern, PatternConfig
from mspc_core.detectors.second_opinion import SecondOpinion, SecondOpinionConfig
from mspc_core.engine.forward import counting, predict_logits
from mspc_core.errors import InputError
from mspc_core.models.normalise import pixel_statistics
from mspc_core.models.train import TrainConfig, resolve, train_model
from mspc_core.models.zoo import ModelSpec, build_model
from tests.lab import shape_arrays

EACH, CLASSES, TARGET = 200, 4, 2
SIZE, SMALL = 24, 16  # for the pattern and for the second opinion, which takes long
PATTERN = PatternConfig(steps=40, partners=200)
# Enough epochs for a second model that is right on most clean images; by itself it would take 40.
OPINION = SecondOpinionConfig(blinding=Blinding(first_epochs=3, epochs=12), refinements=3)


class Case(NamedTuple):
    """A data set, what is poisoned in it, and a network that was trained on it. success: share of fresh images that
    the trigger turns as its attacker wants."""

    images: np.ndarray
    labels: np.ndarray
    poisoned: np.ndarray
    model: nn.Module
    success: float


def trained(images: np.ndarray, labels: np.ndarray, epochs: int) -> nn.Module:
    mean, std = pixel_statistics(images)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(ModelSpec("small-cnn", CLASSES, images.shape[1], mean, std))
        train_model(model, images, labels, resolve(TrainConfig(epochs=epochs), len(images), "small-cnn"))
    return model


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    """clean; blend: a faint picture makes class 2 of others; all-to-all: a patch makes the next class of each."""
    generator = np.random.default_rng(0)
    labels, truth = np.arange(CLASSES * EACH) % CLASSES, np.arange(CLASSES * 30) % CLASSES
    blend, patch = Blend(alpha=0.25), BadNets(size=3)
    blended = (generator.random(len(labels)) < 0.1) & (labels != TARGET)
    patched = generator.random(len(labels)) < 0.15
    plans = {
        "clean": (SIZE, None, np.zeros(len(labels), bool), labels, truth, 6),
        "blend": (SIZE, blend, blended, np.full_like(labels, TARGET), np.full_like(truth, TARGET), 6),
        "small clean": (SMALL, None, np.zeros(len(labels), bool), labels, truth, 8),
        "all-to-all": (SMALL, patch, patched, (labels + 1) % CLASSES, (truth + 1) % CLASSES, 8),
    }
    found = {}
    for name, (size, attack, poisoned, planted, wanted, epochs) in plans.items():
        images, fresh = shape_arrays(EACH, size=size)[0], shape_arrays(30, size=size, seed=1)[0]
        seen, given = images.copy(), np.where(poisoned, planted, labels)
        others, success = truth != wanted, 0.0
        if attack is not None:
            seen[poisoned] = attack.apply(images[poisoned], generator)
        model = trained(seen, given, epochs)
        if attack is not None:
            said = predict_logits(model, attack.apply(fresh[others], generator)).argmax(1).numpy()
            success = float((said == wanted[others]).mean())
        assert (predict_logits(model, fresh).argmax(1).numpy() == truth).mean() > 0.9, name
        found[name] = Case(seen, given, poisoned, model, success)
    return found


def test_the_attacks_work(cases: dict[str, Case]) -> None:
    assert cases["blend"].success > 0.8
    assert cases["all-to-all"].success > 0.8


def test_pattern_finds_the_blended_picture(cases: dict[str, Case]) -> None:
    case = cases["blend"]
    with counting(case.model) as count:
        found = Pattern(PATTERN).fit(case.model, case.images, labels=case.labels)
    assert found.labels_[case.poisoned].mean() > 0.95
    assert found.labels_[~case.poisoned].mean() < 0.01
    rows = found.artifacts_.tables["classes"]
    assert [row["class"] for row in rows if row["flagged"]] == [TARGET]
    assert rows[TARGET]["flagged"] == found.labels_.sum()
    assert rows[TARGET]["turned"] > 0.5
    assert found.artifacts_.forward_equivalents == count.equivalents
    mask = found.artifacts_.masks["pattern"]
    assert mask.shape == (CLASSES, SIZE, SIZE)
    grey = np.full((1, SIZE, SIZE, 3), 100, dtype=np.uint8)
    planted = Blend(alpha=0.25).apply(grey, np.random.default_rng(0))[0].astype(float).mean(2)
    assert np.corrcoef(mask[TARGET].ravel(), planted.ravel())[0, 1] > 0.5, "what it found is what was planted"


def test_pattern_flags_nothing_on_clean_data(cases: dict[str, Case]) -> None:
    case = cases["clean"]
    found = Pattern(PATTERN).fit(case.model, case.images, labels=case.labels)
    assert not found.labels_.any()
    assert found.decision_scores_.max() <= 0.5


def test_second_opinion_finds_labels_of_all_classes(cases: dict[str, Case]) -> None:
    case = cases["all-to-all"]
    state = torch.random.get_rng_state()
    found = SecondOpinion(OPINION).fit(case.model, case.images, labels=case.labels)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found.labels_[case.poisoned].mean() > 0.9
    assert found.labels_[~case.poisoned].mean() < 0.02
    rows = found.artifacts_.tables["classes"]
    assert all(row["flagged"] > 5 for row in rows)
    assert sum(row["flagged"] for row in rows) == found.labels_.sum()
    assert sum(row["samples"] for row in rows) == len(case.labels)
    assert all(row["contradicted_flagged"] > 0.5 > row["contradicted_others"] for row in rows)
    (evidence,) = found.artifacts_.tables["evidence"]
    assert evidence["nats"] >= evidence["asked"] == OPINION.certainty
    assert 0.5 < evidence["agreement"] < 1
    assert found.artifacts_.notes == []


def test_second_opinion_flags_nothing_on_clean_data(cases: dict[str, Case]) -> None:
    case = cases["small clean"]
    found = SecondOpinion(OPINION).fit(case.model, case.images, labels=case.labels)
    assert not found.labels_.any()
    (evidence,) = found.artifacts_.tables["evidence"]
    assert evidence["nats"] < OPINION.certainty
    assert evidence["agreement"] > 0.5, "it does say something about these images"
    assert "too little to flag anything" in found.artifacts_.notes[0]


def test_a_class_that_the_second_model_misjudges_is_no_evidence(cases: dict[str, Case]) -> None:
    """Undertrained, the second model takes most rings for something else: their label is usual, not suspicious."""
    case = cases["clean"]
    weak = SecondOpinionConfig(blinding=Blinding(first_epochs=3, epochs=8), refinements=3)
    found = SecondOpinion(weak).fit(case.model, case.images, labels=case.labels)
    contradicted = [row["contradicted_others"] for row in found.artifacts_.tables["classes"]]
    assert max(contradicted) > 0.5 > min(contradicted), "some class is misjudged, another is not"
    assert not found.labels_.any()


@pytest.mark.parametrize("settings", [{"steps": 0}, {"rounds": 0}, {"partners": 0}])
def test_impossible_settings_are_named(
    settings: dict[str, int], tiny_model: nn.Module, random_images: np.ndarray
) -> None:
    with pytest.raises(InputError, match="of at least 1"):
        Pattern(PatternConfig(**settings)).fit(tiny_model, random_images, labels=np.zeros(40, int))


def test_mixture_flags_nothing_where_classes_are_alike(cases: dict[str, Case]) -> None:
    """Clean shapes fall into two groups as well, and with poison in all classes none stands out."""
    for name in ("clean", "small clean", "all-to-all"):
        found = Mixture().fit(cases[name].model, cases[name].images, labels=cases[name].labels)
        rows = found.artifacts_.tables["classes"]
        assert max(row["explained"] for row in rows) > UNIMODAL, "that alone would not do"
        assert not found.labels_.any(), name


def test_mixture_sees_a_wider_split_in_the_blended_class(cases: dict[str, Case]) -> None:
    """Of four classes it does not stand out far enough to be flagged, but it is the one that stands out."""
    case = cases["blend"]
    found = Mixture().fit(case.model, case.images, labels=case.labels)
    rows = found.artifacts_.tables["classes"]
    assert max(rows, key=lambda row: row["anomaly_index"])["class"] == TARGET
    own = case.labels == TARGET
    inside, outside = found.decision_scores_[own & case.poisoned], found.decision_scores_[own & ~case.poisoned]
    assert (inside[:, None] > outside).mean() > 0.8
