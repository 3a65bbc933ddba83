"""Single images: the strongest cases, and those that were closest to being decided the other way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mspc_core import verdict_words
from mspc_core.report import pictures
from mspc_core.report.material import NAME_LIMIT, Material
from mspc_core.report.pictures import Picture
from mspc_core.report.scoring import number, order
from mspc_core.verdict import MEMBERS
from mspc_core.words import percent, plural, short

STRONGEST, UNCERTAIN = 12, 9
_SCORES = 4  # of detectors, under one image


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
    by, flagged, values = ranking(material)
    if not by:
        return []
    usable = np.isfinite(values)
    falling = np.argsort(np.where(usable, -values, np.inf), kind="stable")
    falling = falling[usable[falling]]
    suspects, others = falling[flagged[falling]], falling[~flagged[falling]]
    title = "suspect score" if by == "suspect" else f"{verdict_words.title_of(by)} score"
    noun, found = ("suspect" if by == "suspect" else "flagged image"), []
    if len(suspects):
        text = f"Those with the highest {title}, of {plural(len(suspects), noun)}."
        found.append(_group(material, "Strongest cases", text, suspects[:STRONGEST]))
        weakest = suspects[STRONGEST:][::-1][:UNCERTAIN]
        if len(weakest):
            text = f"The {noun}s with the lowest {title}: the first to check for false alarms."
            found.append(_group(material, "Uncertain: barely suspected", text, weakest))
        text = f"The highest {title} among images that are no {noun}s: the first to check for missed poison."
        found.append(_group(material, "Uncertain: barely not suspected", text, others[:UNCERTAIN]))
    else:
        text = f"No image is a {noun}. These have the highest {title}: what came closest."
        found.append(_group(material, "Highest scores", text, others[: STRONGEST // 2]))
    unsure = {identity for identity, decision in material.decisions.items() if decision == "unsure"}
    chosen = np.flatnonzero(material.scores["sample_id"].isin(list(unsure)).to_numpy()) if unsure else np.zeros(0, int)
    if len(chosen):
        text = f"Reviewers could not decide on {plural(len(chosen), 'image')}."
        found.append(_group(material, "Marked unsure by reviewers", text, chosen[:UNCERTAIN]))
    return [group for group in found if group.cases]


def ranking(material: Material) -> tuple[str, np.ndarray, np.ndarray]:
    """What the cases are ordered by: its name, flags [N] and scores [N]; the name is empty where nothing has finished.

    The verdict's own score where the scan has come to it, else the best test that has finished.
    """
    if "suspect_score" in material.scores:
        return "suspect", material.flags("suspect"), material.values("suspect")
    names = [name for name in order(material.records) if f"{name}_score" in material.scores]
    verdict = (material.summary.get("verdict") or {}).get("detector")
    for name in (verdict, *MEMBERS, *names):
        if name in names:
            flags = material.flags("suspect") if "suspect" in material.scores else material.flags(name)
            return str(name), flags, material.values(str(name))
    return "", np.zeros(0, bool), np.zeros(0)


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
                        number(float(score[at])),
                        bool(flag[at]),
                    )
                    for key, (score, flag) in listed.items()
                ],
                tags=tags,
            )
        )
    return Group(title, text, cases)
