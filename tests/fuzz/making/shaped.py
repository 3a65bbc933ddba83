"""Bytes of a coverage-guided fuzzer, packed so that they get past checksums and lengths to what our code decides.

Most of a zip, npz or safetensors file that was changed anywhere is refused by its checksums or lengths, without a line
of ours. Here the fuzzer chooses names, headers and descriptions only, and the file around them is whole. Parts are
separated by zero bytes, and the first bytes of a part are numbers.
"""

from __future__ import annotations

import io
import json
import math
import struct
import tarfile
import zipfile
from typing import Any

from tests.fuzz.guard import Case
from tests.fuzz.making import archives, arrays, checkpoints, code, images

MOST_PARTS, MOST_NAME, MOST_BODY = 8, 2000, 4 * 2**20
KEYS = tuple(key for key in arrays._KEYS if key)


def _parts(data: bytes) -> list[bytes]:
    return [part for part in data.split(b"\0") if part][:MOST_PARTS]


def archive(data: bytes) -> Case:
    """The first byte says which kind; each part is a member: a byte for what it is, its name, and behind a line feed
    where a link leads."""
    kind = ("zip", "tar", "tar", "tar.gz")[(data[:1] or b"\0")[0] % 4]
    members = [(part[0], *part[1:].decode("utf-8", "replace").partition("\n")[::2]) for part in _parts(data[1:])]
    if kind == "zip":
        content = _zip([(flag, name[:MOST_NAME] or "x") for flag, name, _ in members])
    else:
        form = tarfile.GNU_FORMAT if data[0] & 4 else tarfile.PAX_FORMAT
        content = _tar([(flag, name[:MOST_NAME], link[:MOST_NAME]) for flag, name, link in members], kind, form)
    return Case({f"t.{kind}": content}, {"entry": f"t.{kind}"})


def _content(flag: int) -> bytes:
    return b"text" if flag & 64 else images.seeds()["png-RGB"]


