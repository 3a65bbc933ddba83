"""The images as they lie in the source, each checked against its sample id; or the stored pixels as PNG.

A sample id is a hash of path and bytes, so a file that changed since it was imported cannot pass for the sample.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mspc_core.data.decode import UnreadableImage
from mspc_core.data.folder import LEADS_OUT, inside
from mspc_core.data.source import RawSample, Skipped, open_known, read_regular, shown
from mspc_core.data.store import Dataset, DatasetInfo, sample_id
from mspc_core.errors import InputError, ShouldStop, stop_if

FILE_KINDS = ("folder", "table")
ORIGINAL_KINDS = (*FILE_KINDS, "archive", "parquet")
CHANGED = "changed since it was imported"
VANISHED = "not in the source any more"
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_CHECK_EVERY = 64  # images between two looks at the request to stop


@dataclass(frozen=True, eq=False)
class Image:
    """One image to export. row: in the data set. content: its bytes, or None with the problem in words. file: where it
    lies as a file of its own, else ""."""

    row: int
    content: bytes | None
    problem: str = ""
    file: str = ""


def has_originals(info: DatasetInfo) -> bool:
    """Was this set imported from image files whose bytes can be read again?"""
    return info.kind in ORIGINAL_KINDS


def source_path(info: DatasetInfo) -> Path:
    """Where the source lies. Raises `InputError` where it is gone."""
    path = Path(on_disk(info.source))
    if not path.exists():
        raise InputError(
            f"The source of {info.name!r} is not at {info.source} any more: bring it back, or export the stored pixels "
            f"instead ({info.size}×{info.size} PNG; --pixels stored)."
        )
    return path


def on_disk(text: str) -> str:
    """A path as it was recorded, back to the one on disk: bytes that are no UTF-8 were written as \\xNN."""
    if os.path.lexists(text) or "\\x" not in text:
        return text
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text.encode("utf-8", "surrogateescape"))
    return os.fsdecode(raw)


def images_of(
    dataset: Dataset, rows: np.ndarray, *, stored: bool, should_stop: ShouldStop | None = None
) -> Iterator[Image]:
    """Every row once, in order as far as the source has kept its own. rows: int64 [n], ascending.

    Raises `InputError` if the source is gone or damaged as a whole, and `Cancelled`.
    """
    if stored or not has_originals(dataset.info):
        found = _stored(dataset, rows)
    elif dataset.info.kind in FILE_KINDS:
        found = _files(dataset, rows)
    else:
        found = _stream(dataset, rows, should_stop)
    with closing(found):  # type: ignore[type-var]  # all three are generators
        for number, image in enumerate(found):
            if number % _CHECK_EVERY == 0:
                stop_if(should_stop)
            yield image
    stop_if(should_stop)


def expected_bytes(dataset: Dataset, rows: np.ndarray, *, stored: bool) -> int:
    """About how much the images take, for an early look at the free space."""
    info = dataset.info
    if stored or not has_originals(info):
        return len(rows) * info.size * info.size * 3
    share = len(rows) / max(1, info.count + info.skipped)
    source = source_path(info)
    if info.kind in FILE_KINDS:
        return _size_of_files(dataset, rows)
    files = [source] if source.is_file() else [path for path in source.rglob("*.parquet") if path.is_file()]
    return int(share * sum(path.stat().st_size for path in files))


def png_bytes(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as a PNG file."""
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
    return file.getvalue()


def _stored(dataset: Dataset, rows: np.ndarray) -> Iterator[Image]:
    for row in rows.tolist():
        yield Image(row, png_bytes(dataset.pixels[row]))


def _files(dataset: Dataset, rows: np.ndarray) -> Iterator[Image]:
    root = _root(dataset.info)
    table = dataset.manifest.iloc[rows]
    for row, path, identity in zip(rows.tolist(), table["path"], table["sample_id"], strict=True):
        try:
            file = resolve(root, str(path))
            content = read_regular(file)
        except UnreadableImage as error:
            yield Image(row, None, VANISHED if error.reason == "there is no such file" else error.reason)
            continue
        if sample_id(str(path), content) == original_id(str(identity)):
            yield Image(row, content, file=file)
        else:
            yield Image(row, None, CHANGED)


def _stream(dataset: Dataset, rows: np.ndarray, should_stop: ShouldStop | None) -> Iterator[Image]:
    """Archives and Parquet are read once, from front to back: what is wanted is picked out by its id."""
    table = dataset.manifest.iloc[rows]
    wanted = dict(zip(table["sample_id"].tolist(), rows.tolist(), strict=True))
    source = open_known(str(source_path(dataset.info)))
    there: set[str] = set()
    seen: Counter[str] = Counter()
    with closing(source.samples()) as samples:  # type: ignore[type-var]  # every source's samples() is a generator
        for number, item in enumerate(samples):
            if number % _CHECK_EVERY == 0:
                stop_if(should_stop)
            path = item.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            there.add(path)
            if isinstance(item, Skipped) or not isinstance(item, RawSample) or not isinstance(item.data, bytes):
                continue
            identity = sample_id(path, item.data)
            seen[identity] += 1
            if seen[identity] > 1:  # as the writer of the data set numbers exact duplicates
                identity = f"{identity}-{seen[identity]}"
            row = wanted.pop(identity, None)
            if row is not None:
                yield Image(row, item.data)
    paths = dataset.manifest["path"]
    for row in wanted.values():
        yield Image(row, None, CHANGED if paths.iloc[row] in there else VANISHED)


def original_id(identity: str) -> str:
    """A sample id without the number that an exact duplicate got."""
    return identity.partition("-")[0]


def resolve(root: str, path: str) -> str:
    """The real file of a recorded path. Raises `UnreadableImage` where it leads out of the source."""
    local = on_disk(os.path.join(root, path))
    if not os.path.lexists(local):
        local = os.path.join(root, path.replace("\\", "/"))  # tables written on Windows
    if "\0" in local or not inside(root, os.path.normpath(local)):
        raise UnreadableImage("a path that leads out of the source")
    real = os.path.realpath(local)
    if not inside(root, real):
        raise UnreadableImage(LEADS_OUT)
    return real


def _root(info: DatasetInfo) -> str:
    path = source_path(info)
    folder = path if info.kind == "folder" else path.parent
    if not folder.is_dir():
        raise InputError(f"{shown(info.source)} is not a folder any more: bring the source back.")
    return os.path.realpath(folder)


def _size_of_files(dataset: Dataset, rows: np.ndarray) -> int:
    root, total = _root(dataset.info), 0
    for path in dataset.manifest["path"].iloc[rows]:
        try:
            total += os.stat(resolve(root, str(path))).st_size
        except (OSError, ValueError, UnreadableImage):
            continue
    return total
