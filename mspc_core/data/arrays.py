"""An `.npz` with images and labels under the usual names, read in blocks of rows."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from mspc_core.data.decode import MAX_PIXELS
from mspc_core.data.labels import Labels
from mspc_core.data.source import RawSample, Skipped, hash_files, lone_split_is_train, shown
from mspc_core.errors import InputError
from mspc_core.files import check_text

BLOCK_BYTES = 4 * 2**20
# Labels, and images in Fortran order (which cannot be read row by row), are held in memory.
MAX_WHOLE_BYTES = 4 * 2**30
# split → (names of the images, names of the labels); matched without regard to case.
_NAMES = {
    "train": (
        ("images", "image", "x", "data", "x_train", "train_x", "train_images", "train_data"),
        ("labels", "label", "y", "targets", "target", "y_train", "train_y", "train_labels", "train_targets"),
    ),
    "val": (
        ("x_val", "val_x", "val_images", "x_valid", "valid_images"),
        ("y_val", "val_y", "val_labels", "y_valid", "valid_labels"),
    ),
    "test": (("x_test", "test_x", "test_images", "test_data"), ("y_test", "test_y", "test_labels", "test_targets")),
}
_CLASS_NAMES = ("classes", "class_names", "label_names")
_CHANNELS = (1, 3, 4)
# NumPy reads an array's header with Python's own parser, and lets its errors through.
_DAMAGED = (
    *(
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OverflowError,
    ),
    *(TypeError, KeyError, IndexError, SyntaxError, MemoryError, tokenize.TokenError),
)


@dataclass(frozen=True)
class _Stored:
    """One array inside the file, as its header describes it."""

    key: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class _Part:
    split: str
    images: _Stored
    labels: list[object]


class ArraySource:
    """Images as [N, H, W, C], [N, C, H, W] or [N, H, W], uint8 or floating point in [0, 1]; one label an image.

    Arrays of Python objects are refused: reading them would run pickled code.
    """

    kind = "arrays"

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path
        with self._opened() as archive:
            keys = {name.removesuffix(".npy").lower(): name for name in archive.namelist()}
            self._parts = [part for split in _NAMES if (part := self._part(archive, keys, split))]
            named = next((keys[name] for name in _CLASS_NAMES if name in keys), None)
            names = None if named is None else _texts(_whole(archive, self._header(archive, named)))
        if not self._parts:
            found = shown(", ".join(sorted(keys)))
            raise InputError(f"{shown(path.name)} has no arrays named images and labels (it has {found}): rename them.")
        stored_as = lone_split_is_train(part.split for part in self._parts)
        self._parts = [_Part(stored_as[part.split], part.images, part.labels) for part in self._parts]
        values = (value for part in self._parts for value in part.labels)
        self._labels = Labels.named(names) if names else Labels.found(values)
        self.classes = self._labels.classes
        self.count: int | None = sum(part.images.shape[0] for part in self._parts)

    def split_counts(self) -> dict[str, int]:
        return {part.split: part.images.shape[0] for part in self._parts}

    def fingerprint(self) -> str:
        return hash_files([("", self._path)])

    def samples(self) -> Iterator[RawSample | Skipped]:
        with self._opened() as archive:
            for part in self._parts:
                name = part.images.key.removesuffix(".npy")
                for row, image in enumerate(_rows(archive, part.images)):
                    path = f"{name}[{row}]"
                    label = self._labels.place(path, part.labels[row])
                    yield (
                        label
                        if isinstance(label, Skipped)
                        else RawSample(path, label, part.split, _channels_last(image))
                    )

    def _part(self, archive: zipfile.ZipFile, keys: dict[str, str], split: str) -> _Part | None:
        image_names, label_names = _NAMES[split]
        image_key = next((keys[name] for name in image_names if name in keys), None)
        label_key = next((keys[name] for name in label_names if name in keys), None)
        if image_key is None:
            return None
        where = f"{shown(self._path.name)}: array {shown(image_key.removesuffix('.npy'))}"
        if label_key is None:
            raise InputError(f"{where} has no labels beside it: store them as {shown(label_names[0])}.")
        images, labels = self._header(archive, image_key), self._header(archive, label_key)
        if len(images.shape) not in (3, 4) or 0 in images.shape or math.prod(images.shape[1:]) > 4 * MAX_PIXELS:
            raise InputError(f"{where} has shape {list(images.shape)}: give [N, H, W, C], [N, C, H, W] or [N, H, W].")
        if len(images.shape) == 4 and not {images.shape[1], images.shape[3]} & set(_CHANNELS):
            raise InputError(f"{where} has shape {list(images.shape)}, without a channel axis of 1, 3 or 4.")
        if math.prod(labels.shape) != images.shape[0] or labels.shape[:1] != images.shape[:1]:
            raise InputError(
                f"{where} has shape {list(images.shape)} but its labels {list(labels.shape)}: one an image."
            )
        return _Part(split, images, _whole(archive, labels).reshape(-1).tolist())

    def _header(self, archive: zipfile.ZipFile, key: str) -> _Stored:
        with archive.open(key) as handle:
            stored = _read_header(handle, key)
        if stored.dtype.hasobject:
            raise InputError(
                f"{shown(self._path.name)}: array {shown(key)} holds Python objects, which are not read because that "
                "would run pickled code: save plain number arrays."
            )
        if stored.nbytes > archive.getinfo(key).file_size:
            raise ValueError("the array is cut short")
        return stored

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                yield archive
        except _DAMAGED as error:
            raise InputError(f"{shown(self._path.name)} is damaged or not an .npz file: save it again.") from error


def _read_header(handle: IO[bytes], key: str) -> _Stored:
    version = np.lib.format.read_magic(handle)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("an unknown .npy version")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(handle)
    return _Stored(key, shape, fortran and len(shape) > 1, dtype)


def _whole(archive: zipfile.ZipFile, stored: _Stored) -> np.ndarray:
    if stored.nbytes > MAX_WHOLE_BYTES:
        raise InputError(f"Array {shown(stored.key)} is too large to be read at once: save it in C order.")
    with archive.open(stored.key) as handle:
        found: np.ndarray = np.lib.format.read_array(handle, allow_pickle=False)
    check_text(found)
    return found


def _texts(array: np.ndarray) -> list[str]:
    return [
        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
        for value in array.reshape(-1).tolist()
    ]


def _rows(archive: zipfile.ZipFile, stored: _Stored) -> Iterator[np.ndarray]:
    """The images one by one, reading `BLOCK_BYTES` or one image at a time."""
    if stored.fortran:
        yield from _whole(archive, stored)
        return
    row_bytes = stored.nbytes // stored.shape[0]
    block_rows = max(1, BLOCK_BYTES // row_bytes)
    with archive.open(stored.key) as handle:
        _read_header(handle, stored.key)
        for start in range(0, stored.shape[0], block_rows):
            rows = min(block_rows, stored.shape[0] - start)
            block = np.frombuffer(handle.read(rows * row_bytes), dtype=stored.dtype)
            yield from block.reshape(rows, *stored.shape[1:])


def _channels_last(image: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, C]. Where both ends could be channels, the last axis is taken."""
    if image.ndim == 3 and image.shape[2] not in _CHANNELS:
        return image.transpose(1, 2, 0)
    return image
