"""Single images: the strongest cases, and those that were closest to being decided the other way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mspc_core.report import pictures
from mspc_core.report.material import NAME_LIMIT, Material
from mspc_core.report.pictures import Picture
from mspc_core.report.scoring import order
from mspc_core.verdict import MEMBERS
from mspc_core.words import percent, plural, short

STRONGEST, UNCERTAIN = 12, 8
_SCORES = 6  # of detectors, under one image


@dataclass(frozen=True)
class Case:
    """One sample as the report shows it. scores: detector, score, flagged. tags: suspect, truth, decision."""

    picture: Picture | None
    sample_id: str
    path: str
    label: str
    predicted: str
    scores: list[tuple[str, str, bool]]
    tags: list[tuple[str, str]]


@dataclass(frozen=True)
class Group:
    """Cases of one kind. note: what the reader has to know, such as how many more there are."""

    title: str
    text: str
    cases: list[Case]


def groups(material: Material) -> list[Group]:
    """Strongest first, then the uncertain ones on both sides of the line, then what reviewers were unsure of."""
    values = strength(material)
    if values is None:
        return []
    decided = "suspect" in material.scores
    flagged = material.flags("suspect") if decided else np.floor(values) > 0
    falling = np.argsort(-values, kind="stable")
    suspects, others = falling[flagged[falling]], falling[~flagged[falling]]
    noun, found = ("suspect" if decided else "flagged image"), []
    if len(suspects):
        text = f"Of {plural(len(suspects), noun)}, those that most tests flag and that have the highest scores."
        found.append(_group(material, "Strongest cases", text, suspects[:STRONGEST]))
        text = f"The {noun}s that fewest tests flag, lowest scores first: look here for false alarms."
        weakest = suspects[STRONGEST:][::-1][:UNCERTAIN]
        found.append(_group(material, "Uncertain: barely suspected", text, weakest))
        text = f"Of the images that are no {noun}s, those with the highest scores: look here for missed poison."
        found.append(_group(material, "Uncertain: barely not suspected", text, others[:UNCERTAIN]))
    else:
        text = f"No image is a {noun}. These came closest: flagged without a case, or with the highest scores."
        found.append(_group(material, "Highest scores", text, others[:STRONGEST]))
    unsure = [identity for identity, decision in material.decisions.items() if decision == "unsure"]
    chosen = np.flatnonzero(material.scores["sample_id"].isin(unsure).to_numpy())
    text = f"Reviewers could not decide on {plural(len(chosen), 'image')}."
    found.append(_group(material, "Marked unsure by reviewers", text, chosen[:UNCERTAIN]))
    return [group for group in found if group.cases]


def strength(material: Material) -> np.ndarray | None:
    """How strongly the samples stand out, float [N]: how many tests flag a sample, plus its best rank below 1.

    Tests are those of the verdict that have finished, else all detectors that have; where some of them flag samples,
    only these: the second opinion's ranking says nothing while it flags nobody. A rank is the share of samples with a
    lower score; equal scores (and what differs in the fourth digit) share the lowest. None where nothing finished.
    """
    finished = [name for name in order(material.records) if f"{name}_score" in material.scores]
    names = [name for name in finished if name in MEMBERS] or finished
    if not names:
        return None
    names = [name for name in names if material.flags(name).any()] or names
    flags, best = np.zeros(len(material.scores)), np.zeros(len(material.scores))
    for name in names:
        flags += material.flags(name)
        values = np.nan_to_num(material.values(name), nan=-np.inf, posinf=np.inf, neginf=-np.inf).round(3)
        best = np.maximum(best, np.searchsorted(np.sort(values), values, side="left") / max(1, len(values)))
    found: np.ndarray = flags + best
    return found


def _group(material: Material, title: str, text: str, positions: np.ndarray) -> Group:
    images = material.pictures(positions)
    rows, truth = material.scores.iloc[positions], material.truth()
    names = [name for name in order(material.records) if f"{name}_score" in rows][:_SCORES]
    listed = {name: (material.values(name)[positions], material.flags(name)[positions]) for name in names}
    suspects, cases = material.flags("suspect")[positions], []
    columns = (rows[name].tolist() for name in ("sample_id", "path", "label", "predicted", "confidence"))
    for at, (identity, path, label, predicted, confidence) in enumerate(zip(*columns, strict=True)):
        tags = [("suspect", "flagged")] if suspects[at] else []
        if truth is not None:
            tags.append(("truth: backdoor", "bad") if truth[positions[at]] else ("truth: clean", "good"))
        if str(identity) in material.decisions:
            tags.append((f"decided: {short(material.decisions[str(identity)], 10)}", "decided"))
        name = material.name_of(int(predicted))
        alt = f"Sample {short(identity, 40)}, predicted {name}"
        cases.append(
            Case(
                picture=pictures.thumbnail(images[at], alt) if images is not None else None,
                sample_id=short(identity, 40),
                path=short(path, 120),
                label=material.name_of(int(label)),
                predicted=f"{name} ({percent(float(confidence), 0)})",
                scores=[
                    (
                        short(material.records[key].get("title", key), NAME_LIMIT),
                        _score(float(score[at])),
                        bool(flag[at]),
                    )
                    for key, (score, flag) in listed.items()
                ],
                tags=tags,
            )
        )
    return Group(title, text, cases)


def _score(value: float) -> str:
    """Three digits after the point; large ones in short; a dash where there is none."""
    if not np.isfinite(value):
        return "no score"
    return f"{value:.4g}" if abs(value) >= 1000 else f"{value + 0.0:.3f}".replace("-0.000", "0.000")
