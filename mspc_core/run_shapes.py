"""What the files of a run folder must hold: `summary.json` key by key, `scores.parquet` column by column.

Pages, the report and exports count on it; what does not fit is refused where it is read, in one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from mspc_core.shapes import misfit

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Cell = float | str | bool | list[str] | None


class Verdict(TypedDict):
    level: Literal["poisoned", "no_evidence", "unknown"]
    text: NotRequired[str]
    scanned: int
    flagged: int
    detector: NotRequired[str | None]
    by: NotRequired[list[str] | None]
    rule: NotRequired[str | None]
    target_classes: NotRequired[list[dict[str, Cell]] | None]


class About(TypedDict):
    name: NotRequired[str | None]
    source: NotRequired[str | None]
    classes: list[str]
    scanned: NotRequired[int | None]
    skipped: NotRequired[int | None]
    content_key: NotRequired[str | None]
    recipe: NotRequired[dict[str, Any] | None]


class Model(TypedDict):
    arch: NotRequired[str | None]
    trained_here: NotRequired[bool | None]
    train_accuracy: NotRequired[float | None]
    val_accuracy: NotRequired[float | None]
    attack_success_rate: NotRequired[float | None]
    poor: NotRequired[bool | None]
    notes: NotRequired[list[str] | None]


class Threshold(TypedDict):
    value: float
    rule: str
    explanation: NotRequired[str]


class Record(TypedDict):
    title: str
    citation: NotRequired[str]
    config: dict[str, Any]
    threshold: Threshold
    flagged: int
    seconds: float
    forward_equivalents: float
    notes: list[str]
    tables: dict[str, Any]
    metrics: dict[str, float | None] | None


class Summary(TypedDict):
    complete: NotRequired[bool]
    verdict: Verdict
    dataset: About
    model: Model
    detectors: dict[str, Record]
    not_run: NotRequired[dict[str, str] | None]
    true_backdoors: NotRequired[int | None]


_TEXTS = ("name", "by")  # of a class's row; all else in it are numbers
_COLUMNS = {
    "sample_id": "text",
    "path": "text",
    "label": "whole",
    "predicted": "whole",
    "confidence": "number",
    "row": "whole",
    "original_label": "whole or nothing",
    "is_backdoor": "yes or no or nothing",
    "suspect": "yes or no",
    "suspect_score": "number",
}
_REQUIRED = ("sample_id", "path", "label", "predicted", "confidence", "row")
_ENDINGS = {"_score": "number", "_flagged": "yes or no"}


def summary_misfit(summary: Any) -> str | None:
    """The first part of a summary that is not as it must be, None if all is."""
    if place := misfit(summary, Summary):
        return place
    classes = len(summary["dataset"]["classes"])
    rows: list[tuple[str, Any]] = [("verdict.target_classes", summary["verdict"].get("target_classes") or [])]
    for name, record in summary["detectors"].items():
        for key, table in record["tables"].items():
            where = f"detectors.{name:.30}.tables.{key:.30}"
            if key == "classes":
                rows.append((where, table))
            elif misfit(table, list[dict[str, Any]] | dict[str, Any]):
                return where
    for where, table in rows:
        if misfit(table, list[dict[str, Cell]]) or not all(_is_class_row(row, classes) for row in table):
            return where
    return None


def _is_class_row(row: dict[str, Cell], classes: int) -> bool:
    number = row.get("class")
    if not isinstance(number, int) or not 0 <= number < classes:
        return False
    texts = {"name": str, "by": list[str]}
    return not any(misfit(value, texts[key] if key in _TEXTS else float | None) for key, value in row.items())


def scores_misfit(table: pa.Table, *, every: bool = True) -> str | None:
    """What is wrong with a table of scores, in a few words; None if it can be used. every: all columns were read, so
    that those which must be there are."""
    names = table.column_names
    if len(set(names)) < len(names):
        return "a column is there twice"
    missing = [name for name in _REQUIRED if name not in names] if every else []
    if missing:
        return f"it has no column {missing[0]}"
    for name in names:
        if not isinstance(name, str) or "\0" in name or name.startswith("__index"):
            return "a column has an odd name"
        ending = next((kind for end, kind in _ENDINGS.items() if name.endswith(end)), "")
        if (kind := _COLUMNS.get(name, ending)) and (why := _column_misfit(table.column(name), kind)):
            return f"column {name[:40]!r} {why}"
    return None


def _column_misfit(column: pa.ChunkedArray, kind: str) -> str | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    test, found = pa.types, column.type
    fits = {
        "text": test.is_string(found) or test.is_large_string(found) or test.is_string_view(found),
        "whole": test.is_integer(found) and not test.is_uint64(found),
        "number": test.is_floating(found) or test.is_integer(found),
        "yes or no": test.is_boolean(found),
    }
    if column.null_count == len(column) and kind.endswith("nothing"):
        return None
    if not fits[kind.removesuffix(" or nothing")]:
        return f"holds {str(found)[:40]}"
    if column.null_count and not kind.endswith("nothing") and kind != "number":
        return "has gaps"
    if kind == "whole" and len(column) and pc.max(pc.abs(column)).as_py() >= 2**31:
        return "holds numbers that are too large"
    return None


def masks_misfit(masks: dict[str, np.ndarray]) -> str | None:
    """What is wrong with the learned masks, None if they can be drawn: stacks [n, H, W] of finite numbers from 0 to 1
    (those of a detector), or curves."""
    import numpy as np

    for name, mask in masks.items():
        if mask.dtype.kind not in "fiub":
            return f"{name[:40]!r} holds no numbers"
        if not mask.size or mask.ndim not in (1, 3) or (mask.ndim == 3 and max(mask.shape[1:]) > 4096):
            return f"{name[:40]!r} has the shape {list(mask.shape)[:5]}"
        if not np.isfinite(mask).all():
            return f"{name[:40]!r} holds numbers that are not finite"
    return None
