"""Bytes that a coverage-guided fuzzer chooses, as cases of the targets; only for what Python code reads.

A fuzzer that watches coverage sees the branches of our own parsers and nothing of the libraries in other languages
behind them, so these groups are what is decided in Python: names in archives, headers of arrays and weights, tables,
JSON of strangers' folders, addresses. Images and Parquet are left to `tests.fuzz.driving`.
"""

from __future__ import annotations

import io
import struct
import tarfile
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.guard import Case, lay
from tests.fuzz.making import archives, arrays, code, folders, images, links

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Group:
    """target: in `targets.TARGETS`. case: of the fuzzer's bytes. seeds: what it begins with, by name."""

    target: str
    case: Callable[[bytes], Case]
    seeds: Callable[[], dict[str, bytes]]


def _file(name: str) -> Callable[[bytes], Case]:
    return lambda data: Case({name: data}, {"entry": name})


def _csv(data: bytes) -> Case:
    return Case({"t.csv": data, "a.png": images.seeds()["png-RGB"]}, {"entry": "t.csv"})


def _json_names() -> list[str]:
    return [name for name in sorted(folders.whole()) if name.endswith(".json")]


def _run(data: bytes) -> Case:
    """The first byte says which JSON file of a whole home is replaced by the rest."""
    names = _json_names()
    return Case({**folders.whole(), names[(data[:1] or b"\0")[0] % len(names)]: data[1:]})


def _link(data: bytes) -> Case:
    """Parts between zero bytes: a byte for the parameter, and its value."""
    parts = [part for part in data.split(b"\0") if part][:8]
    query = {links.KEYS[part[0] % len(links.KEYS)]: part[1:].decode("utf-8", "replace") for part in parts}
    return Case({}, {"query": query})


def _packed(kind: str) -> dict[str, bytes]:
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT if kind == "pax" else tarfile.GNU_FORMAT
    ) as made:
        for name, content in archives.plain_files().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return {kind: file.getvalue()}


def _own(pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(CORPUS.glob(pattern))}


def _header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + bytes(16)


GROUPS: dict[str, Group] = {
    "csv": Group("source", _csv, lambda: {"one": b"path,label\na.png,cat\n./a.png,dog\n", **_own("source--*.csv")}),
    "npz": Group("source", _file("t.npz"), lambda: {**_own("source--*.npz"), "one": _npz()}),
    "zip": Group("source", _file("t.zip"), lambda: {"one": archives.zipped(archives.plain_files())} | _own("*.zip")),
    "tar": Group("source", _file("t.tar"), lambda: {**_packed("pax"), **_packed("gnu")}),
    "safetensors": Group(
        "checkpoint",
        _file("w.safetensors"),
        lambda: {"one": _header(b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'), **_own("*.safetensors")},
    ),
    "checkpoint": Group("checkpoint", _file("w.pt"), lambda: {"pickle": code.payload(), **_own("checkpoint--*.pt")}),
    "run folder": Group(
        "run", _run, lambda: {str(n): bytes([n]) + folders.whole()[name] for n, name in enumerate(_json_names())}
    ),
    "link": Group("link", _link, lambda: {"one": b"\0".join(bytes([n]) + b"spc:0:1" for n in range(len(links.KEYS)))}),
}


def _npz() -> bytes:
    import numpy as np

    few = np.zeros((3, 4, 4, 3), np.uint8)
    return archives.zipped({"images.npy": arrays.npy(few), "labels.npy": arrays.npy(np.arange(3))})


class Driver:
    """What the fuzzer calls with its bytes. watch: notes what must not be done meanwhile, as `watch.Watch.on`; found:
    its list of that. Findings are kept, each place once, and do not stop the fuzzer."""

    def __init__(
        self,
        name: str,
        folder: Path,
        watch: Callable[[], AbstractContextManager[None]] = nullcontext,
        found: Callable[[], list[str]] = list,
    ) -> None:
        self.group, self.folder, self._watch, self._found = GROUPS[name], folder, watch, found
        self.counts = {"accepted": 0, "refused": 0}
        self.findings: dict[str, dict[str, str]] = {}

    def __call__(self, data: bytes) -> None:
        from mspc_core.errors import InputError
        from tests.fuzz import targets

        case = self.group.case(data)
        lay(self.folder, case)
        problem = place = ""
        try:
            with self._watch():
                targets.TARGETS[self.group.target](self.folder / "case", case.options)
            self.counts["accepted"] += 1
        except InputError as error:
            self.counts["refused"] += 1
            if wrong := targets.bad_sentence(str(error)):
                problem = place = f"{wrong}: {str(error)[:300]!r}"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            problem, place = traceback.format_exc(limit=-6), f"{type(error).__name__} {last.filename}:{last.lineno}"
        if seen := self._found():
            problem = place = f"forbidden: {seen[:3]}"
        if problem and place not in self.findings:
            self.findings[place] = {"problem": problem[-3000:], "input": data[:4096].hex()}
