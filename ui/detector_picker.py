"""The choice of detectors in the form of a new scan: by family, with what each needs, and why one cannot run here."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from mspc_core.detectors.catalog import CATALOG
from mspc_core.errors import InputError
from mspc_core.runs import DEFAULT_DETECTORS
from ui import cache
from ui.detector_facts import MEMBERS, by_family, known, obstacles, ordered_names, short_words, situation
from ui.detector_panel import how_it_works
from ui.text import count, plain
from ui.verdicts import tests_words

PRESETS: dict[str, str] = {"fast": "Fast", "paper": "As published (slow)"}
SPLITS: dict[str, str] = {"": "None", "test": "The test images", "val": "The validation images"}
_COLUMNS = 2


def ask_detectors(dataset: str, demo: bool, arch: str) -> dict[str, Any]:
    """Draw the choice; `detectors`, `mspc_preset` and `trusted` of the ScanConfig.

    dataset: name of the stored data set, empty for one that is still to be read. arch: name of the architecture.
    """
    labels, offered = _stored_facts(dataset)
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        trusted = _ask_trusted({**offered, "test": 0} if demo else offered)
    blocked = obstacles(situation(labels, trusted=bool(trusted), arch=arch))
    with right.container(horizontal=True, horizontal_alignment="right"):
        _quick_choices(blocked)
    chosen = [name for title, names in by_family(known()).items() for name in _family(title, names, blocked)]
    preset = _ask_preset() if "mspc" in chosen else "fast"
    if chosen:
        _verdict_note(chosen)
    return {
        "detectors": tuple(ordered_names(chosen)),
        "mspc_preset": preset,
        "trusted": trusted,
    }


def _verdict_note(chosen: list[str]) -> None:
    """What the choice means for the verdict, unless all its tests are chosen."""
    here = [name for name in MEMBERS if name in chosen]
    if not here:
        st.caption(
            f":material/info: The verdict comes from {tests_words(MEMBERS)}. Without any of them there are scores, but "
            "no verdict and no target class."
        )
    elif len(here) < len(MEMBERS):
        gone = tests_words(name for name in MEMBERS if name not in here)
        st.caption(
            f":material/info: The verdict will rest on {tests_words(here)} alone. Poison that only {gone} would see "
            "is then not found."
        )


def _stored_facts(dataset: str) -> tuple[np.ndarray | None, dict[str, int]]:
    """Labels of the images that would be scanned (None where nothing is stored), and the splits that could be trusted
    with their numbers of images. Without a train split everything is scanned, and nothing can be trusted."""
    if not dataset:
        return None, {}
    try:
        stored = cache.stored_dataset(dataset)
    except InputError:  # deleted in another window; starting the scan says so
        return None, {}
    labels, train = stored.manifest["label"].to_numpy(), stored.indices("train")
    if not len(train):
        return labels, {}
    counts = stored.info.split_counts
    return labels[train], {split: int(counts[split]) for split in SPLITS if split and counts.get(split)}


def _ask_trusted(offered: dict[str, int]) -> str:
    if st.session_state.get("scan_trusted") not in ("", *offered):
        st.session_state["scan_trusted"] = ""
    few = "None" if offered else "None: this data set has no images apart from those to be scanned"

    def words(split: str) -> str:
        if not split:
            return few
        return SPLITS[split] + (f" ({count(offered[split])})" if offered[split] else "")

    chosen = st.selectbox(
        "Trusted images",
        ["", *offered],
        format_func=words,
        key="scan_trusted",
        help="Images that you know to be clean, with right labels. Only detectors that need them get to see them (at "
        "most 2,000); the others work without, as they always do.",
    )
    return str(chosen or "")


def _quick_choices(blocked: dict[str, str]) -> None:
    def choose(wanted: tuple[str, ...]) -> None:
        for name in known():
            st.session_state[_key(name)] = name in wanted

    able = tuple(name for name in known() if name not in blocked)
    for label, wanted, key in (
        ("Default", DEFAULT_DETECTORS, "scan_pick_default"),
        (f"All that can run ({len(able)})", able, "scan_pick_all"),
        ("None", (), "scan_pick_none"),
    ):
        st.button(label, on_click=choose, args=(wanted,), key=key, type="tertiary" if not wanted else "secondary")


def _key(name: str) -> str:
    return f"scan_use_{name}"


def _family(title: str, names: list[str], blocked: dict[str, str]) -> list[str]:
    """The rows of one family; returns the names that are chosen and can run."""
    st.markdown(f":small[:gray[**{title}**]]")
    chosen = []
    for start in range(0, len(names), _COLUMNS):
        for column, name in zip(st.columns(_COLUMNS, gap="small"), names[start : start + _COLUMNS], strict=False):
            with column:
                if _row(name, blocked.get(name)):
                    chosen.append(name)
    return chosen


def _row(name: str, reason: str | None) -> bool:
    """One detector: a box to tick with a sentence, and the panel that says more."""
    facts = CATALOG[name]
    if _key(name) not in st.session_state:
        st.session_state[_key(name)] = name in DEFAULT_DETECTORS
    trust = " :gray-badge[uses trusted images]" if facts.needs.clean_data else ""
    left, right = st.columns([8, 1], gap="xsmall", vertical_alignment="center")
    if reason:  # another key, so that the choice comes back when the obstacle goes
        label = f"**{facts.title}** :small[:gray[cannot run: {plain(reason, 160)}]]"
        left.checkbox(label, False, disabled=True, key=f"scan_cannot_{name}", wrap=True)
    else:
        label = f"**{facts.title}**{trust} :small[{short_words(facts.explains)}]"
        left.checkbox(label, key=_key(name), wrap=True, persist_state="session")
    with right:
        how_it_works(name, label="", key=f"scan_about_{name}")
    return reason is None and bool(st.session_state[_key(name)])


def _ask_preset() -> str:
    return st.radio(
        "MSPC's settings",
        list(PRESETS),
        format_func=PRESETS.__getitem__,
        horizontal=True,
        key="scan_preset",
        help="Fast learns the mask in 300 steps on samples of the images, two scales at a time. As published makes 40 "
        "passes over all images at all 11 scales.",
    )
