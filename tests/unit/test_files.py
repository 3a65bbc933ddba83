"""Reading files of strangers: strict JSON, regular files only, arrays without pickles, and shapes that are checked."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pytest

from mspc_core import files
from mspc_core.errors import one_line
from mspc_core.job_status import JobStatus
from mspc_core.shapes import misfit, misfit_fields


@pytest.mark.parametrize("kind", ["<U2", ">U2"])
def test_text_whose_characters_are_none_is_refused(tmp_path: Path, kind: str) -> None:
    whole = np.array(["ab", "🚦"], kind)
    np.savez(tmp_path / "x.npz", text=whole, none=np.zeros(3, "<U0"))
    assert files.read_arrays(tmp_path / "x.npz")["text"].tolist() == ["ab", "🚦"]
    np.savez(tmp_path / "x.npz", text=np.full(4, 0x110000, f"{kind[0]}u4").view(kind))
    with pytest.raises(ValueError, match="text that is none"):
        files.read_arrays(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.zeros(2, [("a", kind)]))
    with pytest.raises(ValueError, match="records"):
        files.read_array(tmp_path / "x.npy")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"NaN", b"[Infinity]", b"1e999", b"1" * 30, b"[" * 100_000, b'"\\ud800"', b"\xff", b'{"a":' * 9999],
)
def test_what_is_no_strict_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(json.JSONDecodeError):
        files.read_json(tmp_path / "x.json")


def test_json_is_read(tmp_path: Path) -> None:
    value = {"a": [1, -2.5, True, None, "é 🚦"], "b": 2**62}
    (tmp_path / "x.json").write_text(json.dumps(value))
    assert files.read_object(tmp_path / "x.json") == value
    (tmp_path / "y.json").write_text("[1]")
    assert files.read_json(tmp_path / "y.json") == [1]
    with pytest.raises(json.JSONDecodeError):
        files.read_object(tmp_path / "y.json")
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "absent.json")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # opening it the usual way would wait for ever
    assert files.read_json(tmp_path / "real") == {}
    for name in ("link", "folder", "pipe"):
        with pytest.raises(OSError, match=r"."):
            files.open_regular(tmp_path / name)
        with pytest.raises(json.JSONDecodeError):
            files.read_json(tmp_path / name)


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.asfortranarray(np.eye(3)), "c": np.array("text")}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    found = files.read_arrays(tmp_path / "x.npz")
    assert found.keys() == arrays.keys()
    assert all((found[name] == arrays[name]).all() for name in arrays)
    np.save(tmp_path / "x.npy", arrays["a"])
    assert (files.read_array(tmp_path / "x.npy", mapped=True) == arrays["a"]).all()


def _header(described: str, shape: str, content: bytes = b"") -> bytes:
    text = f"{{'descr': {described}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    "member",
    [
        _header("'|O'", "(1,)", pickle.dumps([1])),
        _header("'|u1'", "(9999999999999,)", bytes(8)),
        _header("'|u1'", "(-1,)", bytes(8)),
        _header("'|u1'", "(" * 300),
        _header("'nonsense'", "(1,)", bytes(8)),
        b"no array",
    ],
)
def test_hostile_arrays(tmp_path: Path, member: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as packed:
        packed.writestr("a.npy", member)
    with pytest.raises(ValueError, match=r"."):
        files.read_arrays(tmp_path / "x.npz")
    (tmp_path / "x.npy").write_bytes(member)
    with pytest.raises(ValueError, match=r"."):
        files.read_array(tmp_path / "x.npy")


def test_an_npz_that_would_fill_the_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10**6))
    with pytest.raises(ValueError, match="too much memory"):
        files.read_arrays(tmp_path / "x.npz", most_bytes=10**6)


class _Inner(TypedDict):
    number: float
    word: NotRequired[str | None]


class _Outer(TypedDict):
    inner: dict[str, _Inner]
    rows: NotRequired[list[int]]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"inner": {}}, None),
        ({"inner": {"a": {"number": 1, "word": None}}, "rows": [1, 2], "more": object()}, None),
        ({}, "inner"),
        ([], "the whole"),
        ({"inner": {"a": {"word": "x"}}}, "inner.a.number"),
        ({"inner": {"a": {"number": True}}}, "inner.a.number"),
        ({"inner": {"a": {"number": float("nan")}}}, "inner.a.number"),
        ({"inner": {"a": {"number": 1, "word": 3}}}, "inner.a.word"),
        ({"inner": {"a b": 3}}, "inner.'a b'"),
        ({"inner": {}, "rows": [1, 2**63]}, "rows[1]"),
        ({"inner": {}, "rows": [1, 0.5]}, "rows[1]"),
    ],
)
def test_shapes(value: Any, place: str | None) -> None:
    assert misfit(value, _Outer) == place


def test_fields_of_a_dataclass() -> None:
    assert misfit_fields({"state": "running", "eta": None, "stages": ["a"]}, JobStatus) is None
    assert misfit_fields({"state": 3}, JobStatus) == "state"
    assert misfit_fields({"colour": "red"}, JobStatus) == "'colour'"
    assert misfit_fields([], JobStatus) == "the whole"


def test_errors_fit_into_a_sentence() -> None:
    assert one_line(ValueError("a\n\n b\x00\x1b[31mc")) == "a b [31mc"
    assert one_line(ValueError("")) == "ValueError"
    assert one_line("x" * 500, 10) == "x" * 9 + "…"
