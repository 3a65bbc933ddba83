"""Parquet files with odd types and metadata, CSV manifests with odd cells, and folders with odd names and links."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.fuzz.guard import Case, Link
from tests.fuzz.making import images
from tests.fuzz.making.archives import plain_files
from tests.fuzz.making.bits import Draw, damaged, numbers, odd, words
from tests.fuzz.making.code import payload

_COLUMNS = ("image", "img", "label", "labels", "class", "fine_label", "bytes", "path", "split", "sample_id", "", "=1")


@st.composite
def parquets(draw: Draw) -> Case:
    rows = draw(st.sampled_from((4, 4, 4, 1, 0, 70)))
    columns = {"image": _images(draw, rows), "label": _labels(draw, rows)}
    for _ in range(draw(st.integers(0, 2))):
        columns[draw(st.sampled_from(_COLUMNS))] = draw(st.sampled_from((_images, _labels, _odd)))(draw, rows)
    table = pa.table(columns)
    if draw(st.integers(0, 2)) == 0:
        table = table.replace_schema_metadata(_metadata(draw))
    if draw(st.integers(0, 9)) == 0:
        field = table.schema.field(0).with_metadata(
            {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": payload()}
        )
        table = pa.Table.from_arrays(table.columns, schema=table.schema.set(0, field))
    file = io.BytesIO()
    options: dict[str, Any] = {
        "compression": draw(st.sampled_from(("none", "snappy", "gzip", "zstd", "brotli"))),
        "use_dictionary": draw(st.booleans()),
        "data_page_version": draw(st.sampled_from(("1.0", "2.0"))),
        "row_group_size": draw(st.sampled_from((1, 1000))),
    }
    pq.write_table(table, file, **options)
    name = draw(st.sampled_from(("set.parquet", "train-00000-of-00001.parquet", "test.pq")))
    return Case({name: draw(damaged(file.getvalue()))}, {"entry": name})


def _images(draw: Draw, rows: int) -> pa.Array:
    files = [*plain_files().values(), b"", b"text", None]
    found = [files[(number if number < 4 else draw(st.integers(0, 6))) % 7] for number in range(rows)]
    kind = draw(st.sampled_from(("struct", "struct", "binary", "large", "view", "nested", "fixed")))
    if kind == "struct":
        path: list[str | None] = [draw(words)[:500] for _ in range(min(rows, 4))] + [None] * max(0, rows - 4)
        return pa.StructArray.from_arrays([pa.array(found, pa.binary()), pa.array(path)], ["bytes", "path"])
    if kind == "nested":
        return pa.array([[value] for value in found], pa.list_(pa.binary()))
    if kind == "fixed":
        return pa.array([b"abcd"] * rows, pa.binary(4))
    return pa.array(found, {"binary": pa.binary(), "large": pa.large_binary(), "view": pa.binary_view()}[kind])


def _labels(draw: Draw, rows: int) -> pa.Array:
    kind = draw(st.sampled_from(("plain", "plain", "int", "text", "float", "dictionary", "odd")))
    if kind == "plain":
        return pa.array([number % 2 for number in range(rows)])
    if kind == "int":
        return pa.array([max(-(2**63), min(draw(numbers), 2**63 - 1)) for _ in range(rows)], pa.int64())
    if kind == "float":
        values = (0.0, 1.0, 0.5, float("nan"), float("inf"), -1e308, 1e30, None)
        return pa.array([draw(st.sampled_from(values)) for _ in range(rows)], pa.float64())
    if kind == "odd":
        return _odd(draw, rows)
    text = pa.array([draw(words)[:2000] for _ in range(rows)], pa.string())
    if kind == "text" and draw(st.integers(0, 3)) == 0:  # "text" that is not UTF-8
        raw = pa.array([b"\xff\xfe", b"\xed\xa0\x80"] * rows, pa.binary())[:rows]
        return pa.Array.from_buffers(pa.string(), rows, raw.buffers())
    return text.dictionary_encode() if kind == "dictionary" and rows else text


def _odd(draw: Draw, rows: int) -> pa.Array:
    kinds: tuple[tuple[pa.DataType, Any], ...] = (
        (pa.list_(pa.int64()), [1]),
        (pa.struct([("a", pa.struct([("b", pa.int8())]))]), {"a": {"b": 1}}),
        (pa.map_(pa.string(), pa.int32()), [("a", 1)]),
        (pa.decimal128(38, 5), 1),
        (pa.timestamp("ns", "Europe/Berlin"), 1),
        (pa.timestamp("ms"), 2**62),
        (pa.date32(), 1),
        (pa.duration("us"), 1),
        (pa.bool_(), True),
        (pa.uint64(), 2**64 - 1),
        (pa.float16(), 1.0),
        (pa.null(), None),
        (pa.time64("ns"), 1),
    )
    kind, value = draw(st.sampled_from(kinds))
    return pa.array([value] * rows, kind)


def _metadata(draw: Draw) -> dict[bytes, bytes]:
    names: Any = draw(
        st.sampled_from((["a", "b"], ["a"], {"0": "x", "1": "=1"}, ["<script>"] * 3, [1, None], "ab", 7, []))
    )
    feature = {"_type": draw(st.sampled_from(("ClassLabel", "Image", "Value"))), "names": names}
    about: Any = {"info": {"features": {"image": {"_type": "Image"}, "label": feature, draw(words): draw(odd)}}}
    hugging = draw(
        st.sampled_from((json.dumps(about), "{", "[" * 50_000, '{"info":' * 3000, "null", '{"info": 9}', "\ud800"))
    )
    pandas = {
        "index_columns": [draw(odd)],
        "columns": [{"name": draw(odd), "pandas_type": draw(words)}],
        "column_indexes": [],
    }
    return {b"huggingface": hugging.encode("utf-8", "surrogatepass"), b"pandas": json.dumps(pandas).encode()}


@st.composite
def csvs(draw: Draw) -> Case:
    files: dict[str, bytes | Link] = dict(plain_files())
    separator = draw(st.sampled_from((",", ";", "\t")))
    header = draw(
        st.sampled_from((["path", "label"], ["file", "class", "split"], ["label", "path", "path"], ["x", "y"]))
    )
    rows = [header]
    for number in range(draw(st.integers(0, 8))):
        path = draw(st.sampled_from(sorted(plain_files()))) if draw(st.booleans()) else draw(words)
        rows.append(
            [path, draw(st.sampled_from(("cat", "dog", draw(words)))), draw(st.sampled_from(("train", "val", "?")))]
        )
        if number and draw(st.integers(0, 6)) == 0:
            rows.append(rows[number][: draw(st.integers(0, 2))])
    quoted = draw(st.booleans())
    lines = [separator.join(f'"{cell}"' if quoted else cell for cell in row) for row in rows]
    text = draw(st.sampled_from(("\n", "\r\n", "\r"))).join(lines)
    encoding = draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "latin-1")))
    name = draw(st.sampled_from(("set.csv", "set.tsv")))
    files[name] = draw(damaged(text.encode(encoding, "replace")))
    if draw(st.booleans()):
        files["cat/link.png"] = Link(draw(st.sampled_from(("../../secret.png", "/etc/passwd", "1.png", "link.png"))))
        files[name] = bytes(files[name]) + b"\ncat/link.png,cat\n" if isinstance(files[name], bytes) else b""
    return Case(files, {"entry": name})


_UNFIT = str.maketrans({"/": "", "\0": ""})


@st.composite
def folders(draw: Draw) -> Case:
    files: dict[str, bytes | Link] = {f"set/{name}": data for name, data in plain_files().items()}
    for _ in range(draw(st.integers(0, 4))):
        word = draw(words).translate(_UNFIT)[:60]
        label = draw(words).translate(_UNFIT)[:60] or "cat"
        if word in (".", "..") or label in (".", ".."):
            continue
        name = f"set/{label}/{word}.png"
        if draw(st.integers(0, 3)) == 0:
            files[name] = Link(draw(st.sampled_from(("../../../secret.png", "/etc/passwd", "/dev/zero", "..", "."))))
        else:
            files[name] = draw(images.contents())
    return Case(files, {"entry": "set"})


def cases() -> st.SearchStrategy[Case]:
    return st.one_of(parquets(), csvs(), folders())
