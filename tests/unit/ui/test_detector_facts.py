"""What the app says of detectors comes from the catalogue, for every one that is registered."""

from __future__ import annotations

import numpy as np
import pytest

from mspc_core.detectors import REGISTRY
from mspc_core.detectors.base import Needs
from mspc_core.detectors.catalog import CATALOG
from mspc_core.runs import DEFAULT_DETECTORS
from ui import detector_facts, theme
from ui.detector_facts import by_family, ordered_names, situation


def test_every_registered_detector_is_offered_once() -> None:
    offered = [name for names in by_family(detector_facts.known()).values() for name in names]
    assert sorted(offered) == sorted(REGISTRY)


def test_titles_tell_detectors_apart() -> None:
    """Columns of tables and axes of figures are named by them."""
    titles = [facts.title for facts in CATALOG.values()]
    assert len(set(titles)) == len(titles)


def test_the_defaults_come_first_and_strangers_last() -> None:
    found = ordered_names(["zzz", *reversed(list(CATALOG)), "aaa"])
    assert tuple(found[: len(DEFAULT_DETECTORS)]) == DEFAULT_DETECTORS
    assert found[-2:] == ["aaa", "zzz"]


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (Needs(), "nothing but the model"),
        (Needs(labels=True, batch_norm=True, min_per_class=5), "labels, BatchNorm layers, 5 samples in every class"),
        (Needs(clean_data=True, min_classes=3), "trusted images, 3 classes"),
    ],
)
def test_needs_in_words(needs: Needs, words: str) -> None:
    assert detector_facts.needs_words(needs) == words


def test_the_first_sentence_is_kept_whole() -> None:
    assert detector_facts.short_words("One, e.g. this one. Two.") == "One, e.g. this one."
    assert detector_facts.short_words("No full stop") == "No full stop"


def test_what_is_known_before_a_scan() -> None:
    here = situation(np.array([0, 0, 2, 2, 2]), trusted=True, arch="resnet18")
    assert (here.classes, here.smallest_class, here.clean_data, here.batch_norm) == (2, 2, True, None)
    unknown = situation(None, trusted=False, arch="small-cnn")
    assert unknown.classes > 10**6
    assert unknown.smallest_class > 10**6


@pytest.mark.parametrize(
    ("arch", "batch_norm"),
    [("tiny-vit", False), ("vit_b_16", False), ("vgg11", False), ("vgg11_bn", None), ("resnet18", None), ("own", None)],
)
def test_architectures_without_batch_norm_are_known(arch: str, batch_norm: bool | None) -> None:
    assert situation(None, trusted=False, arch=arch).batch_norm is batch_norm


def test_only_what_stands_in_the_way_is_an_obstacle() -> None:
    trusted = detector_facts.obstacles(situation(None, trusted=True, arch="resnet18"))
    assert trusted == {}
    few = detector_facts.obstacles(situation(np.array([0, 1]), trusted=False, arch="tiny-vit"))
    expected = {
        name
        for name, facts in CATALOG.items()
        if facts.needs.clean_data
        or facts.needs.batch_norm
        or facts.needs.min_classes > 2
        or facts.needs.min_per_class > 1
    }
    assert set(few) == expected


def test_no_two_of_sixteen_lines_look_the_same() -> None:
    styles = [theme.line_style(number) for number in range(16)]
    assert len({(style.colour, style.dash) for style in styles}) == 16
    assert len({style.colour for style in styles}) == 8
    assert theme.detector_colour("transplant") == "#009E73"
    assert theme.detector_style("unknown") == theme.detector_style("unknown")
