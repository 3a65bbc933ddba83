"""Run and data set folders from strangers: a whole one, made by hand, with one to three of its files changed."""

from __future__ import annotations

import functools
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.fuzz.guard import Case, Link
from tests.fuzz.making import arrays
from tests.fuzz.making.bits import Draw, damaged, odd, words
from tests.fuzz.making.links import queries

Files = dict[str, bytes | Link]
_RAW = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"\xff\xfe{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"1" * 10_000,
    b'{"state": NaN}',
)
_RUN = "home/runs/20250101-000000-new-abcd/"
_DATA = "home/datasets/new/"


@functools.cache
def whole() -> dict[str, bytes]:
    """The files of a home folder with one finished run and its data set."""
    before = os.environ.get("BACKDOOR_LENS_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BACKDOOR_LENS_HOME"] = folder
        try:
            _make(Path(folder))
        finally:
            if before is None:
                del os.environ["BACKDOOR_LENS_HOME"]
            else:
                os.environ["BACKDOOR_LENS_HOME"] = before
        found = {path: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}
        run = next(path.name for path in (Path(folder) / "runs").iterdir())
        names = {path: f"home/{path.relative_to(folder).as_posix()}" for path in found}
        return {names[path].replace(run, _RUN.split("/")[2]): content for path, content in found.items()}


def _make(home: Path) -> None:
    from tests.ui.conftest import make_dataset, make_run
    from tests.ui.consensus import add_consensus

    run = add_consensus(make_run(make_dataset("new")))
    (run.folder / "map").mkdir()
    points = np.zeros((48, 2), np.float32)
    np.savez(run.folder / "map" / "pca.npz", points=points, fitted=np.ones(48, bool), explained=np.zeros(2), key="x")
    np.save(run.folder / "map" / "features.npy", np.zeros((48, 8), np.float16))
    (run.folder / "map" / "features.json").write_text('{"key": "x"}')
    (run.folder / "stages").mkdir()
    (run.folder / "stages" / "spc.json").write_text("{}")
    np.savez(run.folder / "stages" / "spc.npz", scores=np.zeros(48), flagged=np.zeros(48, bool))
    (run.folder / "relabels.json").write_text('{"x": 1}')
    (run.folder / "origin.json").write_text('{"run": "x", "estimated_asr": {"after": 0.5}}')
    (run.folder / "retrain.json").write_text('{"drop": "flagged", "before": {}, "after": {}}')


@st.composite
def changed(draw: Draw) -> Files:
    """All files, one to three of them hostile."""
    files: Files = dict(whole())
    for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
        name = draw(st.sampled_from(_targets()))
        content = whole()[name]
        if files.get(name) is not content:
            continue
        kind = draw(st.integers(0, 19))
        if kind == 0:
            files[name] = Link(draw(st.sampled_from(("/etc/passwd", "../../../secret.png", "/dev/zero", ".", "gone"))))
        elif kind == 1:
            del files[name]
            files[f"{name}/x"] = b""  # a folder in its place
            return files
        elif kind == 2:
            files[name] = draw(damaged(content))
        else:
            files[name] = draw(_changed(name, content))
    return files


def _targets() -> list[str]:
    """Names of the files, the ones with much to read more often."""
    often = (
        "summary.json",
        "scores.parquet",
        "config.json",
        "status.json",
        "dataset.json",
        "manifest.parquet",
        "masks.npz",
    )
    return [
        name for name in sorted(whole()) for _ in range(5 if name.endswith(often) else 1) if not name.endswith(".u8")
    ]


def _changed(name: str, content: bytes) -> st.SearchStrategy[bytes]:
    if name.endswith(".json"):
        return jsons(content)
    if name.endswith(".parquet"):
        return parquets(content)
    if name.endswith((".npz", ".npy")):
        return npzs(content)
    return damaged(content)


