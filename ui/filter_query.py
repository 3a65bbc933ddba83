"""The shared filter as a part of the address, and as chips. Free of streamlit.

    show=suspects|flagged   class=2,5   by=spc,mspc   decision=keep,open   disagree=1   score=spc:0.5:1,mspc:-1:0
    text=…   agree=… (`ui.agreement`)   pick=… (`mspc_core.picks`)

Values come from strangers' links: each is compared with what the run has, and what does not fit is dropped and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mspc_core.picks import valid_name
from ui import agreement
from ui.filters import UNDECIDED, SampleFilter, title_of
from ui.text import plain

KEYS = ("show", "class", "by", "decision", "disagree", "score", "text", "agree", "pick")
DECISIONS = {UNDECIDED: "undecided", "keep": "keep", "remove": "remove", "unsure": "unsure"}
MOST_TEXT = 200
_EACH = 3  # up to so many values of one kind get a chip each


@dataclass(frozen=True)
class Chip:
    """One part of the filter. label: Markdown-safe. without: the filter when this chip is removed."""

    label: str
    without: SampleFilter


def to_query(wanted: SampleFilter) -> dict[str, str]:
    """The parts that are set, by their key in the address; {} for a filter that lets everything pass."""
    found = {
        "show": "suspects" if wanted.suspects else "flagged" if wanted.flagged else "",
        "class": ",".join(str(number) for number in wanted.classes),
        "by": ",".join(wanted.flagged_by),
        "decision": ",".join(wanted.decisions),
        "disagree": "1" if wanted.disagreement else "",
        "score": ",".join(f"{name}:{low:.6g}:{high:.6g}" for name, low, high in wanted.ranges),
        "text": wanted.text.strip(),
        "agree": agreement.as_text(wanted.agreement) if wanted.agreement else "",
        "pick": wanted.picked,
    }
    return {key: value for key, value in found.items() if value}


def from_query(query: Mapping[str, str], detectors: Sequence[str], classes: int) -> tuple[SampleFilter, list[str]]:
    """`to_query` read back, and one sentence on each part that does not fit this run and was left out.

    detectors: those with a result in the run. classes: number of its classes.
    """
    lost: list[str] = []

    def listed(key: str, known: Sequence[str], what: str) -> tuple[str, ...]:
        values = tuple(dict.fromkeys(part for part in query.get(key, "").split(",") if part))
        unknown = [value for value in values if value not in known]
        if unknown:
            lost.append(f"{what} {', '.join(repr(value[:30]) for value in unknown[:3])}")
        return tuple(value for value in values if value in known)

    numbers = [str(number) for number in range(classes)]
    show = listed("show", ("suspects", "flagged"), "the selection")
    agree = agreement.from_text(query.get("agree"), list(detectors))
    if query.get("agree") and agree is None:
        lost.append("an agreement of detectors that this run does not have")
    picked = query.get("pick", "")
    if picked and not valid_name(picked):
        lost.append("a pick that does not exist")
        picked = ""
    ranges, wrong = _ranges(query.get("score", ""), detectors)
    if wrong:
        lost.append(f"the score range {wrong[0][:40]!r}")
    wanted = SampleFilter(
        suspects="suspects" in show,
        flagged="flagged" in show,
        classes=tuple(int(number) for number in listed("class", numbers, "the class")),
        flagged_by=listed("by", detectors, "the detector"),
        decisions=listed("decision", tuple(DECISIONS), "the decision"),
        disagreement=query.get("disagree") == "1",
        ranges=ranges,
        text=query.get("text", "")[:MOST_TEXT],
        agreement=agree,
        picked=picked,
    )
    return wanted, lost


def _ranges(text: str, detectors: Sequence[str]) -> tuple[tuple[tuple[str, float, float], ...], list[str]]:
    found: dict[str, tuple[str, float, float]] = {}
    wrong = []
    for part in (part for part in text.split(",") if part):
        name, _, rest = part.partition(":")
        low, _, high = rest.partition(":")
        try:
            ends = (float(low), float(high))
        except ValueError:
            ends = (np.nan, np.nan)
        if name in detectors and np.isfinite(ends).all():
            found[name] = (name, *ends)
        else:
            wrong.append(part)
    return tuple(found.values()), wrong


def chips(wanted: SampleFilter, labels: Sequence[str]) -> list[Chip]:
    """What is filtered, part by part. labels: names of the classes."""
    found = []
    if wanted.suspects:
        found.append(Chip("suspects", replace(wanted, suspects=False)))
    if wanted.flagged:
        found.append(Chip("flagged by any", replace(wanted, flagged=False)))
    names = [f"class {plain(labels[number], 30)}" for number in wanted.classes]
    found += _each("classes", names, wanted.classes, lambda rest: replace(wanted, classes=rest))
    names = [f"flagged by {title_of(name)}" for name in wanted.flagged_by]
    found += _each("detectors", names, wanted.flagged_by, lambda rest: replace(wanted, flagged_by=rest))
    if wanted.decisions:
        words = " or ".join(DECISIONS[name] for name in wanted.decisions)
        found.append(Chip(f"decision: {words}", replace(wanted, decisions=())))
    if wanted.disagreement:
        found.append(Chip("detectors disagree", replace(wanted, disagreement=False)))
    for name, low, high in wanted.ranges:
        found.append(Chip(f"{title_of(name)} {low:.3g} to {high:.3g}", wanted.with_range(name, None)))
    if wanted.text.strip():
        found.append(Chip(f"“{plain(wanted.text, 30)}”", replace(wanted, text="")))
    if wanted.agreement is not None:
        found.append(Chip(plain(agreement.words_of(wanted.agreement), 60), replace(wanted, agreement=None)))
    if wanted.picked:
        found.append(Chip("picked images", replace(wanted, picked="")))
    return found


def _each(what, names, values, without):  # type: ignore[no-untyped-def]
    """A chip for each of a few values, one for all of many."""
    if len(values) > _EACH:
        return [Chip(f"{len(values)} {what}", without(()))]
    return [
        Chip(name, without(tuple(other for other in values if other != value)))
        for name, value in zip(names, values, strict=True)
    ]
