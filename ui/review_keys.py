"""The keys of the Review page: what each does, which may be chosen, and where the choice is kept.

They are kept in the home folder, so that a reload, another day and a new version of the app find them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from mspc_core import atomic, home
from mspc_core.errors import InputError
from ui.errors import friendly

FILE = "review-keys.json"
RESERVED = {"C": "clears the cache", "R": "runs the page again"}
_ARROWS = ("Left", "Right", "Up", "Down")
ALLOWED = (*(letter for letter in "ABDEFGHIJKLMNOPQSTUVWXYZ"), *"1234567890", *_ARROWS)


@dataclass(frozen=True)
class Action:
    """One thing a key does. label: on its button. key: the default. hint: the button's tooltip."""

    name: str
    label: str
    key: str
    words: str
    hint: str = ""


ACTIONS = (
    Action("keep", "Keep", "K", "keep the image"),
    Action("remove", "Remove", "X", "remove it"),
    Action("unsure", "Unsure", "U", "unsure"),
    Action("previous", "Back", "Left", "to the image before"),
    Action("next", "Next", "Right", "to the next image"),
    Action(
        "undo", "Undo", "Z", "take back your last action", "Takes back your last action, of an earlier session too."
    ),
    Action("overlay", "Outline", "O", "outline on or off", "Show or hide the region that its class's mask keeps."),
    Action(
        "select", "Select", "S", "select or deselect", "Add the image to the selection, or take it out: see Mark many."
    ),
    Action("large", "Large", "V", "large view on or off", "The image alone, large, or beside the wall."),
)
DEFAULTS = {action.name: action.key for action in ACTIONS}


def check(keys: dict[str, str]) -> dict[str, str]:
    """Keys for all actions, in capitals. Raises `InputError` with one sentence when a key is refused or taken twice."""
    found: dict[str, str] = {}
    words = {action.name: action.words for action in ACTIONS}
    for name in DEFAULTS:
        asked = str(keys.get(name, "")).strip()
        key = asked.capitalize()
        if key in RESERVED:
            raise InputError(f"The key {key} belongs to Streamlit ({RESERVED[key]}): choose another one.")
        if key not in ALLOWED:
            raise InputError(
                f"{asked[:20]!r} cannot be a key for “{words[name]}”: choose a letter, a digit or an arrow."
            )
        taken = next((other for other, its in found.items() if its == key), None)
        if taken is not None:
            raise InputError(
                f"The key {key} is chosen for “{words[taken]}” and for “{words[name]}”: change one of them."
            )
        found[name] = key
    return found


def load() -> dict[str, str]:
    """The kept keys; the defaults where there are none or where the file holds something else."""
    try:
        kept = atomic.read_json(home.home() / FILE)
        return check({**DEFAULTS, **{str(name): str(key) for name, key in kept.items()}})
    except (OSError, ValueError, AttributeError, InputError):
        return dict(DEFAULTS)


def save(keys: dict[str, str]) -> None:
    """Keep them. Raises `InputError` when they cannot be used."""
    atomic.write_json(home.home() / FILE, check(keys))


def settings(keys: dict[str, str]) -> None:
    """The list of keys behind a button, each of them changeable."""
    with st.popover("Keys", icon=":material/keyboard:"):
        with st.form("review-keys", border=False):
            columns = st.columns(3)
            chosen = {}
            for place, action in enumerate(ACTIONS):
                options: dict[str, Any] = {"index": ALLOWED.index(keys[action.name]), "key": f"choose-{action.name}"}
                chosen[action.name] = columns[place % 3].selectbox(action.label, ALLOWED, **options)
            saved = st.form_submit_button("Keep these keys", type="primary")
        back = st.button("Back to the defaults", key="keys-default", disabled=keys == DEFAULTS)
        st.caption("C and R belong to Streamlit. The keys are kept for everyone who uses this home folder.")
        if saved or back:
            with friendly():
                save(chosen if saved else DEFAULTS)
                for action in ACTIONS:
                    st.session_state.pop(f"choose-{action.name}", None)
                st.session_state["review-said"] = "These keys are used from now on."
                st.rerun()
