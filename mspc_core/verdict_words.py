"""What a verdict says, in words; also of runs from before it was a consensus of tests.

Shared by the app's pages (as `ui.verdicts`) and the report. Names of classes are cut to one line but not escaped: who
shows them as Markdown or HTML does that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from mspc_core.detectors.catalog import CATALOG
from mspc_core.words import count, percent, short

# The tests whose consensus is the verdict: `mspc_core.verdict.MEMBERS`, without loading pandas.
MEMBERS = ("transplant", "pattern", "mixture", "second_opinion")
_NAMES = {
    "transplant": "the transplant test",
    "pattern": "the pattern transplant",
    "mixture": "the feature mixture",
    "second_opinion": "the second opinion",
}
_MOST_TARGETS = 0.5  # of the classes, as in `mspc_core.verdict`
POOR_MODEL = "The model learned too little to show what is in the data: train longer, or choose another model."


class Finding(NamedTuple):
    """What one test of the consensus says. state: case, quiet (no case) or missing (it has not run)."""

    test: str
    state: str
    text: str


def title_of(detector: str) -> str:
    """A detector's name as people write it; its own for one that is not in the catalogue (an old run's)."""
    return CATALOG[detector].title if detector in CATALOG else detector


def level_of(summary: dict[str, Any]) -> str:
    """The verdict's level, for a badge: `poor_model` where nothing was found in a model that learned too little to
    tell, which is not the same as `no_evidence`."""
    level = str((summary.get("verdict") or {}).get("level", "unknown"))
    poor = bool((summary.get("model") or {}).get("poor"))
    return "poor_model" if level == "no_evidence" and poor else level


def having_a_case(verdict: dict[str, Any]) -> list[str]:
    """The tests that have a case. Old runs name one detector instead, the transplant test."""
    if verdict.get("level") != "poisoned":
        return []
    found = verdict.get("by") or [verdict.get("detector") or "transplant"]
    return [name for name in MEMBERS if name in found]


def finished(summary: dict[str, Any]) -> list[str]:
    """The tests of the consensus that have finished in a run."""
    return [name for name in MEMBERS if name in (summary.get("detectors") or {})]


def tests_words(names: Iterable[str]) -> str:
    """("transplant", "pattern") → "the transplant test and the pattern transplant"."""
    words = [_NAMES.get(name, title_of(name)) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def spread(verdict: dict[str, Any], classes: int) -> bool:
    """Are so many classes named that there is no single target (labels changed at random, or class by class)?"""
    named = len(verdict.get("target_classes") or [])
    return classes > 0 and named > max(1, _MOST_TARGETS * classes)


def target_words(verdict: dict[str, Any], classes: int) -> str:
    """The target classes in words, for the middle of a sentence. classes: how many the data set has."""
    names = [f"“{short(row.get('name', '?'), 40)}”" for row in verdict.get("target_classes") or []]
    if spread(verdict, classes):
        return f"labels of {len(names)} of {classes} classes, no single target"
    if not names:
        return "no class stands out as the target"
    return f"target {', '.join(names[:3])}" + (", …" if len(names) > 3 else "")


def rests_on(summary: dict[str, Any]) -> str:
    """A sentence where the verdict rests on fewer than all its tests, else nothing."""
    here = finished(summary)
    gone = [name for name in MEMBERS if name not in here]
    if not here or not gone:
        return ""
    verb = "has" if len(gone) == 1 else "have"
    lacking = tests_words(gone)
    return f"The verdict rests on {tests_words(here)} alone; {lacking} {verb} not run."


def sentence(verdict: dict[str, Any], classes: int) -> str:
    """What was found, in two or three sentences."""
    level, scanned = verdict.get("level"), count(verdict.get("scanned", 0))
    if level == "poisoned":
        by = tests_words(having_a_case(verdict))
        return (
            f"{count(verdict.get('flagged', 0))} of {scanned} training images look backdoored: "
            f"{target_words(verdict, classes)}. Found by {by}. Look at them before you remove any."
        )
    if level == "no_evidence":
        return (
            f"No test found a case against the {scanned} training images. That is not a proof of absence: each test "
            "has triggers it cannot see."
        )
    return str(verdict.get("text", ""))


def lines(summary: dict[str, Any], asked: Iterable[str]) -> list[Finding]:
    """One line a test. summary: of summary.json; asked: the detectors of the scan's configuration."""
    verdict, records = summary.get("verdict") or {}, summary.get("detectors") or {}
    refused, cases, asked = summary.get("not_run") or {}, having_a_case(verdict), set(asked)
    found = []
    for name in MEMBERS:
        if name in cases:
            found.append(Finding(name, "case", _case(name, verdict, records.get(name) or {})))
        elif name in records:
            flagged = int(records[name].get("flagged") or 0)
            stray = f" ({count(flagged)} flagged, too few or in no class that stands out)" if flagged else ""
            found.append(Finding(name, "quiet", f"no case{stray}"))
        elif name in refused:
            found.append(Finding(name, "missing", f"could not run: {short(refused[name], 200)}"))
        else:
            found.append(Finding(name, "missing", "has not finished" if name in asked else "not part of this scan"))
    return found


def _case(name: str, verdict: dict[str, Any], record: dict[str, Any]) -> str:
    targets = verdict.get("target_classes") or []
    named = [row for row in targets if name in row.get("by", [name])]
    tables = record.get("tables") or {}
    rows = {row.get("class"): row for row in tables.get("classes") or []}
    best = [rows.get(row.get("class"), {}) for row in named]
    if name == "second_opinion":
        evidence = (tables.get("evidence") or [{}])[0]
        nats = evidence.get("nats")
        strength = "" if nats is None else f"; {nats:,.0f} nats of evidence, {evidence.get('asked', 0):g} are asked for"
        return f"{count(record.get('flagged', 0))} images whose label their content contradicts{strength}"
    names = ", ".join(f"“{short(row.get('name', '?'), 40)}”" for row in named[:3]) + (", …" if len(named) > 3 else "")
    if name == "mixture":
        index = max((float(row.get("anomaly_index") or 0.0) for row in best), default=0.0)
        return f"the network sees two groups in {names}; anomaly index {index:,.1f}, above 7.4 stands out"
    key, what = ("strength", "region") if name == "transplant" else ("turned", "pattern")
    shares = [float(row[key]) for row in best if row.get(key) is not None]
    turns = f"turns {percent(max(shares), 0)} of other images into" if shares else "turns most other images into"
    return f"its {what} {turns} {names}"
