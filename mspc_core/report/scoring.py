"""The detectors: method, settings and outcome of each; histograms of their scores; ROC curves where truth is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from mspc_core import distributions, verdict_words
from mspc_core.detectors.catalog import CATALOG
from mspc_core.report import charts
from mspc_core.report.material import Material
from mspc_core.report.tables import Cell, Table
from mspc_core.runs import DEFAULT_DETECTORS
from mspc_core.verdict import MEMBERS
from mspc_core.words import count, duration, percent, plural, short

_RULES = {"natural": "follows from the definition of the score", "quantile": "a quantile of the scores"}


@dataclass(frozen=True)
class Figure:
    """A chart (SVG) with its words. numbers: the same figure as a table. note: what the reader has to know."""

    chart: Markup
    caption: str
    numbers: Table
    note: str = ""


@dataclass(frozen=True)
class Method:
    """One detector: what it does, by whom, its rule, settings, and notes of this run."""

    title: str
    part_of_verdict: bool
    explains: str
    citation: str
    rule: str
    limits: str
    settings: list[tuple[str, str]]
    cost: str
    notes: list[str]


def order(names: Any) -> list[str]:
    """Tests of the verdict first, then the other defaults, then the catalogue's order."""
    place = {name: at for at, name in enumerate(dict.fromkeys((*MEMBERS, *DEFAULT_DETECTORS, *CATALOG)))}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def outcome_table(material: Material) -> Table:
    """One row a finished detector, with its figures as summary.json has them."""
    known = any(record.get("metrics") for record in material.records.values())
    columns = ["Detector", "Flagged", "Share", "Threshold"]
    if known:
        columns += ["AUROC", "AP", "TPR", "FPR", "TPR at 1 % FPR"]
    rows: list[list[str | Cell]] = []
    for name in order(material.records):
        record, total = material.records[name], max(1, len(material.scores))
        flagged = int(record.get("flagged") or 0)
        row: list[str | Cell] = [
            short(record.get("title", name), 60) + (" *" if name in MEMBERS else ""),
            count(flagged),
            Cell(percent(flagged / total), min(1.0, flagged / total)),
            number(threshold_of(record)),
        ]
        if known:
            metrics = record.get("metrics") or {}
            row += [number(metrics.get(key), 4) for key in ("auroc", "average_precision")]
            row += [percent(metrics.get(key)) for key in ("tpr", "fpr", "tpr_at_1_fpr")]
        rows.append(row)
    note = "* part of the consensus that gives the verdict; the others are there to compare with."
    return Table("Outcome of each detector", columns, rows, numbers=range(1, len(columns)), note=note)


def methods(material: Material) -> list[Method]:
    """Method and settings of each finished detector."""
    found = []
    for name in order(material.records):
        record, facts = material.records[name], CATALOG.get(name)
        rule = record.get("threshold") or {}
        kind = _RULES.get(str(rule.get("rule")), "chosen by hand")
        explanation = short(rule.get("explanation") or (facts.rule if facts else "not recorded"), 300)
        found.append(
            Method(
                title=short(record.get("title", name), 60),
                part_of_verdict=name in MEMBERS,
                explains=facts.explains if facts else "A detector that this version does not know.",
                citation=short(record.get("citation", ""), 300),
                rule=f"score above {number(threshold_of(record))}: {explanation} ({kind})",
                limits=facts.limits if facts else "",
                settings=[(short(key, 60), _setting(value)) for key, value in (record.get("config") or {}).items()],
                cost=f"{duration(record.get('seconds'))}; an image went through the model "
                f"{count(record.get('forward_equivalents') or 0)} times in all",
                notes=[short(note, 500) for note in record.get("notes") or []],
            )
        )
    return found


