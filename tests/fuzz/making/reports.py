"""Runs whose files have the right shape and say hostile things: texts, names, paths, numbers, pictures, decisions. Nearly
all of them are rendered, so that what is written into the report is tried and not only how a run is refused."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tests.fuzz.guard import Case
from tests.fuzz.making import arrays
from tests.fuzz.making.bits import Draw, words
from tests.fuzz.making.folders import Files, whole

_SAYING = ("summary.json", "model.json", "retrain.json", "origin.json", "config.json", "dataset.json")
_NUMBERS = (0, 1, -1, 0.5, 1e308, -1e308, 1e-320, 2**31, 2**53, 10**18, -0.0)
_SCORES = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 0.0, 5e-324)
_DECISIONS = ("keep", "remove", "unsure", "open")
_texts = st.one_of(words, st.text(st.characters(exclude_categories=("Cs",)), max_size=80))


def cases() -> st.SearchStrategy[Case]:
    whole()  # before anything is drawn: it is made with names and times of its own
    return _cases()


@st.composite
def _cases(draw: Draw) -> Case:
    files: Files = dict(whole())
    names = {name.rpartition("/")[2]: name for name in files if name.endswith((".json", ".parquet", ".npz"))}
    if draw(st.booleans()):
        _rename_class(files, draw(_texts))
    for _ in range(draw(st.integers(0, 6))):
        name = names[draw(st.sampled_from([name for name in _SAYING if name in names]))]
        value = json.loads(_bytes(files, name))
        _say(draw, value)
        files[name] = json.dumps(value).encode()
    if draw(st.booleans()):
        for name in ("scores.parquet", "skipped.parquet"):
            if name in names:
                files[names[name]] = _table(draw, _bytes(files, names[name]))
    if draw(st.integers(0, 3)) == 0:
        files[names["masks.npz"]] = _masks(draw, _bytes(files, names["masks.npz"]))
    made = st.tuples(st.integers(0, 47), st.sampled_from(_DECISIONS), _texts)
    return Case(files, {"decisions": draw(st.lists(made, max_size=4))})


def _bytes(files: Files, name: str) -> bytes:
    content = files[name]
    assert isinstance(content, bytes)
    return content


def _rename_class(files: Files, text: str) -> None:
    """Everywhere alike: an inconsistent run would be refused."""
    for name in [name for name in files if name.endswith(".json")]:
        content = json.dumps(_renamed(json.loads(_bytes(files, name)), text))
        files[name] = content.encode()


def _renamed(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {text if key == "yield" else key: _renamed(found, text) for key, found in value.items()}
    if isinstance(value, list):
        return [_renamed(found, text) for found in value]
    return text if value == "yield" else value


def _say(draw: Draw, value: Any) -> None:
    """One text or number, however deep, becomes another one."""
    while isinstance(value, dict | list) and value:
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        key: Any = draw(st.sampled_from(keys))
        if isinstance(value[key], str):
            value[key] = draw(_texts)
        elif isinstance(value[key], int | float) and not isinstance(value[key], bool):
            value[key] = type(value[key])(draw(st.sampled_from(_NUMBERS)))
        elif value[key] is None:
            value[key] = draw(_texts) if draw(st.booleans()) else draw(st.sampled_from(_NUMBERS))
        value = value[key]


def _table(draw: Draw, content: bytes) -> bytes:
    frame = pd.read_parquet(io.BytesIO(content))
    texts = [name for name in ("path", "reason") if name in frame]
    numbers = [name for name in frame if str(name).endswith(("_score", "confidence"))]
    for name in texts:
        for place in range(0, len(frame), draw(st.sampled_from((1, 2, 7)))):
            frame.loc[frame.index[place], name] = draw(_texts)[:5000]
    for name in numbers:
        if draw(st.integers(0, 3)) == 0:
            every = draw(st.sampled_from((1, 2, 9)))
            frame.loc[frame.index[::every], name] = draw(st.sampled_from(_SCORES))
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def _masks(draw: Draw, content: bytes) -> bytes:
    import zipfile

    with np.load(io.BytesIO(content)) as stored:
        parts = {name: stored[name] for name in stored.files}
    key = draw(st.sampled_from(sorted(parts)))
    parts[key] = np.full_like(parts[key], draw(st.sampled_from((np.nan, np.inf, -1.0, 0.0, 1e30))))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, array in parts.items():
            packed.writestr(f"{name}.npy", arrays.npy(array))
    return file.getvalue()