def _zip(members: list[tuple[int, str]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for flag, name in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (archives.MODES[flag % 8] | 0o600) << 16 & 0xFFFFFFFF
            packed.writestr(info, _content(flag))
    return file.getvalue()


def _tar(members: list[tuple[int, str, str]], kind: str, form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz" if kind == "tar.gz" else "w", format=form) as packed:  # type: ignore[call-overload]
        for flag, name, link in members:
            info = tarfile.TarInfo(name)
            info.linkname, info.size = link, len(_content(flag))
            info.type = (tarfile.REGTYPE, *archives.TAR_KINDS)[flag % 8]
            packed.addfile(info, io.BytesIO(_content(flag)))
    return file.getvalue()


def archive_seeds() -> dict[str, bytes]:
    names = b"\0".join(b"\x10" + name.encode() for name in archives.plain_files())
    splits = b"\x08top/train/a/1.png\0\x08top/train/b/2.png\0\x08top/val/a/3.png\0\x08top/__MACOSX/._3.png"
    outside = b"\x10cat/1.png\0\x10../dog.png\0\x10/etc/dog.png\0\x10C:/d.png\0\x11cat/l.png\n../../secret.png"
    made = {"plain": names, "splits": splits, "outside": outside}
    return {f"{name}-{kind}": bytes([kind]) + content for name, content in made.items() for kind in (0, 1, 5, 3)}


def npz(data: bytes) -> Case:
    """Each part is an array: a byte for its key, one for its version and content, and its header as text."""
    members = {}
    for part in _parts(data):
        key, flag, text = KEYS[part[0] % len(KEYS)], part[1] if len(part) > 1 else 1, part[2:]
        version = (1, 1, 2, 3)[flag % 4]
        length = struct.pack("<H" if version == 1 else "<I", min(len(text), 65_535))
        body = code.payload() if flag & 128 else bytes(range(256)) * 16 if flag & 16 else bytes(4096)
        members[f"{key}.npy"] = b"\x93NUMPY" + bytes([version, 0]) + length + text + body
    return Case({"t.npz": archives.zipped(members)}, {"entry": "t.npz"})


def npz_seeds() -> dict[str, bytes]:
    def part(key: str, kind: str, shape: tuple[int, ...], flag: int = 4) -> bytes:
        text = f"{{'descr': '{kind}', 'fortran_order': {bool(flag & 8)}, 'shape': {shape}, }}\n"
        return bytes([KEYS.index(key) + len(KEYS), flag]) + text.encode()

    return {
        "plain": part("images", "|u1", (3, 4, 4, 3)) + b"\0" + part("labels", "|u1", (3,), 20),
        "floats": part("x", "<f4", (3, 3, 4, 4), 12) + b"\0" + part("y", "<i2", (3,), 20),
        "splits": b"\0".join(
            part(key, "|u1", shape, 20)
            for key, shape in (("x_train", (2, 4, 4)), ("y_train", (2, 1)), ("x_test", (1, 4, 4)), ("y_test", (1,)))
        ),
        "objects": part("images", "|O", (3,), 132) + b"\0" + part("labels", "|O", (3,), 132),
        "classes": part("images", "|u1", (3, 4, 4, 1))
        + b"\0"
        + part("labels", "|u1", (3,), 20)
        + b"\0"
        + part("classes", "|S2", (3,), 20),
    }


def safetensors(data: bytes) -> Case:
    """A header of the fuzzer's, with its length in front and behind it as many bytes as it asks for, within bounds."""
    try:
        ends = [about["data_offsets"][1] for name, about in json.loads(data).items() if name != "__metadata__"]
        size = min(max(ends, default=0), MOST_BODY)
        body = bytes(max(size, 0))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        body = bytes(16)
    return Case({"w.safetensors": struct.pack("<Q", len(data)) + data + body}, {"entry": "w.safetensors"})


def _shapes() -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in checkpoints.weights().items()}


def safetensors_seeds() -> dict[str, bytes]:
    def header(shapes: dict[str, list[int]]) -> bytes:
        found, at = {}, 0
        for name, shape in shapes.items():
            size = 4 * math.prod(shape)
            found[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        return json.dumps({"__metadata__": {"arch": "small-cnn"}, **found}, separators=(",", ":")).encode()

    return {
        "whole": header(_shapes()),
        "prefixed": header({f"module.model.{name}": shape for name, shape in _shapes().items()}),
        "classes": header({**_shapes(), "head.weight": [7, 256], "head.bias": [7]}),
        "few": header({"a": [2, 2], "b": [1]}),
    }


def state(data: bytes) -> Case:
    """JSON, saved by torch: lists of numbers are tensors of that shape, objects are dictionaries, the rest is itself.
    `@` stands for all the weights that are asked for."""
    import torch

    def built(value: Any) -> Any:
        if isinstance(value, dict):
            whole = dict(checkpoints.weights()) if value.pop("@", None) is not None else {}
            return {**whole, **{key: built(inner) for key, inner in value.items()}}
        if isinstance(value, list) and all(type(side) is int and 0 <= side < 300 for side in value):
            return torch.zeros(value) if math.prod(value) <= MOST_BODY // 4 else torch.zeros(1).expand(value[:1])
        return value

    file = io.BytesIO()
    try:
        saved = built(json.loads(data))
    except (ValueError, RecursionError):
        saved = data.decode("latin-1")
    torch.save(saved, file)
    return Case({"w.pt": file.getvalue()}, {"entry": "w.pt"})


def state_seeds() -> dict[str, bytes]:
    made: dict[str, Any] = {
        "whole": {"@": 1},
        "nested": {"epoch": 3, "state_dict": {"@": 1}},
        "deep": {"model": {"net": {"weights": {"@": 1, "more": [1]}}}},
        "prefixed": {"model": {f"module.{name}": [2] for name in list(_shapes())[:3]}, "best": None},
        "classes": {"@": 1, "head.weight": [7, 256], "head.bias": [7]},
        "own": {"mean": [3], "std": [3], "backbone.head.bias": [4], "backbone.head.weight": [4, 256]},
        "text": "weights",
    }
    return {name: json.dumps(value).encode() for name, value in made.items()}
