"""Damage that knows nothing of formats, and words and values that have broken programs before."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

Draw = st.DrawFn

WORDS = (
    *(
        "",
        " ",
        ".",
        "..",
        "../..",
        "/etc/passwd",
        "../secret.png",
        "..\\secret.png",
        "C:/x",
        "//host/x",
        "~",
        "a/../../b",
    ),
    *("a\0b", "a\nb", "\r", "\t", "CON", "nul.png", "-rf", "x" * 300, "y" * 70_000, "é" * 50, "🚦", "\u202egnp.exe"),
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "</style><svg/onload=alert(3)>"),
    *(
        "=1+1",
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "＝1+1",
        '="a,b"',
        "'=1",
        "=HYPERLINK(1)",
    ),
    *("{{7*7}}", "${7*7}", "%s%n", "$(touch x)", "`id`", "[a](javascript:alert(1))", ":red[x]", "$x^2$", "NaN", "nan"),
    *("null", "None", "true", "1e999", "-1", "0", "1.0", "007", "9" * 30, "0x10", "٣", "\ufeff", "\x1b[31m", "\x7f"),
)
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63 - 1, 2**63, -(2**63))
ODD = (*NUMBERS, *WORDS[:40], 0.5, -0.0, 1e308, 10**30, None, True, False, [], {}, [[]], {"a": {}}, [None], ["a", 1])

words = st.sampled_from(WORDS)
numbers = st.sampled_from(NUMBERS)
odd: st.SearchStrategy[Any] = st.sampled_from(ODD).map(copy.deepcopy)


@st.composite
def damaged(draw: Draw, data: bytes) -> bytes:
    """`data` cut, with changed bits, overwritten numbers, or pieces repeated or missing; half stay whole."""
    if not data:
        return data
    for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1, 1, 2, 6)))):
        where = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(("bit", "byte", "number", "cut", "drop", "repeat", "insert", "zero")))
        data = _hurt(data, where, kind, draw(st.integers(0, 255)), draw(numbers))
        if not data:
            break
    return data


def _hurt(data: bytes, where: int, kind: str, small: int, number: int) -> bytes:
    size = 1 + small % 64
    if kind == "bit":
        return data[:where] + bytes([data[where] ^ 1 << small % 8]) + data[where + 1 :]
    if kind == "byte":
        return data[:where] + bytes([small]) + data[where + 1 :]
    if kind == "number":
        width = (2, 4, 8)[small % 3]
        raw = (number % 2 ** (8 * width)).to_bytes(width, "little" if small & 8 else "big")
        return data[:where] + raw + data[where + width :]
    if kind == "cut":
        return data[:where]
    if kind == "drop":
        return data[:where] + data[where + size :]
    if kind == "repeat":
        return data[: where + size] + data[where : where + size] * (small % 4) + data[where + size :]
    if kind == "insert":
        return data[:where] + bytes([small]) * size + data[where:]
    return data[:where] + bytes(min(size, len(data) - where)) + data[where + size :]
