"""Times as people read them."""

from __future__ import annotations

import pytest

from mspc_core.words import utc


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-05-04T12:30:00+00:00", "2026-05-04 12:30:00"),
        ("2026-05-04T14:30:00+02:00", "2026-05-04 12:30:00"),
        ("2026-05-04T12:30:00", "2026-05-04 12:30:00"),
        ("yesterday\n", "yesterday"),
        ("", "(empty)"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00+01:00"),
    ],
)
def test_utc(moment: str, shown: str) -> None:
    assert utc(moment) == shown
