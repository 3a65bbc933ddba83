"""Bytes that a coverage-guided fuzzer chooses, as cases of the targets; only for what Python code reads.

A fuzzer that watches coverage sees the branches of our own parsers and nothing of the libraries in other languages
behind them, so these groups are what is decided in Python: names in archives, headers of arrays and weights, tables,
JSON of strangers' folders, addresses. Images and Parquet are left to `tests.fuzz.driving`. Formats with checksums come
twice: as raw bytes, and packed around what the fuzzer chooses (`tests.fuzz.making.shaped`).
"""

from __future__ import annotations

import io
import tarfile
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import reading
from tests.fuzz.guard import Case, lay
from tests.fuzz.making import archives, code, folders, images, links, shaped

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Group:
    """target: in `targets.TARGETS`. case: of the fuzzer's bytes. seeds: what it begins with, by name. words: what it
    may insert."""

    target: str
    case: Callable[[bytes], Case]
    seeds: Callable[[], dict[str, bytes]]
    words: str = ""


def _file(name: str) -> Callable[[bytes], Case]:
    return lambda data: Case({name: data}, {"entry": name})


def _first(data: bytes) -> int:
    """The byte that chooses among kinds; what follows it is the content."""
    return (data[:1] or b"\0")[0]


def _csv(data: bytes) -> Case:
    return Case({"t.csv": data, "a.png": images.seeds()["png-RGB"]}, {"entry": "t.csv"})


def json_names() -> list[str]:
    """The JSON files of a whole home."""
    return [name for name in sorted(folders.whole()) if name.endswith(".json")]


def _run(data: bytes) -> Case:
    """The first byte says which JSON file of a whole home is replaced by the rest, and whether tables are written."""
    names, first = json_names(), _first(data)
    return Case({**folders.whole(), names[first % 64 % len(names)]: data[1:]}, {"exports": first >= 128})


def _link(data: bytes) -> Case:
    """Parts between zero bytes: a byte for the parameter, and its value."""
    parts = [part for part in data.split(b"\0") if part][:8]
    query = {links.KEYS[part[0] % len(links.KEYS)]: part[1:].decode("utf-8", "replace") for part in parts}
    return Case({}, {"query": query})


def _text(data: bytes) -> Case:
    """The first byte says what the rest is."""
    kinds = sorted(reading.TEXTS)
    what = kinds[_first(data) % len(kinds)]
    return Case({}, {"what": what, "text": data[1:].decode("utf-8", "replace")})


def _text_seeds() -> dict[str, bytes]:
    texts = {
        "database": "postgresql+pg8000://u:p%40@h:5432/d?sslmode=require&connect_timeout=3&host=/run&port=1",
        "visit": "localhost:8501\nhttp://localhost:8501\n127.0.0.1",
        "identity": "https://issuer.example.org/x\nsubject\nName@Example.org",
        "page": "http://localhost:8501/scan?run=x",
        "time": "2026-05-04T12:30:00+02:00",
        "name": "my data.v1",
        "setting": 'size={"a": [1, 2.5]}',
        "evidence": '{"scores":{"spc":0.5,"mspc":null},"flagged":["spc"]}',
    }
    return {what: bytes([number]) + texts[what].encode() for number, what in enumerate(sorted(texts))}


def _list(data: bytes) -> Case:
    name = reading.LISTS[_first(data) % len(reading.LISTS)]
    return Case({name: data[1:]}, {"entry": name})


def _list_seeds() -> dict[str, bytes]:
    texts = {
        "ids.txt": "0123456789abcdef\n\nfedcba9876543210\n",
        "ids.json": '["0123456789abcdef", "b"]',
        "ids.csv": 'sample_id,label\n0123456789abcdef,1\n"b",2\n',
        "ids.tsv": "label\tsample_id\n1\tb\n",
        "suggestions.csv": "sample_id,suggested_label\n0123456789abcdef,3\nb,\n",
        "choice.csv": "sample_id,action,label\na,drop,\nb,relabel,2\n",
    }
    return {name: bytes([reading.LISTS.index(name)]) + text.encode() for name, text in texts.items()}


def _packed(kind: str) -> dict[str, bytes]:
    file = io.BytesIO()
    form = tarfile.PAX_FORMAT if kind == "pax" else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=file, mode="w", format=form) as made:
        for name, content in archives.plain_files().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return {kind: file.getvalue()}


