"""What every kind of data source has in common, and the one way to open any of them."""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from mspc_core import access
from mspc_core.data.decode import MAX_FILE_BYTES, UnreadableImage, too_many_bytes
from mspc_core.errors import InputError, explain_os_error

NOT_AN_IMAGE = "not an image file"
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ACCEPTED = (
    "a folder with one sub-folder a class, a zip or tar of one, a Parquet file or folder of shards, "
    "a CSV or TSV with columns path and label, an .npz, or the name of a torchvision data set"
)
_SPLITS = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, eq=False)
class RawSample:
    """One image as it lies in the source. path: its name there, only ever used as text. label: class index. split:
    train, val or test. data: an image file's bytes, or an array `decode.array_image` takes."""

    path: str
    label: int
    split: str
    data: bytes | np.ndarray


@dataclass(frozen=True)
class Skipped:
    """Something in the source that is not imported, with the reason in words."""

    path: str
    reason: str


class Source(Protocol):
    """A place images come from. Opening one reads names and headers only."""

    @property
    def kind(self) -> str: ...

    @property
    def location(self) -> str:
        """Where it is, for people."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names exactly as the source gives them; a label is an index into them."""

    @property
    def count(self) -> int | None:
        """How many images it claims to hold, if that is known before reading them."""

    def fingerprint(self) -> str:
        """Changes when the source changes."""

    def samples(self) -> Iterator[RawSample | Skipped]:
        """Everything in the source, always in the same order; nothing is left out silently."""


@runtime_checkable
class CountsSplits(Protocol):
    """A source that knows before reading its images how many it claims to hold for each split."""

    def split_counts(self) -> dict[str, int]: ...


def open_source(text: str) -> Source:
    """Open a folder, file or torchvision data set by what the user typed.

    Raises `InputError` when there is no such thing, it is not a data set, or this user may not name it. A path that
    exists wins over a name.
    """
    from mspc_core.data import torchvision_sets

    text = text.strip()
    if not text or "\0" in text:
        raise InputError(f"No source was given: name {ACCEPTED}.")
    if os.path.lexists(os.path.expanduser(text)) or not torchvision_sets.is_known(text):
        access.check_readable(text)
    return open_known(text)


def open_known(text: str) -> Source:
    """The same for the source of a stored data set, which was opened before: whoever may see the data may export it."""
    from mspc_core.data import torchvision_sets

    path = Path(os.path.abspath(os.path.expanduser(text)))
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise InputError(explain_os_error(error)) from None
        if torchvision_sets.is_known(text):
            return torchvision_sets.TorchvisionSource(text)
        raise InputError(_unknown(text, path)) from None
    try:
        if stat.S_ISDIR(mode):
            return _open_folder(path)
        if stat.S_ISREG(mode):
            return _open_file(path)
    except OSError as error:
        raise InputError(explain_os_error(error)) from None
    raise InputError(f"{shown(text)} is neither a file nor a folder: give {ACCEPTED}.")


def _open_folder(path: Path) -> Source:
    from mspc_core.data.folder import FolderSource
    from mspc_core.data.parquet import ParquetSource, find_shards

    if shards := find_shards(path):
        return ParquetSource(path, shards)
    return FolderSource(path)


def _open_file(path: Path) -> Source:
    lowered = path.name.lower()
    if lowered.endswith(ARCHIVE_SUFFIXES):
        from mspc_core.data.archive import ArchiveSource

        return ArchiveSource(path)
    if lowered.endswith((".parquet", ".pq")):
        from mspc_core.data.parquet import ParquetSource

        return ParquetSource(path, [path])
    if lowered.endswith((".csv", ".tsv")):
        from mspc_core.data.table import TableSource

        return TableSource(path)
    if lowered.endswith(".npz"):
        from mspc_core.data.arrays import ArraySource

        return ArraySource(path)
    raise InputError(f"{shown(path.name)} is not a kind of file that can be imported: give {ACCEPTED}.")


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def _unknown(text: str, path: Path) -> str:
    from mspc_core.data import store, torchvision_sets

    if _ADDRESS.match(text):
        return (
            f"{shown(text)} is an address: nothing is downloaded from there. Download it, and give the file or folder."
        )
    if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"`":
        return f"There is no file or folder {shown(text)}: leave out the quotation marks."
    stored = [info.name for info in store.list_datasets()]
    if text in stored:
        return f"{text!r} is a stored data set already: use it by its name, there is nothing to import."
    beside = [entry.name for entry in path.parent.iterdir()] if os.access(path.parent, os.R_OK | os.X_OK) else []
    near = difflib.get_close_matches(path.name[:255], [*stored, *torchvision_sets.names(), *beside], n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(shown(name) for name in near)}?" if near else ""
    return f"There is no file, folder, stored data set or torchvision data set {shown(text)}: check the spelling.{hint}"


def shown(text: str, limit: int = 80) -> str:
    """`text` quoted and short enough for a one-line message."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def split_of(name: str) -> str | None:
    """train, val or test for the names people give these, else None."""
    return _SPLITS.get(name.lower())


def lone_split_is_train(splits: Iterable[str]) -> dict[str, str]:
    """How the splits found in a source are stored: as they are, but a source with one split alone is training data,
    whatever it is called (someone who gives only `test.parquet` wants that file examined)."""
    found = set(splits)
    return dict.fromkeys(found, "train") if len(found) == 1 else {split: split for split in found}


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """sha256 over names and contents, read in pieces."""
    digest = hashlib.sha256()
    for name, path in files:
        with path.open("rb") as handle:
            digest.update(f"{name}\0{hashlib.file_digest(handle, 'sha256').hexdigest()}\0".encode(errors="replace"))
    return digest.hexdigest()


def read_regular(path: Path | str) -> bytes:
    """The bytes of one image file. Raises `UnreadableImage` for what is missing, forbidden, too large, a symbolic link
    (callers resolve and check links first; this closes the gap between check and use), or not a regular file."""
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImage("not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise UnreadableImage(too_many_bytes())
            with open(descriptor, "rb", closefd=False) as handle:
                return handle.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise UnreadableImage("there is no such file") from None
    except PermissionError:
        raise UnreadableImage("no permission to read the file") from None
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"the file cannot be read ({getattr(error, 'strerror', None) or error})") from None
