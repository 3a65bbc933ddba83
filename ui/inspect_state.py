"""What Inspect keeps in the address besides run and sample: an own set of scales, and pinned samples.

`scales=2,3.5,5` and `pins=<sample id>,<sample id>`. Values come from strangers' links: they are compared with what is
allowed and what the run has, and what does not fit is dropped and said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache
from ui.text import plain, plural, short

MOST_SCALES, LARGEST_SCALE, MOST_PINS = 12, 50.0, 6
SCALES, PINS = "scales", "pins"
_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,4})?")


def parse_scales(text: str) -> tuple[float, ...] | None:
    """ "2, 3.5, 5" → (2.0, 3.5, 5.0), ascending, each once; None for an empty text. Raises `InputError`."""
    words = [word for word in re.split(r"[,;\s]+", text.strip()) if word]
    if not words:
        return None
    for word in words:
        if not _NUMBER.fullmatch(word) or not 0 < float(word) <= LARGEST_SCALE:
            raise InputError(
                f"{short(word, 20)!r} is no scale: write numbers above 0 and up to {LARGEST_SCALE:g} with commas "
                "between them, such as 2, 3.5, 5."
            )
    found = tuple(sorted({float(word) for word in words}))
    if len(found) > MOST_SCALES:
        raise InputError(f"These are {len(found)} scales: write at most {MOST_SCALES}.")
    return found


def scales_text(scales: Sequence[float]) -> str:
    """As they stand in the address and in the field."""
    return ", ".join(f"{scale:g}" for scale in scales)


def own_scales() -> tuple[float, ...] | None:
    """The field for an own set of scales; what is wrong with it is said below. None: the scan's are used."""
    key, kept, first = "inspect-scales", "inspect-scales-kept", "inspect-scales-first"
    if key not in st.session_state:
        st.session_state[first] = (st.query_params.get(SCALES) or st.session_state.get(kept, ""))[:200]
    text = st.text_input(
        "Own scales",
        st.session_state[first],  # not set by its key: a field that is drawn twice at once would lose it
        key=key,
        placeholder="2, 3.5, 5",
        max_chars=200,
        help=f"1 to {MOST_SCALES} numbers, each above 0 and up to {LARGEST_SCALE:g}. The strip shows them, and both "
        "scores are worked out with them beside the scan's.",
    )
    try:
        found = parse_scales(text)
    except InputError as error:
        st.caption(f":red[{plain(error, 200)}]")
        found = None
    st.session_state[kept] = scales_text(found) if found else ""
    _write(SCALES, scales_text(found).replace(" ", "") if found else "")
    return found


def parse_pins(text: str, known: pd.Series) -> tuple[list[str], list[str]]:
    """Sample ids of an address: those that the run has, each once and at most six, and the others."""
    asked = list(dict.fromkeys(part for part in text.split(",") if part))[: 5 * MOST_PINS]
    there = set(known[known.isin(asked)])
    return [name for name in asked if name in there][:MOST_PINS], [name for name in asked if name not in there]


def pins_of(run: Run) -> list[str]:
    """The pinned samples of this run. Says how many of a link are not in it, once."""
    kept = st.session_state.get("inspect-pins")
    asked = st.query_params.get(PINS, "")
    if kept and kept[0] == run.id and asked in ("", ",".join(kept[1])):
        found = list(kept[1])
    elif kept and kept[0] != run.id and asked == ",".join(kept[1]):
        found = []  # another run was chosen: pins belong to the run in which they were set
    else:
        found, unknown = parse_pins(asked, cache.scores_of(run)["sample_id"].astype(str))
        if unknown:
            st.info(
                f"{plural(len(unknown), 'pinned image')} of the link {'is' if len(unknown) == 1 else 'are'} not "
                "part of this run and left out."
            )
    _keep(run, found)
    return found


def toggle_pin(run: Run, sample: str) -> None:
    """Pin a sample, or take its pin away. A seventh is not added."""
    kept = st.session_state.get("inspect-pins")
    pins = list(kept[1]) if kept and kept[0] == run.id else []
    if sample in pins:
        pins.remove(sample)
    elif len(pins) < MOST_PINS:
        pins.append(sample)
    _keep(run, pins)


def clear_pins(run: Run) -> None:
    _keep(run, [])


def _keep(run: Run, pins: list[str]) -> None:
    st.session_state["inspect-pins"] = (run.id, pins)
    _write(PINS, ",".join(pins))


def _write(key: str, value: str) -> None:
    if not value and key in st.query_params:
        del st.query_params[key]
    elif value and st.query_params.get(key) != value:
        st.query_params[key] = value
