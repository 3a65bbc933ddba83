"""New labels that a person confirmed: <run>/relabels.json, sample id → class. A suggestion alone changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mspc_core import atomic
from mspc_core.errors import InputError
from mspc_core.runs import Run

FILE = "relabels.json"


def read(run: Run) -> dict[str, int]:
    """What was confirmed so far; {} if nothing was."""
    try:
        raw = atomic.read_object(run.folder / FILE)
        return {str(key): int(label) for key, label in raw.items()}
    except FileNotFoundError:
        return {}
    except (OSError, TypeError, ValueError):
        raise InputError("The confirmed labels of this run cannot be read: confirm the suggestions again.") from None


def confirm(run: Run, labels: Mapping[str, int]) -> None:
    """Add (or change) confirmed labels. Raises `InputError` for a class that the data set does not have."""
    classes = len(run.class_names())
    wrong = [label for label in labels.values() if not 0 <= label < classes]
    if wrong:
        raise InputError(f"There is no class number {wrong[0]}: this data set has {classes} classes, from 0.")
    _write(run, {**_read_leniently(run), **labels})


def withdraw(run: Run, sample_ids: Iterable[str]) -> None:
    """Take confirmed labels back."""
    gone = set(sample_ids)
    _write(run, {key: label for key, label in _read_leniently(run).items() if key not in gone})


def read_table(path: str) -> dict[str, int]:
    """Labels from a CSV file with the columns `sample_id` and `suggested_label` (a `suggestions.csv`, edited by hand).
    Raises `InputError` when it is not one."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"sample_id": "str"})
        rows = table[["sample_id", "suggested_label"]].dropna()
        return {str(key): int(label) for key, label in rows.itertuples(index=False)}
    except FileNotFoundError:
        raise InputError(f"There is no file {path}: check the path.") from None
    except (OSError, ValueError, KeyError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path} cannot be read as a table with the columns sample_id and suggested_label ({reason})."
        ) from None


def _read_leniently(run: Run) -> dict[str, int]:
    try:
        return read(run)
    except InputError:  # damaged: what is confirmed now replaces it
        return {}


def _write(run: Run, labels: dict[str, int]) -> None:
    atomic.write_json(run.folder / FILE, labels)
