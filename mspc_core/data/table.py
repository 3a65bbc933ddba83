"""A CSV or TSV manifest: one row an image, paths relative to the manifest's folder."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mspc_core.data.decode import UnreadableImage
from mspc_core.data.folder import LEADS_OUT, inside
from mspc_core.data.labels import Labels
from mspc_core.data.source import RawSample, Skipped, lone_split_is_train, read_regular, shown, split_of
from mspc_core.errors import InputError

MAX_TABLE_BYTES = 512 * 2**20
_PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path")
_LABEL_NAMES = ("label", "class", "target", "category", "class_name", "label_name")
_SPLIT_NAMES = ("split", "subset", "partition")


@dataclass(frozen=True)
class _Row:
    """Cells as written; None where the row is too short to have one."""

    path: str | None
    label: str | None
    split: str | None


class TableSource:
    """Rows in file order. The first line names the columns: path, label and, if wanted, split (train, val or test)."""

    kind = "table"

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._root = os.path.realpath(path.parent)
        self._name = path.name
        self._content = _read(path)
        self._rows = list(_parse(self._content, path.name))
        if not self._rows:
            raise InputError(f"{shown(path.name)} lists no image: give one row an image below the column names.")
        self._labels = Labels.found(row.label for row in self._rows)
        self.classes = self._labels.classes
        self.count: int | None = len(self._rows)
        splits = {split for row in self._rows if (split := _split(row))}
        self._stored_as = lone_split_is_train(splits)

    def split_counts(self) -> dict[str, int]:
        return dict(Counter(self._stored_as[split] for row in self._rows if (split := _split(row))))

    def fingerprint(self) -> str:
        """sha256 over the manifest and the size, modification time and permissions of the files it names."""
        digest = hashlib.sha256(self._content)
        for row in self._rows:
            try:
                place = os.path.realpath(os.path.join(self._root, row.path or ""))
                if not inside(self._root, place):  # nothing is said, or asked, of files elsewhere
                    raise ValueError("outside")
                status = os.stat(place)
                state = f"{status.st_size}|{status.st_mtime_ns}|{status.st_mode}"
            except (OSError, ValueError):
                state = "missing"
            digest.update(f"{state}\0".encode())
        return digest.hexdigest()

    def samples(self) -> Iterator[RawSample | Skipped]:
        for line, row in enumerate(self._rows, start=2):
            yield self._sample(line, row)

    def _sample(self, line: int, row: _Row) -> RawSample | Skipped:
        path = (row.path or "").strip()
        if not path:
            return Skipped(f"{self._name} row {line}", "the row names no file")
        label = self._labels.place(path, row.label)
        if isinstance(label, Skipped):
            return label
        split = _split(row)
        if split is None:
            return Skipped(path, f"unknown split {shown(row.split or '')} (use train, val or test)")
        try:
            return RawSample(path, label, self._stored_as[split], read_regular(self._resolve(path)))
        except UnreadableImage as error:
            return Skipped(path, error.reason)

    def _resolve(self, path: str) -> str:
        """The real path of a listed file. Raises `UnreadableImage` when it lies outside the manifest's folder."""
        local = path if os.path.lexists(os.path.join(self._root, path)) else path.replace("\\", "/")
        if os.path.isabs(local):
            raise UnreadableImage("an absolute path; paths must be relative to the manifest's folder")
        if "\0" in local:
            raise UnreadableImage("not a valid path")
        if not inside(self._root, os.path.normpath(os.path.join(self._root, local))):
            raise UnreadableImage("a path that leads out of the manifest's folder")
        real = os.path.realpath(os.path.join(self._root, local))
        if not inside(self._root, real):
            raise UnreadableImage(LEADS_OUT)
        return real


def _read(path: Path) -> bytes:
    with path.open("rb") as handle:
        content = handle.read(MAX_TABLE_BYTES + 1)
    if len(content) > MAX_TABLE_BYTES:
        raise InputError(f"{shown(path.name)} is larger than {MAX_TABLE_BYTES // 2**20} MiB: split it.")
    return content


def _parse(content: bytes, name: str) -> Iterator[_Row]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{shown(name)} is not UTF-8 text: save it as CSV in UTF-8.") from None
    header, _, _ = text.partition("\n")
    separator = "\t" if name.lower().endswith(".tsv") else max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        columns = [cell.strip().lower() for cell in next(reader, [])]
        path = _find(columns, _PATH_NAMES, name)
        label = _find(columns, _LABEL_NAMES, name)
        split = next((columns.index(wanted) for wanted in _SPLIT_NAMES if wanted in columns), None)
        for cells in reader:
            if cells:
                yield _Row(_cell(cells, path), _cell(cells, label), _cell(cells, split))
    except csv.Error as error:
        raise InputError(f"{shown(name)} is not a readable table (line {reader.line_num}: {error}).") from None


def _find(columns: list[str], names: tuple[str, ...], table: str) -> int:
    for wanted in names:
        if wanted in columns:
            return columns.index(wanted)
    raise InputError(
        f"{shown(table)} has no column {names[0]!r}: its first line must name the columns path and label "
        f"(and, if wanted, split), not {shown(', '.join(columns))}."
    )


def _cell(cells: list[str], position: int | None) -> str | None:
    return cells[position] if position is not None and position < len(cells) else None


def _split(row: _Row) -> str | None:
    """train, val or test; train where the cell is empty; None where it says something else."""
    text = (row.split or "").strip()
    return split_of(text) if text else "train"
