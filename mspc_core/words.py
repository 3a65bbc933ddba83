"""Numbers and names as people read them, in the app (through `ui.text`) and in the report."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime


def short(text: object, limit: int = 60) -> str:
    """`text` on one line, at most `limit` characters, without control and direction-changing characters."""
    kept = "".join(
        " " if character.isspace() else character
        for character in str(text)[: 4 * limit + 200]
        if character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs") or character == "\u200d"
    )
    line = " ".join(kept.split()) or "(empty)"
    return line if len(line) <= limit else line[: max(1, limit - 1)].rstrip() + "…"


def count(number: float) -> str:
    """12345 → "12,345"."""
    return f"{int(number):,}"


def plural(number: int, one: str, many: str = "") -> str:
    """(1, "image") → "1 image"; (2345, "image") → "2,345 images"."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.1234 → "12.3 %"; None → "–". Nearly all is never rounded up to all, nor something down to nothing."""
    if share is None or share != share:
        return "–"
    shown = f"{100 * share:.{digits}f}"
    if 0 < share < 1 and float(shown) in (0.0, 100.0):
        edge = 10.0**-digits
        return f"< {edge:.{digits}f} %" if share < 0.5 else f"> {100 - edge:.{digits}f} %"
    return f"{shown} %"


def duration(seconds: float | None) -> str:
    """75 → "1 min 15 s"; None → "unknown"."""
    if seconds is None:
        return "unknown"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes} min {rest} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def utc(moment: str) -> str:
    """An ISO 8601 time as "2026-05-04 12:30:00" in UTC; other text on one line as it is."""
    try:
        found = datetime.fromisoformat(moment)
        return f"{found.astimezone(UTC) if found.tzinfo else found:%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):  # before the year 1, or after 9999, in UTC
        return short(moment, 40)
