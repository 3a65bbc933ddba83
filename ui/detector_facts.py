"""What the app says of detectors, from `mspc_core.detectors.catalog`: order, families, needs. Free of streamlit."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from mspc_core import verdict_words
from mspc_core.detectors.base import Needs, Situation, obstacle
from mspc_core.detectors.catalog import CATALOG
from mspc_core.runs import DEFAULT_DETECTORS
from mspc_core.verdict_words import MEMBERS

FAMILIES: dict[str, str] = {
    "ours": "This project",
    "scaling": "Scaling",
    "classic": "Classics",
    "modern": "Newer methods",
}
# Where there are no suspects yet, pages start with the last of these that has something to show.
TELLING = ("spc", "mspc", *MEMBERS)
SUSPECT = "suspect"  # the verdict's own score and flags, in tables beside those of the detectors
_NOT_KNOWN = 10**9  # stands for any number of classes or samples that has not been counted yet
_NO_BATCH_NORM = re.compile(r"tiny-vit|vit_.*|swin_.*|convnext_.*|alexnet|squeezenet.*|vgg\d+")


def known() -> tuple[str, ...]:
    """All detectors, in the catalogue's order."""
    return tuple(CATALOG)


def title_of(detector: str) -> str:
    """A detector's name as people write it; its own for one that is not in the catalogue (an old run's)."""
    if detector == SUSPECT:
        return "Suspect"
    return verdict_words.title_of(detector)


def ordered_names(names: Iterable[str]) -> list[str]:
    """The defaults first, then the catalogue's order, then names that nobody knows by the alphabet."""
    place = {name: number for number, name in enumerate(dict.fromkeys((*DEFAULT_DETECTORS, *CATALOG)))}
    return sorted(set(names), key=lambda name: (place.get(name, len(place)), name))


def by_family(names: Iterable[str]) -> dict[str, list[str]]:
    """Title of the family → its detectors, in `ordered_names`'s order; families without any are left out."""
    found: dict[str, list[str]] = {title: [] for title in FAMILIES.values()}
    for name in ordered_names(names):
        if name in CATALOG:
            found[FAMILIES[CATALOG[name].family]].append(name)
    return {title: members for title, members in found.items() if members}


def needs_words(needs: Needs) -> str:
    """What a detector cannot do without, in words."""
    parts = [
        "trusted images" if needs.clean_data else "",
        "labels" if needs.labels else "",
        "gradients of the model" if needs.gradients else "",
        "BatchNorm layers" if needs.batch_norm else "",
        f"{needs.min_classes} classes" if needs.min_classes > 2 else "",
        f"{needs.min_per_class} samples in every class" if needs.min_per_class > 1 else "",
    ]
    return ", ".join(part for part in parts if part) or "nothing but the model"


def short_words(text: str) -> str:
    """The first sentence."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip(), maxsplit=1)[0]


def situation(labels: np.ndarray | None, *, trusted: bool, arch: str) -> Situation:
    """What is known before a scan starts. labels: int [N] of the images to be scanned, None while they are not there
    (then nothing is refused for their numbers). arch: name of the architecture."""
    batch_norm = False if _NO_BATCH_NORM.fullmatch(arch) else None
    if labels is None or not len(labels):
        return Situation(_NOT_KNOWN, _NOT_KNOWN, clean_data=trusted, batch_norm=batch_norm)
    counts = np.unique(labels, return_counts=True)[1]
    return Situation(len(counts), int(counts.min()), clean_data=trusted, batch_norm=batch_norm)


def obstacles(here: Situation) -> dict[str, str]:
    """Detector → why it cannot run here, as a sentence without a subject. Those that can are left out."""
    return {name: reason for name, facts in CATALOG.items() if (reason := obstacle(facts.needs, here))}
