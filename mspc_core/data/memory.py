"""Images that are in memory already, such as a notebook's arrays, as a source like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mspc_core.data.labels import Labels
from mspc_core.data.source import RawSample, Skipped
from mspc_core.errors import InputError

_CHANNELS = (1, 3, 4)


class MemorySource:
    """uint8 images [N, H, W, 3] (or [N, H, W], [N, H, W, 1], [N, H, W, 4]) with one label each, and an optional test
    part of the same form.

    Unlike files, arrays are taken whole or refused: every label must be usable, so that row i of the stored data set is
    row i of the arrays (the test part follows). classes: names, where labels are indices into them or some of them;
    without, the distinct labels are the classes. Raises `InputError`.
    """

    kind = "memory"

    def __init__(
        self,
        images: Any,
        labels: Any,
        *,
        test: tuple[Any, Any] | None = None,
        classes: Sequence[str] | None = None,
        name: str = "arrays",
    ) -> None:
        self.location = name
        self._parts = [("train", *_checked(images, labels, "images"))]
        if test is not None:
            if len(test) != 2:
                raise InputError("The test part is a pair: test=(images, labels).")
            self._parts.append(("test", *_checked(test[0], test[1], "test images")))
        values = (value for _, _, part in self._parts for value in part)
        self._labels = Labels.named(list(classes)) if classes is not None else Labels.found(values)
        self.classes = self._labels.classes
        self.count: int | None = sum(len(part) for _, _, part in self._parts)
        for split, _, part in self._parts:
            for row, value in enumerate(part):
                if isinstance(placed := self._labels.place("", value), Skipped):
                    raise InputError(f"The {split} label at position {row} cannot be used: {placed.reason}.")

    @property
    def side(self) -> int | None:
        """Height = width of the images in pixels, or None where they are not square."""
        height, width = self._parts[0][1].shape[1:3]
        return int(height) if height == width else None

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.classes).encode())
        for split, images, labels in self._parts:
            digest.update(f"{split}|{images.shape}|{labels}|".encode())
            digest.update(np.ascontiguousarray(images).data)
        return digest.hexdigest()

    def samples(self) -> Iterator[RawSample | Skipped]:
        for split, images, labels in self._parts:
            name = "images" if split == "train" else "test images"
            for row, (image, value) in enumerate(zip(images, labels, strict=True)):
                path = f"{name}[{row}]"
                label = self._labels.place(path, value)
                yield label if isinstance(label, Skipped) else RawSample(path, label, split, image)


def _checked(images: Any, labels: Any, name: str) -> tuple[np.ndarray, list[Any]]:
    """The images as an array, the labels as a list of plain values. Raises `InputError` with what does not fit."""
    array = np.asarray(images)
    if array.dtype != np.uint8:
        hint = ": multiply by 255 and convert them" if np.issubdtype(array.dtype, np.floating) else ""
        raise InputError(f"The {name} must be uint8 (0 to 255), not {array.dtype}{hint}.")
    if array.ndim not in (3, 4) or 0 in array.shape or (array.ndim == 4 and array.shape[3] not in _CHANNELS):
        hint = ", with the channels last" if array.ndim == 4 and array.shape[1] in _CHANNELS else ""
        raise InputError(f"The {name} must have the shape [N, H, W, 3]{hint}; theirs is {list(array.shape)}.")
    if labels is None:
        raise InputError(f"The {name} come without labels: give one label for each image.")
    found = np.asarray(labels)
    if found.shape != array.shape[:1]:
        raise InputError(f"There are {len(array)} {name}, but their labels have the shape {list(found.shape)}.")
    return array, found.tolist()
