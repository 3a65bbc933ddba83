"""One row a class: what the detectors flag in it, and what the tests of the verdict say of it. Free of streamlit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ui.detector_facts import MEMBERS
from ui.filters import detector_names, flags_of, known_truth

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ClassRow:
    """One predicted class: how many samples, how many each detector flags, and what the verdict's tests say of it.

    rate: mean transplant rate. turned: share of other images that the class's pattern turns. groups: anomaly index
    of the feature mixture. contradicted: share of the flagged samples with this label that the second opinion
    contradicts; None where it flags none. index: the largest anomaly index of the others. by: the tests that name the
    class as a target.
    """

    number: int
    samples: int
    labelled: int
    flagged: dict[str, int]
    rate: float | None = None
    turned: float | None = None
    groups: float | None = None
    contradicted: float | None = None
    index: float | None = None
    target: bool = False
    by: tuple[str, ...] = ()
    backdoors: int | None = None


def class_rows(scores: pd.DataFrame, classes: int, summary: dict[str, Any]) -> list[ClassRow]:
    """One row a class, suspected targets first, then by what turns most. summary: the run's summary.json."""
    predicted, labels, truth = scores["predicted"].to_numpy(), scores["label"].to_numpy(), known_truth(scores)
    samples, labelled = _per_class(predicted, classes), _per_class(labels, classes)
    names = detector_names(scores.columns)
    flagged = {name: _per_class(predicted[flags_of(scores, name)], classes) for name in names}
    bad = _per_class(predicted[truth], classes) if truth is not None else None
    rows = [
        ClassRow(
            number,
            int(samples[number]),
            int(labelled[number]),
            {name: int(flagged[name][number]) for name in names},
            backdoors=None if bad is None else int(bad[number]),
        )
        for number in range(classes)
    ]
    return sorted(_with_rates(rows, summary), key=_telling_first)


def _per_class(numbers: np.ndarray, classes: int) -> np.ndarray:
    """How often each class occurs, int [C]. A damaged table may name others: they are left out."""
    return np.bincount(numbers[(numbers >= 0) & (numbers < classes)], minlength=classes)


def _telling_first(row: ClassRow) -> tuple[bool, float, int]:
    return not row.target, -max(row.rate or 0.0, row.turned or 0.0), -row.samples


def _with_rates(rows: list[ClassRow], summary: dict[str, Any]) -> list[ClassRow]:
    tables = {name: _class_table(summary, name) for name in MEMBERS}
    named = {int(row["class"]): row for row in (summary.get("verdict") or {}).get("target_classes") or []}
    # The feature mixture has an index of its own, with a limit of its own.
    indices = _largest_indices({name: table for name, table in tables.items() if name != "mixture"})
    transplant, pattern, mixture, opinion = (
        tables[name] for name in ("transplant", "pattern", "mixture", "second_opinion")
    )
    return [
        replace(
            row,
            rate=_value(transplant, row.number, "transplant_rate"),
            turned=_value(pattern, row.number, "turned"),
            groups=_value(mixture, row.number, "anomaly_index"),
            contradicted=_value(opinion, row.number, "contradicted_flagged")
            if _value(opinion, row.number, "flagged")
            else None,
            index=indices.get(row.number),
            target=row.number in named,
            by=tuple(named.get(row.number, {}).get("by") or ()),
        )
        for row in rows
    ]


def _class_table(summary: dict[str, Any], detector: str) -> dict[int, dict[str, Any]]:
    """What a detector wrote of each class; {} where it has not run."""
    record = (summary.get("detectors") or {}).get(detector) or {}
    return {int(row["class"]): row for row in (record.get("tables") or {}).get("classes") or []}


def _value(table: dict[int, dict[str, Any]], number: int, key: str) -> float | None:
    found = table.get(number, {}).get(key)
    return None if found is None else float(found)


def _largest_indices(tables: dict[str, dict[int, dict[str, Any]]]) -> dict[int, float]:
    from mspc_core.verdict import anomaly_indices

    found: dict[int, float] = {}
    for table in tables.values():
        rows = [{**row, "predicted": row.get("predicted", row.get("samples", 0))} for row in table.values()]
        for row, index in zip(rows, anomaly_indices(rows), strict=True):
            number = int(row["class"])
            found[number] = max(index, found.get(number, index))
    return found
