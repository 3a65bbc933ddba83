"""Which scanned samples are dropped: one rule for export and retraining, so that both mean the same clean set.

    flagged           the verdict's suspects
    rejected          what reviewers decided to remove, and nothing else
    reviewed          the verdict's suspects, corrected by reviewers: keep is kept, remove is dropped; what is unsure
                      or undecided stays as the verdict has it
    detector:<name>   what one detector flags
    file:<path>       a saved list of sample ids: one a line, a JSON list, or a CSV or Parquet file with the column
                      `sample_id`

`dropped` reads the run and the decisions; `select` decides from arrays alone. Nothing here writes, and nothing reads
ground truth.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mspc_core import access
from mspc_core.errors import InputError, explain_os_error, one_line

if TYPE_CHECKING:
    import pandas as pd

    from mspc_core.runs import Run

RULES = ("flagged", "rejected", "reviewed")
DETECTOR, FILE = "detector:", "file:"
_MAX_LIST_BYTES = 256 * 2**20


def dropped(run: Run, how: str, scores: pd.DataFrame | None = None) -> np.ndarray:
    """What the rule `how` drops, bool [N] in the order of the run's scores (its column `row` is the data set's row).

    scores: the run's table, if it has been read already.
    Raises `InputError` if the rule is unknown, if what it needs is not there yet (no verdict, detector not run), or if
    the saved list cannot be read or names samples that the run does not have.
    """
    check_rule(how)
    decisions: Mapping[str, str] = {}
    if how in ("rejected", "reviewed"):
        from mspc_core.reviews import ReviewStore

        decisions = ReviewStore().current(run.id)
    listed = read_ids(Path(how.removeprefix(FILE)).expanduser()) if how.startswith(FILE) else ()
    table = run.scores() if scores is None else scores
    return select(table, how, decisions=decisions, listed=listed)


def select(
    scores: pd.DataFrame, how: str, *, decisions: Mapping[str, str] | None = None, listed: Collection[str] = ()
) -> np.ndarray:
    """The rule `how` applied to a table of scores, bool [N]; the same input gives the same answer.

    decisions: sample_id → keep, remove or unsure. listed: the ids of `file:`. Raises `InputError` as `dropped` does.
    """
    check_rule(how)
    ids = scores["sample_id"].astype(str)  # [N]
    if how.startswith(FILE):
        _check_known(ids, listed)
        return _among(ids, listed)
    if how.startswith(DETECTOR):
        return _flags_of(scores, how.removeprefix(DETECTOR))
    decided = decisions or {}
    removed = _among(ids, {sample for sample, decision in decided.items() if decision == "remove"})
    if how == "rejected":
        return removed
    suspects = _suspects(scores)
    if how == "flagged":
        return suspects
    kept = _among(ids, {sample for sample, decision in decided.items() if decision == "keep"})
    return (suspects & ~kept) | removed


def check_rule(how: str) -> None:
    """Raises `InputError` if `how` is no rule."""
    if how in RULES or any(how.startswith(start) and len(how) > len(start) for start in (DETECTOR, FILE)):
        return
    raise InputError(
        f"{how[:80]!r} does not say what to drop: use {', '.join(RULES)}, {DETECTOR}NAME or {FILE}PATH (a list of "
        "sample ids)."
    )


def describe(how: str) -> str:
    """The rule in words, for sentences such as "dropped: …"."""
    if how.startswith(DETECTOR):
        return f"what the detector {how.removeprefix(DETECTOR)} flags"
    if how.startswith(FILE):
        return f"the samples listed in {how.removeprefix(FILE)}"
    return {
        "flagged": "the verdict's suspects",
        "rejected": "what reviewers decided to remove",
        "reviewed": "the verdict's suspects as corrected by reviewers",
    }[how]


def read_ids(path: Path) -> list[str]:
    """The sample ids of a saved list, in its order. Raises `InputError` if it cannot be read or holds none."""
    access.check_readable(path)
    try:
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise InputError(f"{path.name!r} is larger than {_MAX_LIST_BYTES // 2**20} MiB: it is no list of samples.")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no list of samples at {path}: check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name a file with one sample id a line.") from None
    except OSError as error:
        raise InputError(explain_os_error(error)) from None
    if path.suffix.lower() in (".parquet", ".pq"):
        found = _parquet_ids(content, path)
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{path.name!r} is not UTF-8 text: save one sample id a line.") from None
        found = _text_ids(text, path)
    if not found:
        raise InputError(f"{path.name!r} lists no sample: give one sample id a line.")
    return found


def _text_ids(text: str, path: Path) -> list[str]:
    if path.suffix.lower() == ".json":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InputError(f"{path.name!r} is no JSON list of sample ids.")
        return values
    if path.suffix.lower() in (".csv", ".tsv"):
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            if "sample_id" not in (rows.fieldnames or ()):
                raise InputError(f"{path.name!r} has no column 'sample_id'.")
            return [row["sample_id"] for row in rows if row["sample_id"]]
        except csv.Error as error:
            raise InputError(f"{path.name!r} is not a readable table ({error}).") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _parquet_ids(content: bytes, path: Path) -> list[str]:
    import pandas as pd

    try:
        return [str(value) for value in pd.read_parquet(io.BytesIO(content), columns=["sample_id"])["sample_id"]]
    # pyarrow's errors are ValueErrors and OSErrors; what a file says of pandas' index raises the others.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        why = one_line(error)
        raise InputError(f"{path.name!r} is no Parquet file with a column 'sample_id' ({why}).") from None


def _check_known(ids: pd.Series, listed: Collection[str]) -> None:
    unknown = sorted(set(listed) - set(ids.tolist()))
    if unknown:
        raise InputError(
            f"The list names {len(unknown):,} samples that this run did not scan (first: {unknown[0][:60]!r}): it "
            "belongs to another run or data set."
        )


def _among(ids: pd.Series, wanted: Collection[str]) -> np.ndarray:
    if not wanted:
        return np.zeros(len(ids), dtype=bool)
    return ids.isin(list(wanted)).to_numpy(dtype=bool)


def _suspects(scores: pd.DataFrame) -> np.ndarray:
    if "suspect" not in scores:
        raise InputError("This run has no verdict yet: wait for the scan to finish, or resume it.")
    return scores["suspect"].to_numpy(dtype=bool, copy=True)


def _flags_of(scores: pd.DataFrame, name: str) -> np.ndarray:
    column = f"{name}_flagged"
    if column in scores:
        return scores[column].to_numpy(dtype=bool, copy=True)
    there = [found.removesuffix("_flagged") for found in scores.columns if found.endswith("_flagged")]
    raise InputError(f"The detector {name[:60]!r} has no result in this run: it has {', '.join(there) or 'none'}.")
