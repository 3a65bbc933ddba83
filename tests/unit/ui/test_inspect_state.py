"""Scales and pins as strangers write them into links."""

from __future__ import annotations

import pandas as pd
import pytest

from mspc_core.errors import InputError
from ui.inspect_state import MOST_PINS, parse_pins, parse_scales, scales_text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("  , ;", None),
        ("2, 3.5, 5", (2.0, 3.5, 5.0)),
        ("5 2;2", (2.0, 5.0)),
        ("0.5", (0.5,)),
        ("50", (50.0,)),
        ("12,11,10,9,8,7,6,5,4,3,2,1", tuple(float(n) for n in range(1, 13))),
    ],
)
def test_scales(text: str, found: tuple[float, ...] | None) -> None:
    assert parse_scales(text) == found
    if found:
        assert parse_scales(scales_text(found)) == found


@pytest.mark.parametrize(
    "text", ["0", "0.0", "-2", "50.1", "999", "nan", "inf", "1e3", "1_0", "٣", "2..5", "x", "2,", "a" * 999]
)
def test_what_is_no_scale(text: str) -> None:
    if text == "2,":
        assert parse_scales(text) == (2.0,)
        return
    with pytest.raises(InputError, match="is no scale") as error:
        parse_scales(text)
    assert len(str(error.value)) < 200


def test_too_many_scales() -> None:
    with pytest.raises(InputError, match="These are 13 scales"):
        parse_scales(",".join(str(n) for n in range(1, 14)))


def test_pins() -> None:
    known = pd.Series([f"id{n}" for n in range(20)])
    assert parse_pins("id3,zz,id1,id3,,id1", known) == (["id3", "id1"], ["zz"])
    assert parse_pins("", known) == ([], [])
    many = ",".join(f"id{n}" for n in range(20))
    assert parse_pins(many, known)[0] == [f"id{n}" for n in range(MOST_PINS)]
    assert len(parse_pins(",".join(f"x{n}" for n in range(10_000)), known)[1]) <= 5 * MOST_PINS
