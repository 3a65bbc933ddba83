"""Weights: safetensors with lying headers, PyTorch files with pickles in them, damaged and odd ones."""

from __future__ import annotations

import functools
import io
import json
import struct
import zipfile
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.guard import Case
from tests.fuzz.making.bits import Draw, damaged, numbers, odd, words
from tests.fuzz.making.code import payload

_TYPES = ("F32", "F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "f32", "", "X")


@functools.cache
def weights() -> dict[str, Any]:
    """The right tensors for the architecture that is asked for."""
    import torch

    from mspc_core.models.zoo import ModelSpec, build_model

    torch.manual_seed(0)
    return dict(build_model(ModelSpec("small-cnn", 4, 16)).backbone.state_dict())


@functools.cache
def _seed(kind: str) -> bytes:
    import torch
    from safetensors.torch import save

    if kind == "safetensors":
        return bytes(save({key: value.contiguous() for key, value in weights().items()}))
    file = io.BytesIO()
    torch.save(weights(), file, _use_new_zipfile_serialization=kind == "zip")
    return file.getvalue()


@st.composite
def safetensors(draw: Draw) -> bytes:
    data = _seed("safetensors")
    length = struct.unpack("<Q", data[:8])[0]
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    for _ in range(draw(st.integers(0, 2))):
        key = draw(st.sampled_from(sorted(header)))
        field = draw(st.sampled_from(("dtype", "shape", "data_offsets", "extra", "gone", "whole")))
        if field == "gone":
            header = {name: value for name, value in header.items() if name != key}
        elif field == "whole":
            header = {**header, key: draw(odd)}
        elif isinstance(header[key], dict):
            value = draw(st.one_of(st.sampled_from(_TYPES), st.lists(numbers, max_size=4), odd))
            header = {**header, key: {**header[key], field: value}}
    if draw(st.integers(0, 3)) == 0:
        header |= {"__metadata__": draw(st.sampled_from(({}, {"a": "b"}, {"a": 1}, [], "x", {"a": "<script>"})))}
    raw = draw(st.sampled_from((json.dumps(header), '{"a":' * 20_000, "[" * 100_000, '{"a":{}, "a":{}}', ""))).encode()
    if draw(st.integers(0, 2)):
        raw = json.dumps(header).encode()
    claimed = draw(st.sampled_from((len(raw), len(raw), len(raw), 0, 2**63, 2**32, len(raw) + 1, 99_999_999)))
    return draw(damaged(struct.pack("<Q", claimed) + raw + body))


@st.composite
def pickled(draw: Draw) -> bytes:
    """What torch.load is handed: whole files, files with code in them, and rubbish in their form."""
    kind = draw(st.sampled_from(("zip", "old", "code", "code-zip", "nested", "odd", "repeated")))
    if kind in ("zip", "old"):
        return draw(damaged(_seed(kind)))
    if kind == "code":
        return draw(damaged(payload(draw(st.sampled_from((0, 2, 4, 5))))))
    if kind == "code-zip":
        return draw(damaged(_replaced(_seed("zip"), "data.pkl", payload())))
    if kind == "repeated":
        return _replaced(
            _seed("zip"), draw(st.sampled_from(("byteorder", "version", "data/0"))), draw(st.binary(max_size=9))
        )
    return draw(damaged(_saved(draw, kind)))


def _saved(draw: Draw, kind: str) -> bytes:
    import torch

    tensors = dict(weights())
    key = draw(st.sampled_from(sorted(tensors)))
    changes: dict[str, Any] = {
        "sparse": torch.eye(3).to_sparse(),
        "half": tensors[key].half(),
        "complex": torch.zeros(3, dtype=torch.complex64),
        "nan": torch.full_like(tensors[key].float(), float("nan")),
        "expanded": torch.zeros(1).expand(10**9),
        "meta": torch.empty(10**9, device="meta"),
        "quantised": torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.quint8),
        "empty": torch.zeros(0),
        "number": 3,
    }
    what = draw(st.sampled_from(sorted(changes)))
    tensors[key if draw(st.booleans()) else draw(words)[:200]] = changes[what]
    found: Any = tensors
    if kind == "nested":
        for _ in range(draw(st.integers(1, 6))):
            found = {draw(st.sampled_from(("state_dict", "model", "net", "x"))): found, "epoch": draw(odd)}
    if kind == "odd" and draw(st.booleans()):
        found = draw(st.sampled_from(([], {}, 3, "text", {1: 2}, {"model": []}, [tensors])))
    file = io.BytesIO()
    torch.save(found, file)
    return file.getvalue()


def _replaced(data: bytes, name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename.endswith(name) else old.read(info))
    return file.getvalue()


@st.composite
def cases(draw: Draw) -> Case:
    if draw(st.booleans()):
        return Case({"w.safetensors": draw(safetensors())}, {"entry": "w.safetensors"})
    name = draw(st.sampled_from(("w.pt", "w.pth", "w.ckpt", "w.bin")))
    return Case({name: draw(pickled())}, {"entry": name})
