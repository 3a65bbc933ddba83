"""The first page: the verdict in words, the figures behind it, what each test says, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mspc_core import verdict_words
from mspc_core.report.material import Material
from mspc_core.verdict import MEMBERS
from mspc_core.words import count, percent, plural, short

HEADLINES = {
    "poisoned": "Likely poisoned",
    "no_evidence": "No evidence of a backdoor found",
    "unknown": "No verdict",
}
STATES = {"case": "has a case", "quiet": "no case", "missing": "not run"}


@dataclass(frozen=True)
class Tile:
    """One figure of the first page."""

    value: str
    label: str


@dataclass(frozen=True)
class TestLine:
    """What one test of the consensus says. state: case, quiet or missing."""

    title: str
    state: str
    words: str
    text: str


@dataclass(frozen=True)
class Overview:
    """level: poisoned, no_evidence or unknown. unfinished: a sentence where the run did not come to its end."""

    level: str
    headline: str
    sentence: str
    unfinished: str
    rests_on: str
    tiles: list[Tile]
    tests: list[TestLine]
    truth: str
    next_steps: list[str]
    warnings: list[str]


def overview(material: Material) -> Overview:
    """The verdict of a run, for readers of one page."""
    summary, verdict = material.summary, material.summary.get("verdict") or {}
    level = str(verdict.get("level", "unknown"))
    level = level if level in HEADLINES else "unknown"
    return Overview(
        level=level,
        headline=HEADLINES[level],
        sentence=_sentence(material, verdict, level),
        unfinished=_unfinished(material),
        rests_on=verdict_words.rests_on(summary),
        tiles=_tiles(material, verdict, level),
        tests=[
            TestLine(verdict_words.title_of(found.test), found.state, STATES[found.state], found.text)
            for found in verdict_words.lines(summary, material.config.detectors)
        ],
        truth=_truth(material),
        next_steps=_next_steps(material, level),
        warnings=[short(note, 500) for note in (summary.get("model") or {}).get("notes") or []],
    )


def _sentence(material: Material, verdict: dict[str, Any], level: str) -> str:
    if level == "unknown":
        tests = verdict_words.tests_words(MEMBERS)
        return f"None of the tests that give the verdict ({tests}) has finished in this run."
    return verdict_words.sentence(verdict, len(material.classes))


def _unfinished(material: Material) -> str:
    if material.complete and material.status.state == "finished":
        return ""
    state = {"running": "is still running", "queued": "is waiting to go on"}.get(material.status.state, "ended early")
    left = [name for name in material.config.detectors if name not in material.records]
    left = [name for name in left if name not in (material.summary.get("not_run") or {})]
    titles = ", ".join(verdict_words.title_of(name) for name in left) or "the closing summary"
    return f"This scan {state} ({short(material.status.state, 20)}); not computed yet: {titles}. Figures may change."


def _tiles(material: Material, verdict: dict[str, Any], level: str) -> list[Tile]:
    scanned, flagged = int(verdict.get("scanned") or 0), int(verdict.get("flagged") or 0)
    model = material.summary.get("model") or {}
    tiles = [Tile(count(scanned), "training images scanned")]
    if level != "unknown":
        share = f" ({percent(flagged / scanned)})" if scanned and flagged else ""
        tiles.append(Tile(count(flagged), f"suspected images{share}"))
    targets = verdict.get("target_classes") or []
    if level == "poisoned":
        many = verdict_words.spread(verdict, len(material.classes)) or not targets
        name = "none" if many else short(targets[0].get("name", "?"), 28)
        more = f" and {len(targets) - 1} more" if len(targets) > 1 and not many else ""
        tiles.append(Tile(name, ("no single target class" if many else f"suspected target class{more}")))
    if model.get("val_accuracy") is not None:
        tiles.append(Tile(percent(model["val_accuracy"]), "accuracy on held-out images"))
    if model.get("attack_success_rate") is not None:
        tiles.append(Tile(percent(model["attack_success_rate"]), "attack success rate of the known trigger"))
    tiles.append(Tile(count(len(material.decisions)), "images decided by reviewers"))
    return tiles


def _truth(material: Material) -> str:
    """How the verdict compares with the truth, where a lab data set recorded it."""
    truth = material.truth()
    if truth is None:
        return ""
    known = f"This is a lab data set: {count(truth.sum())} of these images are recorded as poisoned."
    if "suspect" not in material.scores:
        return known
    suspects = material.flags("suspect")
    missed, alarms = int((truth & ~suspects).sum()), int((suspects & ~truth).sum())
    return (
        f"{known} The suspects hold {count((truth & suspects).sum())} of them ({count(missed)} missed) and "
        f"{plural(alarms, 'clean image')} by mistake. No test was shown this record."
    )


def _next_steps(material: Material, level: str) -> list[str]:
    if level == "poisoned":
        steps = [
            "Do not put a model that was trained on these images to use.",
            "Look at the suspects (section 6 shows some) and decide which to remove; flags are reasons to look.",
            "Train again without the removed images and compare accuracy and attack success before and after.",
            "Ask the supplier how these images and labels came about; quote the content key of section 2.",
        ]
        open_suspects = int(material.flags("suspect").sum()) - _decided_suspects(material)
        if material.decisions and open_suspects > 0:
            steps.insert(2, f"{plural(open_suspects, 'suspect')} still without a reviewer's decision.")
        return steps
    if level == "no_evidence":
        return [
            "Nothing has to be removed on the strength of this scan.",
            "Read section 9: it lists the attacks that these tests cannot see.",
        ]
    return ["Finish the scan, with the tests that give the verdict, before anything is concluded from it."]


def _decided_suspects(material: Material) -> int:
    suspects = material.scores["sample_id"].to_numpy()[material.flags("suspect")]
    return sum(str(identity) in material.decisions for identity in suspects)
