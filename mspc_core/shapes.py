"""Does a value read from a file have the shape that the code counts on? Run and data set folders come from strangers.

Shapes are written as types: `str`, `float`, `list[int]`, `dict[str, Row]`, `str | None`, dataclasses and `TypedDict`s.
"""

from __future__ import annotations

import dataclasses
import math
import types
from functools import cache
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

LARGEST = 2**63  # whole numbers beyond this fit into no array
Number = int | float


def misfit(value: Any, shape: Any, where: str = "") -> str | None:
    """Which part of `value` does not have the shape, as a path such as `verdict.level`; None if all fits.

    NaN, infinity and numbers that no array holds never fit. Keys that a `TypedDict` does not
    name are not looked at.
    """
    if shape is Any:
        return None
    origin, arguments = get_origin(shape), get_args(shape)
    if origin in (Union, types.UnionType):
        found = [misfit(value, option, where) for option in arguments]
        # The deepest place says most: of `Row | None`, the part of the row.
        return None if None in found else max((text for text in found if text is not None), key=len)
    if origin is Literal:
        return None if isinstance(value, str) and value in arguments else where or "the whole"
    if is_typeddict(shape):
        return _misfit_keys(value, shape, where)
    if origin is list or origin is tuple:
        if not isinstance(value, list | tuple):
            return where or "the whole"
        places = (misfit(part, arguments[0], f"{where}[{number}]") for number, part in enumerate(value))
        return next((place for place in places if place), None)
    if origin is dict or shape is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            return where or "the whole"
        if not arguments:
            return None
        places = (misfit(part, arguments[1], _under(where, key)) for key, part in value.items())
        return next((place for place in places if place), None)
    return None if _is_plain(value, shape) else where or "the whole"


def misfit_fields(raw: Any, shape: type) -> str | None:
    """The same for a dictionary that a dataclass is made from: fields that are there must fit, and no others may be."""
    if not isinstance(raw, dict):
        return "the whole"
    hints = _hints(shape)
    known = {field.name for field in dataclasses.fields(shape)}
    for key, value in raw.items():
        if key not in known:
            return f"{key!r:.40}"
        if place := misfit(value, hints[key], key):
            return place
    return None


def _misfit_keys(value: Any, shape: Any, where: str) -> str | None:
    if not isinstance(value, dict):
        return where or "the whole"
    for key, hint in _hints(shape).items():
        if key in value:
            if place := misfit(value[key], hint, _under(where, key)):
                return place
        elif key not in _optional(shape):
            return _under(where, key)
    return None


def _under(where: str, key: str) -> str:
    text = key if key.isidentifier() else repr(key[:30])
    return f"{where}.{text}" if where else text


@cache
def _optional(shape: type) -> frozenset[str]:
    """Keys that may be missing. Not `__optional_keys__`, which overlooks annotations that are kept as text."""
    hints = get_type_hints(shape, include_extras=True)
    return frozenset(key for key, hint in hints.items() if get_origin(hint) is NotRequired)


@cache
def _hints(shape: type) -> dict[str, Any]:
    return get_type_hints(shape)


def _is_plain(value: Any, shape: Any) -> bool:
    if shape is None or shape is type(None):
        return value is None
    if shape is bool:
        return isinstance(value, bool)
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
    if shape is float:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
        return whole or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, shape)
