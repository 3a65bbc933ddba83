"""Reading files that strangers may have made: only regular ones, of a bounded size, and nothing in them is trusted.

A run or data set folder may come from somebody else. A link in it could show any file of this machine, a named pipe
would wait for ever, and JSON knows numbers and depths that break whoever goes on with them.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import struct
import sys
import tokenize
import zipfile
import zlib
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy as np

MAX_JSON_BYTES = 256 * 2**20
MAX_ARRAY_BYTES = 4 * 2**30
MAX_ARRAYS = 10_000
# What Python and NumPy raise on damaged or hostile archives of arrays; all of it becomes a ValueError.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, KeyError),
    *(OverflowError, IndexError, TypeError, AttributeError, SyntaxError, MemoryError, tokenize.TokenError),
)


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading. Raises `OSError` for what is missing, a symbolic link, or not a regular file."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path) -> None:
    """Raises as `open_regular` does, for readers that take a path only."""
    open_regular(path).close()


def read_json(path: Path) -> Any:
    """Strict JSON: no NaN or infinity, no number that no array holds, no half characters, no bottomless nesting.

    Raises `FileNotFoundError` (or `NotADirectoryError`), and `JSONDecodeError`, a `ValueError`, for anything else.
    """
    try:
        with open_regular(path) as handle:
            content = handle.read(MAX_JSON_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise
    except OSError as error:  # a link, a folder, a pipe
        raise json.JSONDecodeError(error.strerror or "not a regular file", "", 0) from None
    if len(content) > MAX_JSON_BYTES:
        raise json.JSONDecodeError("too large", "", 0)
    try:
        text = content.decode("utf-8")
        found = json.loads(text, parse_constant=_refuse, parse_int=_whole, parse_float=_finite)
        if "\\ud" in text.lower():
            json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except ValueError as error:
        raise json.JSONDecodeError(str(error)[:80], "", 0) from None
    return found


def read_object(path: Path) -> dict[str, Any]:
    """`read_json` of what has to be a JSON object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise json.JSONDecodeError("not an object", "", 0)
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _whole(text: str) -> int:
    if len(text) > 20 or abs(found := int(text)) >= 2**63:
        raise ValueError("a number is too large")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(found := float(text)):
        raise ValueError("a number is too large")
    return found


def read_arrays(path: Path, most_bytes: int = MAX_ARRAY_BYTES) -> dict[str, np.ndarray]:
    """All arrays of an npz file by name; nothing is unpickled, and no more is allocated than the file really holds.

    Raises `OSError` (missing, a link, not readable) or `ValueError` for a damaged, hostile or oversized file.
    """
    with open_regular(path) as handle:
        try:
            with zipfile.ZipFile(handle) as archive:
                members = archive.infolist()
                if len(members) > MAX_ARRAYS or sum(info.file_size for info in members) > most_bytes:
                    raise ValueError("it would take too much memory")
                return {info.filename.removesuffix(".npy"): _array(archive, info) for info in members}
        except _DAMAGED as error:
            raise ValueError(f"damaged ({type(error).__name__})") from None


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array of an npy file; mapped: read-only, from the disk. Raises as `read_arrays` does."""
    try:
        with open_regular(path) as handle:
            shape, dtype = _header(handle)
            if handle.tell() + math.prod(shape) * dtype.itemsize > os.fstat(handle.fileno()).st_size:
                raise ValueError("the array is cut short")
        found: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        check_text(found)
        return found
    except _DAMAGED as error:
        raise ValueError(f"damaged ({type(error).__name__})") from None


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as handle:
        shape, dtype = _header(handle)
        if math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError("an array is cut short")
    with archive.open(info) as handle:
        found: np.ndarray = np.lib.format.read_array(handle, allow_pickle=False)
        check_text(found)
        return found


def check_text(array: np.ndarray) -> None:
    """Raises `ValueError` where an array of text holds numbers that are no characters: NumPy hands them to Python as
    they are, which ends in a `SystemError` or in strings that break whatever touches them."""
    if array.dtype.names is not None:
        raise ValueError("an array of records")
    if array.dtype.kind == "U" and array.nbytes:
        points = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if points.max() > sys.maxunicode:
            raise ValueError("text that is none")


def _header(handle: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(handle)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("an unknown kind of array")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(handle)
    if dtype.hasobject or any(side < 0 for side in shape):
        raise ValueError("an array of objects, which would have to be unpickled, or of a negative size")
    return shape, dtype
