"""Tables and lists of the scanned samples: scores, verdict, decisions, paths."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from mspc_core.errors import InputError, Progress, ShouldStop, stop_if
from mspc_core.export.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

# The last four are the same signs in full width, which some spreadsheets take for them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_CHUNK = 20_000  # rows written at a time
_BOOKKEEPING = ["row"]


def decision_table(plan: Plan) -> pd.DataFrame:
    """One row an exported sample: what the run found, the names of the classes, the decision that counts (with its
    reviewer and time; empty where nobody decided), and `dropped`, which says what the rule does with it."""
    import pandas as pd

    from mspc_core.reviews import ReviewStore

    store = ReviewStore()
    current, latest = store.current(plan.run.id), {}
    for record in store.history(plan.run.id):
        latest[record.sample_id] = record
    frame = plan.scores.drop(columns=[name for name in _BOOKKEEPING if name in plan.scores]).copy()
    ids = frame["sample_id"].astype(str)
    for source, target in (("label", "class"), ("predicted", "predicted_class")):
        numbers = frame[source].to_numpy()
        names = [plan.classes[n] if 0 <= n < len(plan.classes) else str(n) for n in numbers.tolist()]
        frame.insert(list(frame.columns).index(source) + 1, target, pd.Series(names, dtype="str", index=frame.index))
    decided = [current.get(sample) for sample in ids]
    frame["decision"] = pd.array([found or "" for found in decided], dtype="str")
    pairs = list(zip(ids, decided, strict=True))
    frame["reviewer"] = pd.array([latest[sample].reviewer if found else "" for sample, found in pairs], dtype="str")
    frame["decided_at"] = pd.array([latest[sample].time if found else "" for sample, found in pairs], dtype="str")
    frame["dropped"] = plan.dropped
    return frame[plan.chosen].reset_index(drop=True)


def write_csv(frame: pd.DataFrame, handle: BinaryIO, progress: Progress | None, stop: ShouldStop | None) -> None:
    """`csv_text`, in pieces."""
    for start in range(0, max(1, len(frame)), _CHUNK):
        stop_if(stop)
        text = csv_text(frame.iloc[start : start + _CHUNK], header=start == 0)
        handle.write(text.encode("utf-8-sig" if start == 0 else "utf-8", "backslashreplace"))
        if progress is not None:
            progress(min(start + _CHUNK, len(frame)), len(frame), "writing the table")


def safe_cell(cell: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front; other values pass."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def guarded(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy whose text, column names included, no spreadsheet runs as a formula."""
    texts = [name for name in frame.columns if getattr(frame[name].dtype, "kind", "O") not in "biuf"]
    return frame.assign(**{name: frame[name].map(safe_cell) for name in texts}).rename(columns=safe_cell)


def csv_text(frame: pd.DataFrame, *, header: bool = True) -> str:
    """The `guarded` frame as CSV with \\n at the ends of lines.

    A lone carriage return is not quoted by Python's writer, and a spreadsheet takes it for the end of a line: what
    follows would stand at the start of a cell, where a formula runs. All text is quoted where there is one.
    """
    safe = guarded(frame)
    texts = [safe[name] for name in safe.columns if getattr(safe[name].dtype, "kind", "O") not in "biuf"]
    returns = any("\r" in str(name) for name in safe.columns) or any(_has_return(column) for column in texts)
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    return safe.to_csv(index=False, header=header, lineterminator="\n", quoting=quoting)


def _has_return(column: pd.Series) -> bool:
    return any(isinstance(cell, str) and "\r" in cell for cell in column)


def write_parquet(frame: pd.DataFrame, handle: BinaryIO) -> None:
    frame.to_parquet(handle, index=False)


def write_list(plan: Plan, handle: BinaryIO, *, as_json: bool) -> None:
    """Paths in the source. Raises `InputError` for a path that does not fit on one line of a plain list."""
    paths = [str(path) for path in plan.scores["path"][plan.chosen]]
    if as_json:
        handle.write((json.dumps(paths, ensure_ascii=False, indent=0) + "\n").encode("utf-8", "backslashreplace"))
        return
    odd = next((path for path in paths if len(path.splitlines()) != 1), None)
    if odd is not None:
        raise InputError(f"The path {odd[:80]!r} has a line break in it: choose a list whose name ends in .json.")
    handle.write("".join(f"{path}\n" for path in paths).encode("utf-8", "backslashreplace"))
