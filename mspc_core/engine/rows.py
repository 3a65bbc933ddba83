"""Rows of arrays that need not fit into memory: chosen without a copy, collected on disk, given back once read.

A store of 20 GB is scanned by a process of one or two. What grows with the number of samples is therefore either a few
numbers a sample, or one of these: a choice of rows that are read when they are used (`pick`), or rows that are
written to a file as soon as they are many (`Collected`). Mapped pages count as resident although the system can take
them back at any time, and schedulers that limit resident memory do not know it: `mapped_pages_given_back` bounds them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from mspc_core import home

# Bytes that are collected in memory; more go to a file. A detector collects several arrays at a time, and all of them
# may be just below: with 256 MB the scan of 43,000 large images took 0.7 GB for them.
IN_MEMORY = 64 * 2**20
MOST_MAPPED = 256 * 2**20  # bytes of mapped pages, above what the process had, before they are given back
_LOOK_EVERY = 0.05  # seconds; what the system has cached is mapped at some GB a second
_BLOCK_BYTES = 32 * 2**20
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


class Picked:
    """Some rows of an array, in any order, read when they are asked for. Looks like the array that indexing makes, as
    far as detectors use it: length, shape, type, and rows by number, slice or list (which give real arrays)."""

    def __init__(self, array: np.ndarray, rows: np.ndarray) -> None:
        if isinstance(array, Picked):
            array, rows = array._array, array._rows[rows]
        self._array, self._rows = array, rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._rows), *self._array.shape[1:])

    @property
    def nbytes(self) -> int:
        """Of the array that indexing would make."""
        return self.dtype.itemsize * int(np.prod(self.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    @property
    def ndim(self) -> int:
        return self._array.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        found = self._array[self._rows[first]]
        one = found.ndim < self.ndim  # a number gives one row
        return found[rest if one else (slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows that are read when they are used cannot be an array without a copy")
        return np.asarray(self._array[self._rows], dtype=dtype)


def pick(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`array[rows]` (rows: int or bool [N]) without copying it: a view where the rows are one block, else rows that are
    read when they are used."""
    rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    if isinstance(array, np.ndarray) and len(rows) and (np.diff(rows) == 1).all():
        return array[rows[0] : rows[-1] + 1]
    return cast(np.ndarray, Picked(array, rows))


class Collected:
    """`count` rows that come one batch after the other. In memory while they are few; else in a file without a name in
    the home folder, which is gone with the process, however it ends.

    Their place is there before the second batch comes. Kept one by one, small results would come to lie between the
    large activations of two batches, whose memory the C library could then use only in parts: a pass over 142,660
    images of 224 px ended with 2.4 GiB of it.
    """

    def __init__(self, count: int, most: int | None = None) -> None:
        self._count, self._most, self._filled = count, IN_MEMORY if most is None else most, 0
        self._memory: np.ndarray | None = None
        self._file: Any = None
        self._shape: tuple[int, ...] = (0,)
        self._dtype: np.dtype[Any] = np.dtype(np.float32)

    def add(self, part: np.ndarray) -> None:
        """Append rows, all of one shape and type. Raises `OSError` when the disk is full."""
        if not self._filled:
            self._shape, self._dtype = part.shape[1:], part.dtype
            if self._count * part.dtype.itemsize * int(np.prod(self._shape)) > self._most:
                # Written and then mapped: a full disk is an error while writing, and the end of the process in a map.
                self._file = tempfile.TemporaryFile(dir=home.scratch_folder())  # noqa: SIM115 - `array` closes it
            else:
                self._memory = np.empty((self._count, *self._shape), part.dtype)
        if part.shape[1:] != self._shape or self._filled + len(part) > self._count:
            raise ValueError(f"{len(part)} rows of {part.shape[1:]} do not fit after {self._filled} of {self._shape}")
        if self._memory is not None:
            self._memory[self._filled : self._filled + len(part)] = part
        else:
            self._file.write(np.ascontiguousarray(part, self._dtype).data)
        self._filled += len(part)

    def array(self) -> np.ndarray:
        """All rows, [count, …]; a read-only map of the file where there is one."""
        if self._filled != self._count:
            raise ValueError(f"{self._filled} rows of {self._count}")
        if self._file is None:
            return self._memory if self._memory is not None else np.zeros((0, 0), np.float32)
        self._file.flush()
        found = np.memmap(self._file, dtype=self._dtype, mode="r", shape=(self._count, *self._shape))
        self._file.close()  # the map keeps what it needs
        watch(found)
        return found


def blocks(array: np.ndarray, rows: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of an array and their rows, about 32 MB each."""
    each = rows or max(1, _BLOCK_BYTES // max(1, array.dtype.itemsize * int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), each):
        part = slice(start, min(start + each, len(array)))
        yield part, array[part]


@contextmanager
def mapped_pages_given_back(most: int = MOST_MAPPED) -> Iterator[None]:
    """Inside the block, give mapped pages back to the system whenever more than `most` bytes of them are resident:
    those of arrays that are watched, as everything is that is `Collected`. They stay in the system's cache.

    A reader that is at work notices nothing. Linux only; elsewhere nothing happens.
    """
    done = threading.Event()

    def look(usual: int) -> None:
        while not done.wait(_LOOK_EVERY):
            if _mapped() > usual + most:
                for mapped in list(_maps):
                    _give_back(mapped)
                usual = _mapped()  # libraries are mapped, too, and more of them as they are used

    if sys.platform != "linux":
        yield
        return
    thread = threading.Thread(target=look, args=(_mapped(),), name="mapped-pages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def watch(array: np.ndarray) -> None:
    """Let `mapped_pages_given_back` take the pages of the map behind this array; nothing if there is none."""
    mapped = _map_behind(array)
    if mapped is not None:
        _maps.add(mapped)


def give_back(array: np.ndarray) -> None:
    """Give the mapped pages behind this array back to the system now; nothing if there is no map. They stay in the
    system's cache and can be read as before. For files that are only read: what was written to a private map is lost.
    """
    mapped = _map_behind(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        _give_back(mapped)


def will_need(array: Any, rows: np.ndarray) -> None:
    """Tell the system which rows (int [B]) of a large map are read next; nothing for anything else.

    Without, a disk's read-ahead fetches up to megabytes around every row that is drawn at random: one epoch over 20 GB
    read more than 100 GB.
    """
    if isinstance(array, Picked):
        array, rows = array._array, array._rows[rows]
    mapped = _map_behind(array)
    if mapped is None or len(mapped) < IN_MEMORY or not hasattr(mapped, "madvise"):
        return
    begin = array.ctypes.data - np.frombuffer(mapped, dtype=np.uint8, count=1).ctypes.data
    each, page = array.strides[0], mmap.PAGESIZE
    for row in rows:
        start = (begin + int(row) * each) // page * page
        mapped.madvise(mmap.MADV_WILLNEED, start, min(each + page, len(mapped) - start))


def _map_behind(array: Any) -> mmap.mmap | None:
    while array is not None and not isinstance(array, mmap.mmap):
        array = array._array if isinstance(array, Picked) else getattr(array, "base", None)
    return array


def _give_back(mapped: mmap.mmap) -> None:
    with contextlib.suppress(ValueError):  # closed meanwhile
        mapped.madvise(mmap.MADV_DONTNEED)


def _mapped() -> int:
    """Bytes of files that are resident in this process."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")