def _own(pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(CORPUS.glob(pattern))}


_CSV = 'path label split train val test , ; \\x09 \\x0d\\x0a \\xef\\xbb\\xbf " ../ / \\x00'
_NPY = "'descr' 'fortran_order' 'shape' True False |u1 <f4 <f8 <i8 |O <U4 >f2 |b1 -1 99999999999 (3,) ( ) ]"
_SAFE = (
    '"dtype" "shape" "data_offsets" "__metadata__" F32 F16 BF16 I64 U8 BOOL module. backbone. mean std null -1 [] {}'
)
_JSON = 'null true false -1 0 1 1e999 9999999999999999999999 NaN "" [] {} \\"\\\\ud800\\" "=1+1" "<b>" "../x" 0.5 2 , :'
_NAMES = "../ ./ / \\\\ C: .png .jpg train/ val/ test/ __MACOSX/ ._ .DS_Store \\x00 \\x0a // \\xc2\\x85 \\x1b[31m"
_ADDRESS = (
    "http:// [ ] : @ % / ? & = \\x0a \\xc2\\xb2 \\xd9\\xa3 \\x1d port= host= sslmode= verify-full "
    "connect_timeout= 9999999999"
)
_TIMES = " 0001-01-01T00:00:00+01:00 9999-12-31T23:59:59-01:00 inf nan 1e400 sample_id label drop relabel"

GROUPS: dict[str, Group] = {
    "csv": Group("source", _csv, lambda: {"one": b"path,label\na.png,cat\n./a.png,dog\n", **_own("*.csv")}, _CSV),
    "lists of samples": Group("list", _list, _list_seeds, _CSV + _TIMES),
    "archive members": Group("source", shaped.archive, shaped.archive_seeds, _NAMES),
    "zip": Group("source", _file("t.zip"), lambda: {"one": archives.zipped(archives.plain_files())} | _own("*.zip")),
    "tar": Group("source", _file("t.tar"), lambda: {**_packed("pax"), **_packed("gnu")}),
    "npz headers": Group("source", shaped.npz, shaped.npz_seeds, _NPY),
    "safetensors headers": Group("checkpoint", shaped.safetensors, shaped.safetensors_seeds, _SAFE),
    "state dicts": Group("checkpoint", shaped.state, shaped.state_seeds, _SAFE),
    "pickles": Group("checkpoint", _file("w.pt"), lambda: {"one": code.payload(), **_own("checkpoint--*.pt")}),
    "run folder": Group(
        "run",
        _run,
        lambda: {str(n): bytes([n + 128]) + folders.whole()[name] for n, name in enumerate(json_names())},
        _JSON,
    ),
    "link": Group(
        "link",
        _link,
        lambda: {"one": b"\0".join(bytes([n + 1]) + b"spc:0:1" for n in range(len(links.KEYS)))},
        " ".join((*links._PARTS, _ADDRESS)),
    ),
    "addresses and texts": Group("text", _text, _text_seeds, _ADDRESS + _TIMES),
}


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
        case = self.group.case(data)
        lay(self.folder, case)
        outcome, problem, place = self._tried(case)
        if seen := self._found():
            problem = place = f"forbidden: {seen[:3]}"
        elif left := [path.name for path in (self.folder / "home").glob("*/.tmp-*")]:
            problem, place = f"left behind: {left[:3]}", "left behind"
        if problem:
            self.findings.setdefault(place, {"problem": problem[-3000:], "input": data.hex()})
        else:
            self.counts[outcome] += 1

    def _tried(self, case: Case) -> tuple[str, str, str]:
        """How it ended, what is wrong with that (nothing: ""), and where."""
        from mspc_core.errors import InputError
        from tests.fuzz import targets

        try:
            with self._watch():
                targets.TARGETS[self.group.target](self.folder / "case", case.options)
        except InputError as error:
            wrong = targets.bad_sentence(str(error))
            last = traceback.extract_tb(error.__traceback__)[-1]
            return (
                "refused",
                f"{wrong}: {str(error)[:300]!r}" if wrong else "",
                f"{wrong} {last.filename}:{last.lineno}",
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of a library in Rust is no Exception
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} {last.filename}:{last.lineno}"
            return "defect", traceback.format_exc(limit=-6), where
        return "accepted", "", ""