@st.composite
def jsons(draw: Draw, content: bytes) -> bytes:
    """JSON with values changed, taken out or put in, deep, or no JSON at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(_RAW))
    value = json.loads(content)
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, value)
    text = json.dumps(value)
    if draw(st.integers(0, 5)) == 0:
        text = text.replace(": 1", draw(st.sampled_from((": NaN", ": 1e999", ": " + "9" * 5000, ': "\\ud800"'))), 1)
    return text.encode()


def _change(draw: Draw, value: Any) -> None:
    while isinstance(value, dict | list) and value:
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        key: Any = draw(st.sampled_from(keys))
        if isinstance(value[key], dict | list) and value[key] and draw(st.integers(0, 4)):
            value = value[key]
            continue
        if draw(st.integers(0, 4)) == 0:
            del value[key]
        else:
            value[key] = draw(odd)
        if isinstance(value, dict) and draw(st.integers(0, 5)) == 0:
            value[draw(words)] = draw(odd)
        return


@st.composite
def parquets(draw: Draw, content: bytes) -> bytes:
    """A table whose columns are gone, of another type, empty, doubled, or full of odd values."""
    table = pq.read_table(io.BytesIO(content))
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, table.num_columns - 1)) if table.num_columns > 1 else 0
        name = table.column_names[at] if table.num_columns else "x"
        kind = draw(
            st.sampled_from(("drop", "type", "values", "rename", "double", "rows", "nested", "null", "metadata"))
        )
        if kind == "drop" and table.num_columns:
            table = table.remove_column(at)
        elif kind in ("type", "values", "nested", "null") and table.num_columns:
            table = table.set_column(at, name, _column(draw, kind, table.num_rows, table.column(at)))
        elif kind == "rename":
            table = table.rename_columns([draw(words)[:90] if old == name else old for old in table.column_names])
        elif kind == "double":
            table = table.append_column(name, table.column(at))
        elif kind == "rows":
            table = table.slice(draw(st.integers(0, 3)), draw(st.sampled_from((0, 1, 7, 48))))
        else:
            about = {"index_columns": [draw(odd)], "columns": [{"name": draw(odd)}], "column_indexes": []}
            table = table.replace_schema_metadata({b"pandas": json.dumps(about).encode()})
        if not table.num_columns:
            break
    file = io.BytesIO()
    pq.write_table(table, file)
    return draw(damaged(file.getvalue())) if draw(st.integers(0, 5)) == 0 else file.getvalue()


def _column(draw: Draw, kind: str, rows: int, old: pa.ChunkedArray) -> pa.Array:
    if kind == "nested":
        return pa.array([[1]] * rows, pa.list_(pa.int64()))
    if kind == "null":
        return pa.nulls(rows, old.type) if draw(st.booleans()) else pa.nulls(rows)
    if kind == "type":
        value = draw(st.sampled_from((0, "x", 1.5, True, b"raw", np.nan, np.inf, -1, 2**40, pd.Timestamp(0), "=1+1")))
        return pa.array([value] * rows)
    found = old.to_pylist()
    for place in range(0, rows, draw(st.sampled_from((1, 3, 40)))):
        found[place] = draw(odd)
    try:
        return pa.array(found, old.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        texts = [draw(words)[:500] for _ in range(min(rows, 4))]
        return pa.array((texts * rows)[:rows], pa.string())


@st.composite
def npzs(draw: Draw, content: bytes) -> bytes:
    """Arrays of other shapes and types, lying headers, objects."""
    if not content.startswith(b"PK"):
        return draw(st.one_of(damaged(content), arrays.members()))
    with np.load(io.BytesIO(content)) as stored:
        parts = {f"{name}.npy": arrays.npy(stored[name]) for name in stored.files}
        key = draw(st.sampled_from(sorted(stored.files)))
        old = stored[key]
    kinds: dict[str, Any] = {
        "nan": lambda: arrays.npy(np.full(old.shape, np.nan, np.float32)),
        "text": lambda: arrays.npy(np.full(old.shape, "<b>")),
        "flat": lambda: arrays.npy(old.reshape(-1)),
        "empty": lambda: arrays.npy(old[:0] if old.ndim else np.zeros(0)),
        "one": lambda: arrays.npy(old[:1] if old.ndim else np.zeros(1)),
        "wide": lambda: arrays.npy(np.zeros((2, 3, 5, 7), np.float64)),
        "number": lambda: arrays.npy(np.array(3)),
        "whole": lambda: arrays.npy(np.ones(old.shape, np.int64) * 300),
        "any": lambda: draw(arrays.members()),
    }
    parts[f"{key}.npy"] = kinds[draw(st.sampled_from(sorted(kinds)))]()
    if draw(st.integers(0, 5)) == 0:
        parts[draw(words)[:60] or "x"] = draw(arrays.members())
    file = io.BytesIO()
    import zipfile

    with zipfile.ZipFile(file, "w") as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    return file.getvalue()


def cases() -> st.SearchStrategy[Case]:
    whole()  # before anything is drawn: it is made with names and times of its own
    return _cases()


def page_cases() -> st.SearchStrategy[Case]:
    """A page with hostile files, a hostile address, or both."""
    whole()
    return _page_cases()


@st.composite
def _cases(draw: Draw) -> Case:
    return Case(draw(changed()), {"report": draw(st.integers(0, 3)) == 0})


@st.composite
def _page_cases(draw: Draw) -> Case:
    from ui.state import PAGES

    files: Files = draw(changed()) if draw(st.integers(0, 3)) else dict(whole())
    query = draw(queries()) if draw(st.booleans()) else {}
    if draw(st.booleans()):
        query["run"] = _RUN.split("/")[2]
    return Case(files, {"page": draw(st.sampled_from(PAGES)), "query": query})
