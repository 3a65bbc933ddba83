"""File names for exported images. Nothing that comes from the data is trusted: not a path, a file name or a class.

Names are safe on the disks people use (no `..`, no control characters, nothing hidden, no Windows device, no two that
differ only in case), and the tree they make is read back by `import` as the same classes and splits.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mspc_core.data.decode import IMAGE_SUFFIXES
from mspc_core.data.folder import is_image_name, plan_layout
from mspc_core.data.store import Dataset
from mspc_core.errors import InputError

# What an export writes beside the images.
RESERVED = ("checksums.sha256", "manifest.csv", "export.json")
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_NUMBERED = [f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)]
_DEVICES = frozenset(("con", "prn", "aux", "nul", *_NUMBERED))
_LONGEST = 180  # bytes of one name; file systems take 255, and names get an id and a suffix here
_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\0\0\0\x0cjP  ", ".jp2"),
    (b"\xff\x4f\xff\x51", ".j2k"),
    (b"II+\0", ".tif"),
    *((b"P%d" % number, suffix) for number, suffix in enumerate((".pbm", ".pgm", ".ppm") * 2, start=1)),
)


def safe_part(text: str) -> str:
    """One path component made from any text; text that is harmless stays as it is."""
    kept = "".join("_" if unicodedata.category(character)[0] == "C" else character for character in text)
    kept = _FORBIDDEN.sub("_", kept).strip(" ").rstrip(". ")
    if kept.startswith("."):
        kept = f"_{kept[1:]}"
    if kept.partition(".")[0].strip().lower() in _DEVICES or kept.upper() == "__MACOSX":
        kept = f"_{kept}"
    stem, suffix = os.path.splitext(kept)
    if len(suffix.encode()) > 16:
        stem, suffix = kept, ""
    stem = stem.encode()[: _LONGEST - len(suffix.encode())].decode(errors="ignore")
    return stem + suffix or "_"


def suffix_of(content: bytes) -> str:
    """The usual suffix of an image file, from its first bytes; .img where they are unknown."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return ".avif"
    return next((suffix for magic, suffix in _MAGIC if content.startswith(magic)), ".img")


def with_suffix(name: str, content: bytes) -> str:
    """`name`, with the suffix of its content where it has none that says image."""
    return name if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES else name + suffix_of(content)


@dataclass
class Taken:
    """Names given out so far, as a disk sees them that does not tell upper from lower case."""

    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    def claim(self, folder: str, name: str, identity: str, *, by_stem: bool) -> str:
        """`folder/name`, or with the sample's id in it where that is taken. by_stem: names that differ in the suffix
        alone count as the same."""
        stem, suffix = os.path.splitext(name)
        number = 0
        while True:
            path = f"{folder}/{stem}{suffix}" if folder else f"{stem}{suffix}"
            key = _key(os.path.splitext(path)[0] if by_stem else path)
            if key not in self.files and key not in self.folders:
                self.files.add(key)
                return path
            number += 1
            stem = f"{os.path.splitext(name)[0]}-{identity}" + (f"-{number}" if number > 1 else "")


def class_folders(classes: Sequence[str]) -> list[str]:
    """A folder name for each class, all different."""
    taken = Taken(files={_key(name) for name in RESERVED})
    return [taken.claim("", safe_part(name), str(number), by_stem=False) for number, name in enumerate(classes)]


def tree_names(dataset: Dataset, rows: np.ndarray, *, png: bool) -> list[str]:
    """Relative paths for an image folder, in the order of rows (int64 [n] into the data set).

    Where the source is such a tree, paths stay as they are there; else they become `<class>/<file name>`, below
    `<split>/` where there are several. Names without an image suffix get one when their content is known
    (`with_suffix`). png: the images will be PNG whatever they are called.
    """
    table = dataset.manifest.iloc[rows]
    paths = [str(path) for path in table["path"]]
    if png:
        paths = [f"{_without_suffix(path)}.png" for path in paths]
    ids, labels, splits = table["sample_id"].tolist(), table["label"].tolist(), table["split"].tolist()
    folders = class_folders(dataset.info.classes)
    lone = set(splits) == {"train"}
    flat = [folders[label] for label in labels]
    split = [f"{part}/{folder}" for part, folder in zip(splits, flat, strict=True)]
    candidates = [_flat(paths, ids, where) for where in ([flat, split] if lone else [split])]
    if dataset.info.kind in ("folder", "archive") and (names := _as_in_source(paths, ids)):
        candidates.insert(0, names)
    return next((names for names in candidates if reads_back(names, labels, splits)), candidates[-1])


def reads_back(names: Sequence[str], labels: Sequence[int], splits: Sequence[str]) -> bool:
    """Would `import` find the same classes and splits in a folder of these files?"""
    files = [name if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES else f"{name}.png" for name in names]
    try:
        layout = plan_layout(files, "the export")
    except InputError:
        return False
    forth: dict[int, int] = {}
    for file, label, split in zip(files, labels, splits, strict=True):
        place = layout.place(file)
        if place is None or place[1] != split or not is_image_name(file):
            return False
        if forth.setdefault(place[0], label) != label:
            return False
    return len(set(forth.values())) == len(forth)


def _flat(paths: list[str], ids: list[str], folders: list[str]) -> list[str]:
    taken = Taken()
    return [
        taken.claim(folder, safe_part(path.rpartition("/")[2]), identity, by_stem=True)
        for path, identity, folder in zip(paths, ids, folders, strict=True)
    ]


def _as_in_source(paths: list[str], ids: list[str]) -> list[str]:
    """The source's own paths made safe; [] if two of its folders differ only in case."""
    split = [[safe_part(part) for part in path.split("/") if part not in ("", ".")] or ["_"] for path in paths]
    taken = Taken(files={_key(name) for name in RESERVED})
    spelled: dict[str, str] = {}
    for parts in split:
        if len(parts) > 1 and _key(parts[0]) in taken.files:
            parts[0] = f"_{parts[0]}"
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if spelled.setdefault(_key(folder), folder) != folder:
                return []
    # An archive may hold both `a/b.png` and `a/b.png/c.png`: folders come first, and the file gets another name.
    taken.folders.update(spelled)
    return [
        taken.claim("/".join(parts[:-1]), parts[-1], identity, by_stem=False)
        for parts, identity in zip(split, ids, strict=True)
    ]


def _without_suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in IMAGE_SUFFIXES else path


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
