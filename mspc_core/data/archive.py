"""A zip or tar of a class-per-folder directory, read member by member; nothing is ever extracted to disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from mspc_core.data.decode import MAX_FILE_BYTES, UnreadableImage, too_many_bytes
from mspc_core.data.folder import NO_CLASS, is_image_name, plan_layout
from mspc_core.data.source import NOT_AN_IMAGE, RawSample, Skipped, hash_files, shown
from mspc_core.errors import InputError

MAX_MEMBERS = 5_000_000
MAX_TOTAL_BYTES = 2 * 2**40
# Images are compressed already: an archive that grows a hundredfold, beyond what flat bitmaps could explain, is a bomb.
MAX_RATIO = 100
RATIO_FREE_BYTES = 2**30
# What the two standard modules raise on damaged or hostile files.
_DAMAGED_MEMBER = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, struct.error),
    *(NotImplementedError, RuntimeError, ValueError, KeyError, IndexError, OverflowError),
)
_DAMAGED = (*_DAMAGED_MEMBER, OSError)
_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


@dataclass(frozen=True)
class _Member:
    """path: cleaned, with slashes. size: declared, in bytes. problem: why it is not read, if so. open: its bytes."""

    path: str
    size: int
    problem: str | None
    open: Callable[[], IO[bytes]]

    def read(self) -> bytes:
        if self.size > MAX_FILE_BYTES:
            raise UnreadableImage(too_many_bytes())
        try:
            with self.open() as handle:
                return handle.read(MAX_FILE_BYTES + 1)
        except _DAMAGED_MEMBER as error:
            raise UnreadableImage("damaged inside the archive, or packed in an unknown way") from error


class ArchiveSource:
    """Images in a zip or tar (plain, gzip, bzip2, xz), in the order of the archive."""

    kind = "archive"

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path
        images = [m.path for m in self._members() if not m.problem and is_image_name(m.path)]
        self._layout = plan_layout(images, path.name)
        self.classes = self._layout.classes
        self.count: int | None = len(images)
        self._split_counts = self._layout.counts(images)

    def split_counts(self) -> dict[str, int]:
        return self._split_counts

    def fingerprint(self) -> str:
        return hash_files([("", self._path)])

    def samples(self) -> Iterator[RawSample | Skipped]:
        for member in self._members():
            if member.problem:
                yield Skipped(member.path, member.problem)
            elif not is_image_name(member.path):
                yield Skipped(member.path, NOT_AN_IMAGE)
            elif (place := self._layout.place(member.path)) is None:
                yield Skipped(member.path, NO_CLASS)
            else:
                try:
                    yield RawSample(member.path, *place, member.read())
                except UnreadableImage as error:
                    yield Skipped(member.path, error.reason)

    def _members(self) -> Iterator[_Member]:
        """All members that are not folders. Sizes are checked as they are declared, before any of it is unpacked."""
        packed = self._path.stat().st_size
        total = count = 0
        read = _zip_members if self._path.suffix.lower() == ".zip" else _tar_members
        try:
            for member in read(self._path):
                count, total = count + 1, total + member.size
                if count > MAX_MEMBERS:
                    raise InputError(f"{shown(self._path.name)} holds more than {MAX_MEMBERS:,} files: split it.")
                if total > MAX_TOTAL_BYTES or total > max(RATIO_FREE_BYTES, MAX_RATIO * packed):
                    raise InputError(
                        f"{shown(self._path.name)} would unpack to over {total / 2**30:.1f} GiB, as archive bombs do "
                        f"(it has {packed / 2**20:.1f} MiB): if you trust it, unpack it and import the folder."
                    )
                yield member
        except PermissionError:
            raise
        except _DAMAGED as error:
            raise InputError(
                f"{shown(self._path.name)} is damaged, incomplete or not an archive of the kind its name says: "
                "fetch or pack it again."
            ) from error


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            # Older Windows tools write backslashes.
            name, problem = _clean(info.filename.replace("\\", "/"))
            mode = info.external_attr >> 16
            if stat.S_ISLNK(mode):
                problem = "a symbolic link"
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                problem = "not a regular file"
            elif info.flag_bits & 1:
                problem = "encrypted with a password"
            yield _Member(name, info.file_size, problem, partial(archive.open, info))


def _tar_members(path: Path) -> Iterator[_Member]:
    with _unpacked(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all; only the next is needed
            if info.isdir():
                continue
            name, problem = _clean(info.name)
            if info.issym() or info.islnk():
                problem = "a symbolic link" if info.issym() else "a hard link"
            elif not info.isreg():
                problem = "not a regular file"
            yield _Member(name, info.size, problem, partial(_extracted, archive, info))


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    handle = archive.extractfile(info)
    if handle is None:
        raise tarfile.ReadError("not a file")
    return handle


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as packed:
        magic = packed.read(6)
        packed.seek(0)
        opener = next((opener for start, opener in _OPENERS.items() if magic.startswith(start)), None)
        if opener is None:
            yield packed
            return
        with opener(packed) as stream:
            yield _Bounded(stream)  # type: ignore[misc]


class _Bounded:
    """A decompressing stream that refuses to hand out huge pieces: tarfile reads a header extension of any declared
    size in one piece, so a few kilobytes of gzip could fill the memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_FILE_BYTES + 1:
            raise tarfile.ReadError("an oversized header")
        return self._stream.read(size)


def _clean(name: str) -> tuple[str, str | None]:
    """A member's path with `./` and doubled slashes removed, and what is wrong with it, if anything."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return name, "an absolute path"
    if ".." in parts:
        return name, "a path that leads out of the archive"
    return "/".join(parts), None
