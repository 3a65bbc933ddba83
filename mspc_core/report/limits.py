"""What the scan could not see: in general, because of this data and this model, and because tests did not run."""

from __future__ import annotations

from dataclasses import dataclass

from mspc_core import verdict_words
from mspc_core.detectors.catalog import CATALOG
from mspc_core.report.material import Material
from mspc_core.verdict import MEMBERS
from mspc_core.words import count, plural, short

GENERAL = (
    "A scan finds backdoors that the scanned model has learned. One that it did not learn, or a trigger that vanishes "
    "when images are resized, is not seen.",
    "Poison that keeps its correct label is found if its trigger is a region or an added pattern, or if it makes one "
    "class stand out as two groups in the model's features. What does none of these is not found.",
    "A case needs at least 5 poisoned samples in a class and 0.1 % of the data; fewer are not reported.",
    "Wrong labels without any attack (sloppy annotation of one kind of image) look the same to the second opinion as "
    "poison: it says that label and content part, not who did it.",
    "No evidence is not a proof of absence. A flag is a reason to look at an image, not a proof against it.",
)


@dataclass(frozen=True)
class Limits:
    """general: of the tests as such. tests: title and what each test of the verdict is known to miss. here: sentences
    on this run. missing: detectors that did not run: title, reason."""

    general: tuple[str, ...]
    tests: list[tuple[str, str]]
    here: list[str]
    missing: list[tuple[str, str]]


def limits(material: Material, missing: list[tuple[str, str]]) -> Limits:
    """Limits of what was tested in this run. missing: detectors without a result, and why."""
    tests = [(CATALOG[name].title, CATALOG[name].limits) for name in MEMBERS]
    return Limits(GENERAL, tests, _here(material), missing)


def _here(material: Material) -> list[str]:
    summary, found = material.summary, []
    if alone := verdict_words.rests_on(summary):
        found.append(alone)
    model = summary.get("model") or {}
    found += [short(note, 500) for note in model.get("notes") or []]
    if model.get("val_accuracy") is None:
        found.append("The model's accuracy on images it was not trained on is not known: there was no held-out split.")
    if model.get("attack_success_rate") is None:
        found.append(
            "Whether the model obeys a trigger was not measured directly, because no known trigger goes with this data."
        )
    if material.truth() is None:
        found.append("How many of the suspects are truly poisoned is not known; only a review of the images can tell.")
    skipped = int((summary.get("dataset") or {}).get("skipped") or 0)
    if skipped:
        found.append(f"Skipped on import and not examined: {plural(skipped, 'file')}.")
    if material.dataset is not None:
        info = material.dataset.info
        rest = info.count - len(material.scores)
        if rest > 0:
            found.append(
                f"{plural(rest, 'image')} of the other splits were not scanned; a scan examines training images."
            )
        if info.resized:
            size = f"{info.size} × {info.size}"
            found.append(
                f"{plural(info.resized, 'image')} had another size and were resized to {size} pixels; the tests saw "
                "only that."
            )
    else:
        found.append(f"The images are not in this report: {short(material.data_gone, 300)}")
    broken = _without_scores(material)
    found += [
        f"{title} has no usable score for {plural(number, 'sample')}; they count as not flagged."
        for title, number in broken
    ]
    found += [short(problem, 300) for problem in material.unreadable]
    return found


def _without_scores(material: Material) -> list[tuple[str, int]]:
    import numpy as np

    found = []
    for name, record in material.records.items():
        missing = int((~np.isfinite(material.values(name))).sum())
        if missing:
            found.append((short(record.get("title", name), 60), missing))
    return found


def cut_words(material: Material) -> str:
    """That long lists are cut, in a sentence."""
    return (
        f"Galleries and long tables are cut so that the report stays small; each says how much is left out. All "
        f"{count(len(material.scores))} scores are in scores.parquet of the run folder."
    )
