"""Before and after training again without the suspects: a pure function of what retrain.json holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mspc_core.report.tables import Cell, Table, cut_note, share_cell
from mspc_core.words import count, percent, short

MOST_CLASSES = 40
_DROPPED = {"flagged": "what the verdict suspects", "rejected": "what reviewers removed"}


@dataclass(frozen=True)
class Retrained:
    """text: what was dropped. tables: accuracy and attack success, accuracy by class."""

    text: str
    tables: list[Table]


def retrained(result: Mapping[str, Any] | None, classes: Sequence[str] = ()) -> Retrained | None:
    """The section, or None where nothing was trained again.

    result: `{"drop", "dropped", "kept", "before": {"accuracy", "attack_success_rate", "per_class_accuracy"},
    "after": {…}, "references": {"clean_part": {…} | null}, "estimated_asr": {"before", "after"}}`; what is missing in
    it is shown as not measured. classes: names in the order that the table of classes follows where it can.
    """
    if not result:
        return None
    before, after = _part(result, "before"), _part(result, "after")
    clean = _part(_part(result, "references"), "clean_part")
    estimate = _part(result, "estimated_asr")
    columns = [
        "Measured on held-out images",
        "Before",
        "After",
        *(["Trained on the truly clean part"] if clean else []),
    ]
    rows: list[list[str | Cell]] = [
        ["Accuracy", *_shares(before, after, clean, "accuracy")],
        ["Attack success rate, known trigger", *_shares(before, after, clean, "attack_success_rate")],
    ]
    note = ""
    if _number(estimate.get("before")) is not None or _number(estimate.get("after")) is not None:
        row: list[str | Cell] = ["Attack success rate, estimated", _cell(estimate, "before"), _cell(estimate, "after")]
        rows.append([*row, *(["–"] if clean else [])])
        note = (
            "The estimate uses the trigger as reconstructed from what the tests found, not the attacker's own: it can "
            "be too low where the reconstruction is poor."
        )
    tables = [Table("Before and after", columns, rows, range(1, len(columns)), note)]
    if (by_class := _by_class(before, after, classes)) is not None:
        tables.append(by_class)
    return Retrained(_text(result), tables)


def _text(result: Mapping[str, Any]) -> str:
    drop = str(result.get("drop", ""))
    what = _DROPPED.get(drop, short(drop, 80) if drop else "a selection")
    dropped, kept = _number(result.get("dropped")), _number(result.get("kept"))
    text = f"A new model was trained, from new weights and with the same recipe, without {what}"
    if dropped is not None and kept is not None:
        text += f": {count(dropped)} training images were left out and {count(kept)} kept"
    return text + "."


def _by_class(before: Mapping[str, Any], after: Mapping[str, Any], classes: Sequence[str]) -> Table | None:
    first, second = _part(before, "per_class_accuracy"), _part(after, "per_class_accuracy")
    names = list(dict.fromkeys((*(name for name in classes if name in first or name in second), *first, *second)))
    if not names:
        return None

    def change(name: str) -> float:
        one, two = _number(first.get(name)), _number(second.get(name))
        return two - one if one is not None and two is not None else 0.0

    if len(names) > MOST_CLASSES:  # then those that changed most
        names.sort(key=lambda name: -abs(change(name)))
    rows: list[list[str | Cell]] = [
        [short(name, 80), _cell(first, name), _cell(second, name), f"{100 * change(name):+.1f}"]
        for name in names[:MOST_CLASSES]
    ]
    columns = ["Class", "Before", "After", "Change, percentage points"]
    return Table("Accuracy by class", columns, rows, (1, 2, 3), cut_note(len(rows), len(names), "classes"))


def _shares(before: Mapping[str, Any], after: Mapping[str, Any], clean: Mapping[str, Any], key: str) -> list[Cell]:
    return [_cell(part, key) for part in ((before, after, clean) if clean else (before, after))]


def _cell(part: Mapping[str, Any], key: str) -> Cell:
    value = _number(part.get(key))
    return Cell("not measured") if value is None else share_cell(value, percent(value))


def _part(result: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = result.get(key)
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return float(value) if usable and abs(value) != float("inf") else None