def histograms(material: Material) -> list[Figure]:
    """A histogram of each detector's scores with its threshold."""
    truth, found = material.truth(), []
    for place, name in enumerate(order(material.records), start=1):
        values, record = material.values(name), material.records[name]
        threshold = threshold_of(record)
        bins = distributions.histogram(values, truth, distributions.NATURAL_RANGE.get(name))
        title = short(record.get("title", name), 60)
        flagged = int(record.get("flagged") or 0)
        at = threshold if threshold is not None else float("nan")
        if np.isfinite(at):
            chart = charts.histogram(bins, at, title=title, number=place, flagged=flagged)
        else:
            chart = Markup("")
        missing = f"{plural(bins.missing, 'sample')} without a usable score; never flagged." if bins.missing else ""
        caption = f"{title}: {count(flagged)} of {count(len(values))} flagged"
        found.append(Figure(chart, caption, _bins_table(bins, at, title), missing))
    return found


def _bins_table(bins: distributions.Bins, threshold: float, title: str) -> Table:
    two = bins.backdoor is not None
    columns = ["Score from", "to", *(["Clean", "Backdoor"] if two else ["Samples"]), "Above the threshold"]
    rows: list[list[str | Cell]] = []
    for at in np.flatnonzero(bins.total > 0):
        counts = [count(bins.clean[at])] + ([count(bins.backdoor[at])] if bins.backdoor is not None else [])
        above = "yes" if bins.centres[at] > threshold + 1e-9 else "no"
        rows.append([f"{bins.edges[at]:.4g}", f"{bins.edges[at + 1]:.4g}", *counts, above])
    return Table(f"Numbers of the histogram: {title}", columns, rows, numbers=range(len(columns) - 1))


def roc_figure(material: Material) -> Figure | None:
    """ROC curves of all finished detectors; None where the truth is unknown or of one kind only."""
    truth = material.truth()
    if truth is None:
        return None
    curves = []
    for name in order(material.records):
        record = material.records[name]
        threshold = threshold_of(record)
        found = distributions.roc(material.values(name), truth, 0.0 if threshold is None else threshold)
        if found is not None:
            curves.append(charts.Curve(short(record.get("title", name), 30), found))
    if not curves:
        return None
    rows: list[list[str | Cell]] = [
        [curve.title, f"{curve.roc.auroc:.4f}", percent(curve.roc.point[1]), percent(curve.roc.point[0], 2)]
        for curve in sorted(curves, key=lambda curve: -curve.roc.auroc)
    ]
    table = Table(
        "Numbers of the ROC curves",
        ["Detector", "AUROC", "TPR at its threshold", "FPR at its threshold"],
        rows,
        (1, 2, 3),
    )
    caption = "ROC curves; marks show where each detector's own threshold puts it."
    note = "Up and to the left is better. Curves that coincide cover each other."
    return Figure(charts.roc(curves), caption, table, note)


def no_roc(material: Material) -> str:
    """Why there is no ROC curve."""
    if material.truth() is None:
        return (
            "There is no ROC curve: nobody knows for sure which of these images are poisoned, so how often the "
            "detectors are right on this data set cannot be measured."
        )
    return "There is no ROC curve: the data set holds only one kind of image, so there is nothing to separate."


def missing_detectors(material: Material) -> list[tuple[str, str]]:
    """Detectors that were asked for and have no result: title, reason."""
    refused = material.summary.get("not_run") or {}
    asked = [name for name in material.config.detectors if name not in material.records]
    waiting = {name: "it had not finished when this report was written" for name in asked if name not in refused}
    return [(verdict_words.title_of(name), short(reason, 400)) for name, reason in {**refused, **waiting}.items()]


def threshold_of(record: dict[str, Any]) -> float | None:
    value = (record.get("threshold") or {}).get("value")
    return float(value) if isinstance(value, int | float) else None


def number(value: Any, digits: int = 0) -> str:
    """A number in short; a dash for none and NaN. digits: after the point, 0 for as many as it needs."""
    if not isinstance(value, int | float) or value != value:
        return "–"
    return f"{value:.{digits}f}" if digits else f"{value:.4g}"


def _setting(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return short(json.dumps(value, ensure_ascii=False), 200)
    return "none" if value is None else short(value, 200)
