"""Downloads of the Mask page: pictures as PNG, arrays as NPZ without objects in them, names that any disk takes."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

_OTHER = re.compile(r"[^A-Za-z0-9._-]+")


def file_name(*parts: str, suffix: str) -> str:
    """A name made of parts that may come from the data: letters, digits, dots and dashes only, at most 120 characters.

    >>> file_name("run-1", "../../etc/passwd", suffix=".png")
    'run-1-etc-passwd.png'
    """
    kept = [_OTHER.sub("-", part).strip("-.")[:60].strip("-.") for part in parts]
    return ("-".join(part for part in kept if part)[: 120 - len(suffix)].strip("-.") or "file") + suffix


def png(image: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """Arrays as one NPZ file that `np.load` opens without unpickling. Raises `TypeError` for arrays of objects."""
    if any(array.dtype.hasobject for array in arrays.values()):
        raise TypeError("an array of objects would have to be pickled")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def masks_npz(masks: dict[str, np.ndarray], classes: list[str]) -> bytes:
    """Every learned mask of a run, with the names of the classes in the order of the class masks."""
    return npz(**masks, class_names=np.array([name[:200] for name in classes], dtype=str))
