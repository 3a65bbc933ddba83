"""Image folders, zips of them, and FiftyOne's layout: where each image's bytes go, and what lies beside them."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from mspc_core.data.store import Dataset
from mspc_core.export.tables import csv_text

CHECKSUMS, MANIFEST, ABOUT = "checksums.sha256", "manifest.csv", "export.json"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same export gives the same file


@dataclass(frozen=True)
class Entry:
    """One exported image. file: its path in the export, with slashes; "" inside Parquet. sha256: of its bytes."""

    row: int
    file: str
    sha256: str


class Sink(Protocol):
    """A place for files by relative path (safe names only, see `names`)."""

    def write(self, name: str, content: bytes) -> None: ...

    def link(self, name: str, source: str, content: bytes) -> bool:
        """Make `name` the same file as `source`, which holds `content`; False where that cannot be done and the bytes
        must be copied."""


class FolderSink:
    """Writes below a folder. Paths that exist are an error: every name is given out once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: set[str] = set()

    def write(self, name: str, content: bytes) -> None:
        with self._place(name).open("xb") as handle:
            handle.write(content)

    def link(self, name: str, source: str, content: bytes) -> bool:
        place = self._place(name)
        try:
            os.link(source, place, follow_symlinks=False)
        except OSError:  # another device, too many links, or a file system without them
            return False
        # Between reading and linking the path may have become another file.
        if not place.is_symlink() and place.read_bytes() == content:
            return True
        place.unlink()
        return False

    def _place(self, name: str) -> Path:
        parent = os.path.dirname(name)
        if parent not in self._made:
            (self.root / parent).mkdir(parents=True, exist_ok=True)
            self._made.add(parent)
        return self.root / name


class ZipSink:
    """Writes into a zip without compression: images are compressed already."""

    def __init__(self, handle: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED)

    def write(self, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name, _ZIP_TIME)
        info.external_attr = 0o100644 << 16
        self._zip.writestr(info, content)

    def link(self, name: str, source: str, content: bytes) -> bool:
        return False

    def __enter__(self) -> ZipSink:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Closed also after an error (while its file is open), without hiding that error by another."""
        try:
            self._zip.close()
        except (OSError, ValueError):
            if kind is None:
                raise


@dataclass
class Labels:
    """FiftyOne's labels.json: the classes, and for each file name without its suffix the index of its class."""

    classes: tuple[str, ...]
    labels: dict[str, int] = field(default_factory=dict)

    def content(self) -> bytes:
        return (json.dumps({"classes": list(self.classes), "labels": self.labels}, ensure_ascii=False) + "\n").encode()


def fiftyone_names(dataset: Dataset, rows: np.ndarray) -> list[str]:
    """`data/<sample id>`, below `<split>/` where there are several splits; suffixes come with the content."""
    table = dataset.manifest.iloc[rows]
    splits, ids = table["split"].tolist(), table["sample_id"].tolist()
    lone = len(set(splits)) == 1
    return [f"data/{name}" if lone else f"{split}/data/{name}" for split, name in zip(splits, ids, strict=True)]


def fiftyone_labels(dataset: Dataset, entries: Sequence[Entry]) -> dict[str, bytes]:
    """The labels.json of each `data` folder, by path."""
    numbers = dataset.manifest["label"].to_numpy()
    found: dict[str, Labels] = {}
    for entry in entries:
        folder, _, name = entry.file.rpartition("/")
        place = f"{folder.removesuffix('data')}labels.json"
        labels = found.setdefault(place, Labels(dataset.info.classes))
        labels.labels[os.path.splitext(name)[0]] = int(numbers[entry.row])
    return {place: labels.content() for place, labels in found.items()}


def checksums(entries: Sequence[Entry]) -> bytes:
    """What `sha256sum --check` reads. Names are safe: no line breaks, no backslashes."""
    return "".join(f"{entry.sha256}  {entry.file}\n" for entry in entries).encode()


def manifest(dataset: Dataset, entries: Sequence[Entry]) -> bytes:
    """Which exported file is which sample: CSV with file, sha256, sample_id, source_path, class, label, split."""
    table = dataset.manifest.iloc[[entry.row for entry in entries]]
    frame = table[["sample_id", "path", "label", "split"]].rename(columns={"path": "source_path"})
    frame.insert(0, "file", [entry.file for entry in entries])
    frame.insert(1, "sha256", [entry.sha256 for entry in entries])
    frame.insert(4, "class", [dataset.info.classes[number] for number in table["label"]])
    return csv_text(frame).encode("utf-8", "backslashreplace")


def about(facts: dict[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
