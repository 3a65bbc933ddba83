"""The reviewer's desk: which image is in focus, what each key does, and the writing of decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.reviews import Decision, ReviewStore
from mspc_core.runs import Run
from ui import filters, state
from ui.text import plain, plural

PAGE = 40  # thumbnails on a page
KEYS: tuple[tuple[Decision, str, str], ...] = (
    ("keep", "Keep", "K"),
    ("remove", "Remove", "X"),
    ("unsure", "Unsure", "U"),
)


class Desk:
    """The run, the queue (positions in its table, in order), each sample's decision, and the image in focus.

    Its methods are called by buttons before the page is drawn again: what they write is on disk by then.
    """

    def __init__(self, run: Run, scores: pd.DataFrame, queue: np.ndarray, decided: np.ndarray) -> None:
        self.run, self.scores, self.queue, self.decided = run, scores, queue, decided
        self.ids = scores["sample_id"].to_numpy()
        self.page_key = f"review-page-{run.id}"
        asked = self._position_of(state.selected_sample(run))
        self.position = asked if asked is not None else self._first()

    @property
    def place(self) -> int | None:
        """Index of the image in focus within the queue."""
        found = np.flatnonzero(self.queue == (-1 if self.position is None else self.position))
        return int(found[0]) if len(found) else None

    def show(self, position: int | None) -> None:
        """Bring a sample into focus, and its page of thumbnails with it."""
        if position is None:
            return
        state.select_sample(str(self.ids[position]))
        found = np.flatnonzero(self.queue == position)
        if len(found):
            st.session_state[self.page_key] = int(found[0]) // PAGE + 1

    def move(self, step: int) -> None:
        """To the next or previous image of the queue."""
        self.show(filters.neighbour(self.queue, self.position, step))

    def click(self, identity: str) -> None:
        """To the image that was clicked."""
        self.show(self._position_of(identity))

    def decide(self, decision: Decision) -> None:
        """Write the decision, then go to the next undecided image."""
        if self.position is None or not self._write([str(self.ids[self.position])], decision):
            return
        after = self.decided != filters.UNDECIDED
        after[self.position] = True
        target = filters.next_open(self.queue, after, self.position)
        self.show(target if target is not None else self.position)

    def decide_all(self, positions: np.ndarray, decision: Decision) -> None:
        """One decision for many images, as one action."""
        if self._write([str(self.ids[position]) for position in positions], decision):
            _say(f"{plural(len(positions), 'image')} marked as {decision}. Undo takes it back.")
            st.session_state["bulk-sure"] = False

    def undo(self) -> None:
        """Take back this reviewer's last action and show what it was about."""
        try:
            taken = ReviewStore().undo(self.run.id, reviewer())
        except InputError as error:
            _fail(error)
            return
        if not taken:
            _say("There is nothing of yours to undo.")
            return
        _say(f"Took back the last decision ({plural(len(taken), 'image')}).")
        self.show(self._position_of(taken[0]))

    def _write(self, samples: list[str], decision: Decision) -> bool:
        try:
            ReviewStore().decide(self.run.id, samples, decision, reviewer())
            return True
        except InputError as error:
            _fail(error)
            return False

    def _position_of(self, identity: str | None) -> int | None:
        found = np.flatnonzero(self.ids == (identity or ""))
        return int(found[0]) if len(found) else None

    def _first(self) -> int | None:
        still = self.queue[self.decided[self.queue] == filters.UNDECIDED]
        if len(still):
            return int(still[0])
        return int(self.queue[0]) if len(self.queue) else None


def reviewer() -> str:
    """The name that decisions are stored under; empty is a name too."""
    return str(st.session_state.get("reviewer") or "").strip()


def messages() -> None:
    """What the last action did, or why it could not be written."""
    failed = st.session_state.pop("review-failed", None)
    if failed:
        st.error(plain(failed, 300), icon=":material/error:")
    said = st.session_state.pop("review-said", None)
    if said:
        st.toast(plain(said, 200), icon=":material/check:")


def keys(desk: Desk) -> None:
    """The buttons of the desk; each shows its key."""
    for column, (decision, label, key) in zip(st.columns(3, gap="small"), KEYS, strict=True):
        column.button(
            label,
            shortcut=key,
            type="primary" if decision == "remove" else "secondary",
            on_click=desk.decide,
            args=(decision,),
            width="stretch",
            key=f"key-{decision}",
        )
    place, last = desk.place, len(desk.queue) - 1

    def flip() -> None:
        st.session_state["review-overlay"] = not st.session_state.get("review-overlay", True)

    first, second, third, fourth = st.columns(4, gap="small")
    common: dict[str, Any] = {"width": "stretch", "type": "tertiary"}
    first.button(
        "Back", shortcut="Left", on_click=desk.move, args=(-1,), disabled=place == 0, key="key-previous", **common
    )
    second.button(
        "Next", shortcut="Right", on_click=desk.move, args=(1,), disabled=place == last, key="key-next", **common
    )
    third.button("Undo", shortcut="Z", on_click=desk.undo, key="key-undo", **common)
    hint = "Show or hide the region that its class's mask keeps."
    fourth.button("Outline", shortcut="O", on_click=flip, key="key-overlay", help=hint, **common)


def _say(text: str) -> None:
    st.session_state["review-said"] = text


def _fail(error: InputError) -> None:
    st.session_state["review-failed"] = str(error)
