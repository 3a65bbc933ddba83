"""A folder with one sub-folder a class, with or without train/, val/ and test/ above them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mspc_core.data.decode import IMAGE_SUFFIXES, UnreadableImage
from mspc_core.data.source import (
    NOT_AN_IMAGE,
    RawSample,
    Skipped,
    lone_split_is_train,
    read_regular,
    shown,
    split_of,
)
from mspc_core.errors import InputError

NO_CLASS = "not inside a class folder"
LEADS_OUT = "a symbolic link that leads out of the folder"


@dataclass(frozen=True)
class Layout:
    """How relative paths give class and split. prefix: wrapping folders above the data. split_folders: name → split,
    empty where there are none. index: class folder → class index."""

    prefix: tuple[str, ...]
    split_folders: dict[str, str]
    index: dict[str, int]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.index)

    def place(self, path: str) -> tuple[int, str] | None:
        """(label, split) of an image, or None where it lies outside the class folders."""
        parts = tuple(path.split("/"))
        if parts[: len(self.prefix)] != self.prefix:
            return None
        parts = parts[len(self.prefix) :]
        split = "train"
        if self.split_folders:
            if parts[0] not in self.split_folders:
                return None
            split, parts = self.split_folders[parts[0]], parts[1:]
        return (self.index[parts[0]], split) if len(parts) > 1 and parts[0] in self.index else None

    def counts(self, paths: Iterable[str]) -> dict[str, int]:
        """Images of each split, by their names."""
        places = (self.place(path) for path in paths if is_image_name(path))
        return dict(Counter(place[1] for place in places if place is not None))


def is_image_name(path: str) -> bool:
    """Whether the name says image. Hidden files and macOS resource forks (`._cat.jpg`, `__MACOSX/`) are none."""
    parts = path.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and os.path.splitext(parts[-1])[1].lower() in IMAGE_SUFFIXES


def plan_layout(image_paths: Iterable[str], where: str) -> Layout:
    """Find class folders (and split folders) from the relative paths of all images.

    Split folders are taken for such when at least one of them has sub-folders and nothing else stands beside them, or
    when there are two different ones; so a class that is called "train" (the vehicle) among other classes stays a
    class. A single wrapping folder, as archives have it, is passed through. Raises `InputError` when images are not
    sorted in folders.
    """
    paths = [tuple(path.split("/")) for path in image_paths]
    prefix: tuple[str, ...] = ()
    while True:
        nested = [parts for parts in paths if len(parts) > 1]
        tops = {parts[0] for parts in nested}
        deep = {parts[0] for parts in nested if len(parts) > 2}
        splits = {top: split for top in tops if (split := split_of(top))}
        if splits.keys() & deep and (splits.keys() == tops or len(set(splits.values())) > 1):
            used = lone_split_is_train(splits[top] for top in splits if top in deep)
            folders = {top: used.get(split, split) for top, split in splits.items()}
            return Layout(
                prefix, folders, _index({parts[1] for parts in nested if parts[0] in splits and len(parts) > 2})
            )
        if len(tops) == 1 and deep:
            prefix, paths = (*prefix, *tops), [parts[1:] for parts in nested]
            continue
        if not tops:
            problem = "its images lie in no sub-folder" if paths else "there is no image in it"
            raise InputError(
                f"{shown(where)} is not sorted by class ({problem}): make one sub-folder a class, "
                "or list the images in a CSV with columns path and label."
            )
        return Layout(prefix, {}, _index(tops))


def _index(names: set[str]) -> dict[str, int]:
    return {name: position for position, name in enumerate(sorted(names))}


@dataclass(frozen=True)
class _Found:
    """path: relative, with slashes. state: size, modification time, permissions. problem: why it is not read, if so."""

    path: str
    state: tuple[int, ...] = ()
    is_link: bool = False
    problem: str | None = None


class FolderSource:
    """Images below a folder, in sorted order of their paths. Links are followed only to files inside the folder."""

    kind = "folder"

    def __init__(self, root: Path) -> None:
        self.location = str(root)
        self._root = os.path.realpath(root)
        self._files = sorted(self._walk(), key=lambda found: found.path)
        if not self._files:
            raise InputError(f"The folder {shown(root.name)} is empty: choose one with a sub-folder for each class.")
        images = [found.path for found in self._files if not found.problem and is_image_name(found.path)]
        self._layout = plan_layout(images, root.name)
        self.classes = self._layout.classes
        self.count: int | None = len(images)

    def split_counts(self) -> dict[str, int]:
        return self._layout.counts(found.path for found in self._files if not found.problem)

    def fingerprint(self) -> str:
        """sha256 over sorted (path, size, modification time, permissions): contents are not read, so a second import is
        instant; permissions count because mending them makes skipped files readable."""
        digest = hashlib.sha256()
        for found in self._files:
            digest.update(os.fsencode(found.path))
            digest.update(f"\0{found.state}\0{found.problem}\0".encode())
        return digest.hexdigest()

    def samples(self) -> Iterator[RawSample | Skipped]:
        for found in self._files:
            if found.problem:
                yield Skipped(found.path, found.problem)
            elif not is_image_name(found.path):
                yield Skipped(found.path, NOT_AN_IMAGE)
            elif (place := self._layout.place(found.path)) is None:
                yield Skipped(found.path, NO_CLASS)
            else:
                try:
                    yield RawSample(found.path, *place, self._read(found))
                except UnreadableImage as error:
                    yield Skipped(found.path, error.reason)

    def _read(self, found: _Found) -> bytes:
        path = os.path.join(self._root, found.path)
        if found.is_link:
            path = os.path.realpath(path)
            if not inside(self._root, path):  # it was inside when the folder was listed
                raise UnreadableImage(LEADS_OUT)
        return read_regular(path)

    def _walk(self) -> Iterator[_Found]:
        pending = [""]
        while pending:
            relative = pending.pop()
            try:
                with os.scandir(os.path.join(self._root, relative)) as entries:
                    for entry in entries:
                        path = f"{relative}/{entry.name}" if relative else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(path)
                        else:
                            yield self._look(path, entry)
            except PermissionError:
                if not relative:
                    raise
                yield _Found(relative, problem="no permission to read this folder")

    def _look(self, path: str, entry: os.DirEntry[str]) -> _Found:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            return _Found(path, _state(status))
        if not stat.S_ISLNK(status.st_mode):
            return _Found(path, problem="not a regular file")
        target = os.path.realpath(entry.path)
        if not inside(self._root, target):
            return _Found(path, problem=LEADS_OUT)
        if not os.path.isfile(target):
            return _Found(path, problem="a symbolic link that leads to no file")
        status = os.stat(target)
        return _Found(path, _state(status), is_link=True)


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_mode


def inside(root: str, path: str) -> bool:
    """Whether `path` lies below `root`; both real paths."""
    return path.startswith(root.rstrip(os.sep) + os.sep)
