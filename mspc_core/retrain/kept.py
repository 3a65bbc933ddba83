"""The list of samples that a training leaves out or gives another label: a CSV file beside what was trained with it.

    sample_id,action,label        action: drop (label empty) or relabel (label: number of the class)

Review decisions and flags may change later; what a model was trained on must not, so it is written down.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mspc_core import atomic
from mspc_core.errors import InputError, one_line
from mspc_core.files import open_regular

FILE = "selection.csv"
_HEADER = ["sample_id", "action", "label"]


@dataclass(frozen=True)
class Choice:
    """dropped: sample ids that are left out. labels: sample id → class that counts instead of the stored one."""

    dropped: frozenset[str] = frozenset()
    labels: dict[str, int] = field(default_factory=dict)

    def after(self, earlier: Choice) -> Choice:
        """Both choices together; this one was made on what `earlier` had kept."""
        labels = {**earlier.labels, **self.labels}
        dropped = self.dropped | earlier.dropped
        return Choice(dropped, {key: label for key, label in labels.items() if key not in dropped})


def write_choice(path: Path, choice: Choice) -> None:
    """Atomically, in the order of the ids, so that equal choices give equal files."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows([key, "drop", ""] for key in sorted(choice.dropped))
    writer.writerows([key, "relabel", label] for key, label in sorted(choice.labels.items()))
    atomic.write_bytes(path, text.getvalue().encode())


def read_choice(path: Path) -> Choice:
    """Raises `InputError` when the file is gone or damaged: training on something else would pass unnoticed."""
    try:
        with open_regular(path) as handle:
            rows = list(csv.reader(io.TextIOWrapper(handle, encoding="utf-8", newline="")))
        if (
            not rows
            or rows[0] != _HEADER
            or any(len(row) != 3 or row[1] not in ("drop", "relabel") for row in rows[1:])
        ):
            raise ValueError("not such a list")
        dropped = frozenset(row[0] for row in rows[1:] if row[1] == "drop")
        return Choice(dropped, {row[0]: int(row[2]) for row in rows[1:] if row[1] == "relabel"})
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"The list of samples to leave out ({path.name}) cannot be read ({one_line(error)}): start a new run."
        ) from None


def choice_of(folder: Path, exclude: str) -> Choice:
    """What a run leaves out or relabels. folder, exclude: of the run and its `ScanConfig`. Raises as `read_choice`."""
    return read_choice(folder / Path(exclude).name) if exclude else Choice()


def keep(choice: Choice, ids: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are kept and their labels, both int64, in order. ids: str [N]; rows, labels: int64 [N]."""
    if choice.labels:
        labels = np.array([choice.labels.get(key, label) for key, label in zip(ids, labels, strict=True)], np.int64)
    kept = np.fromiter((key not in choice.dropped for key in ids), dtype=bool, count=len(ids))
    return rows[kept], labels[kept]
