"""Raw labels, numbers or words, to class indices."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mspc_core.data.source import Skipped, shown

# Whole numbers as tables write them. "007" is a name, not a number: names are kept exactly as they are.
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,15})(\.0+)?")


class Labels:
    """Maps raw labels to indices into `classes`."""

    def __init__(self, classes: Sequence[str], index: dict[int | str, int], *, numeric: bool) -> None:
        self.classes = tuple(classes)
        self._index = index
        self._numeric = numeric

    @classmethod
    def named(cls, names: Sequence[str]) -> Labels:
        """Class names are known: a label is an index into them, or one of them."""
        by_name: dict[int | str, int] = {}
        for position, name in enumerate(names):
            by_name.setdefault(name, position)
        return cls(names, {**by_name, **{position: position for position in range(len(names))}}, numeric=False)

    @classmethod
    def found(cls, values: Iterable[Any]) -> Labels:
        """Class names are not known: the distinct labels become the classes, in order (numbers by size, words as
        `sorted` does). Missing labels and negative numbers, which mean "unlabelled", make no class."""
        distinct = {value for value in map(_plain, values) if value is not None and not isinstance(value, float)}
        words = {value for value in distinct if isinstance(value, str)}
        numeric = all(_WHOLE.fullmatch(word) for word in words)
        index: dict[int | str, int]
        if numeric:
            numbers = sorted({number for number in map(_number, distinct) if number >= 0})
            names = [str(number) for number in numbers]
            index = {number: position for position, number in enumerate(numbers)}
        else:
            names = sorted({str(value) for value in distinct})
            by_name = {name: position for position, name in enumerate(names)}
            index = {value: by_name[str(value)] for value in distinct}
        return cls(names, index, numeric=numeric)

    def place(self, path: str, value: Any) -> int | Skipped:
        """The class index of one sample's raw label, or why it has none."""
        plain = _plain(value)
        if plain is None:
            return Skipped(path, "it has no label")
        if isinstance(plain, float):
            return Skipped(path, f"label {plain:g} is not a class number")
        if self._numeric:
            plain = _number(plain) if isinstance(plain, int) or _WHOLE.fullmatch(plain) else plain
        position = self._index.get(plain)
        if position is None:
            text = shown(plain) if isinstance(plain, str) else str(plain)
            return Skipped(path, f"label {text} is outside the {len(self.classes)} classes")
        return position


def _plain(value: Any) -> int | str | float | None:
    """An int or str usable as a label; None when missing; a float only when it is not a whole number."""
    if hasattr(value, "item"):  # numpy scalar
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, bool):
        return None if value is None else str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else value
    if isinstance(value, str):
        # "None" and "null" can be class names; an empty cell and pandas' "nan" cannot.
        return None if value.strip().lower() in ("", "nan") else value
    return value if isinstance(value, int) else str(value)


def _number(value: int | str) -> int:
    return value if isinstance(value, int) else int(value.split(".")[0])
