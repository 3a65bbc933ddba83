"""npz files: lying headers, objects, odd types and shapes, bombs."""

from __future__ import annotations

import functools
import io
import struct
import zipfile
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.guard import Case
from tests.fuzz.making.bits import Draw, damaged, words
from tests.fuzz.making.code import payload

KINDS = (
    "|u1",
    "<f4",
    "<f2",
    "<f8",
    ">i4",
    "|b1",
    "<i8",
    "<u8",
    "<c8",
    "|S3",
    "<U4",
    "<M8[s]",
    "|O",
    "|V4",
    "<f4,|O",
    "xyz",
)
_KEYS = ("images", "labels", "x", "y", "x_train", "y_train", "x_test", "y_test", "classes", "IMAGES", "../x", "")


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def lying(description: str, shape: str, fortran: bool, content: bytes, version: int = 1) -> bytes:
    """An npy file whose header says whatever it is told."""
    header = f"{{'descr': {description}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode(
        "latin-1", "replace"
    )
    length = struct.pack("<H" if version == 1 else "<I", min(len(header), 65535 if version == 1 else 2**32 - 1))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + content


@functools.cache
def _seed() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)


@st.composite
def members(draw: Draw) -> bytes:
    """One array inside the file."""
    kind = draw(st.sampled_from(("good", "shape", "type", "header", "object")))
    if kind == "object":
        return lying("'|O'", "(6,)", False, payload())
    if kind == "header":
        text = draw(
            st.sampled_from(
                ("()", "(6,)", "(-1,)", "(2**40,)", "(9999999999999, 4, 4, 3)", "6", "(0, 4, 4, 3)", "(6,)*40")
            )
        )
        text = draw(
            st.sampled_from((text, "(" * 3000, "__import__('os').system('id')", "(1e3,)", "(True, 4)", "9" * 9000))
        )
        described = repr(draw(st.sampled_from(KINDS)))
        described = draw(st.sampled_from((described, "[('a', '<f4')]", "None", "[" * 500, "'" + "x" * 30_000 + "'")))
        return lying(described, text, draw(st.booleans()), _seed().tobytes(), draw(st.sampled_from((1, 2, 3, 9))))
    array: np.ndarray = _seed()
    if kind == "shape":
        shapes = ((6, 3, 4, 4), (6, 48), (6, 4, 4), (288,), (6, 4, 4, 3, 1), (0, 4), (6, 1, 1, 1), (1, 6, 4, 12))
        shape = draw(st.sampled_from(shapes))
        array = np.resize(array, shape)
    if kind == "type":
        code = draw(st.sampled_from(("f4", "f8", "f2", "i8", "?", "c8", "S3", "U3", "i1", "M8[s]")))
        array = array.astype(np.int64).astype(code) if code != "M8[s]" else array.astype("i8").astype(code)
        if array.dtype.kind == "f":
            array = array * draw(st.sampled_from((1 / 255, np.nan, np.inf, -1.0)))
    return npy(np.asfortranarray(array) if draw(st.booleans()) else array)


@st.composite
def npzs(draw: Draw) -> bytes:
    labels: Any = draw(
        st.sampled_from(([0, 1] * 3, ["a", "=1"] * 3, [0.5] * 6, [float("nan")] * 6, [[0, 1]] * 3, [-1, 2**62] * 3))
    )
    parts = {"images.npy": npy(_seed()), "labels.npy": npy(np.array(labels))}
    for _ in range(draw(st.integers(0, 2))):
        parts[draw(st.sampled_from(_KEYS)) + draw(st.sampled_from((".npy", ".npy", "")))] = draw(members())
    if draw(st.integers(0, 4)) == 0:
        parts["classes.npy"] = npy(np.array([draw(words)[:80], draw(words)[:80]]))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))) as packed:
        for name, data in parts.items():
            packed.writestr(name or "x", data)
    return draw(damaged(file.getvalue()))


def cases() -> st.SearchStrategy[Case]:
    return npzs().map(lambda data: Case({"set.npz": data}, {"entry": "set.npz"}))


@functools.cache
def bomb() -> bytes:
    """A few kilobytes that say, and hold, a gigabyte of zeros."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        packed.open("labels.npy", "w") as handle,
    ):
        handle.write(lying("'|u1'", f"({2**30},)", False, b""))
        for _ in range(1024):
            handle.write(bytes(2**20))
    return file.getvalue()
