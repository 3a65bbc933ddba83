"""The reviewer's desk: which image is in focus, what each action does, and the writing of decisions."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core import access
from mspc_core.errors import InputError
from mspc_core.reviews import Decision, DecisionRecord, ReviewStore, Snapshot
from mspc_core.reviews.evidence import detector_version, evidence_of
from mspc_core.runs import Run
from ui import cache, filters, review_queues, state
from ui.text import plain, plural, short, when

PAGE = 40  # thumbnails on a page
REFRESH = "review-refresh"  # set when the whole page has to be drawn again


class Desk:
    """The run, the queue (positions in its table, in order), each sample's decision, and the image in focus.

    codes: each sample's decision when the page was drawn, as in `filters.CODES`. Its methods are called by buttons
    before the page is drawn again: what they write is on disk by then.
    """

    def __init__(self, run: Run, scores: pd.DataFrame, queue: np.ndarray, snapshot: Snapshot) -> None:
        self.run, self.scores, self.queue, self.snapshot = run, scores, queue, snapshot
        self.codes = filters.decision_codes(cache.sample_index(run), snapshot.decisions)
        self.ids = cache.sample_index(run).to_numpy()
        self.page_key = f"review-page-{run.id}"
        asked = cache.position_of(run, state.selected_sample(run))
        self.position = asked if asked is not None else self._first()
        self._written: Decision | None = None
        self._next: int | None = None  # where the decision led

    @property
    def place(self) -> int | None:
        """Index of the image in focus within the queue."""
        found = np.flatnonzero(self.queue == (-1 if self.position is None else self.position))
        return int(found[0]) if len(found) else None

    def decision_of(self, position: int) -> str:
        """keep, remove, unsure or open."""
        return filters.CODES[self.codes[position]]

    def counts(self) -> dict[str, int]:
        """How many images of the queue have which decision."""
        found = np.bincount(self.codes[self.queue], minlength=len(filters.CODES))
        return dict(zip(filters.CODES, found.tolist(), strict=True))

    # --- moving -----------------------------------------------------------------------------------------------------

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
        self.show(cache.position_of(self.run, identity))

    # --- deciding ---------------------------------------------------------------------------------------------------

    def decide(self, decision: Decision) -> None:
        """Write the decision, then go to the next undecided image.

        Once for each drawing of the page: the buttons of the image before may still listen to their keys for a moment
        when the next one is already seen, and must not take its decision for theirs.
        """
        if self._written is not None:
            self.show(self._next)  # the browser's address may still be that of the image before
            return
        if self.position is None or not self._write(np.array([self.position]), decision):
            return
        self._written = decision
        after = self.codes != 0
        after[self.position] = True
        target = filters.next_open(self.queue, after, self.position)
        self._next = target if target is not None else self.position
        self.show(self._next)

    def decide_all(self, positions: np.ndarray, decision: Decision) -> None:
        """One decision for many images, as one action."""
        if len(positions) and self._write(positions, decision):
            say(f"{plural(len(positions), 'image')} marked as {decision}. Undo takes it back.")
            self.clear_marks()

    def undo(self) -> None:
        """Take back this reviewer's last action, of an earlier session too, and show what it was about."""
        try:
            taken = ReviewStore().undo(self.run.id, reviewer())
        except InputError as error:
            _fail(error)
            return
        if not taken:
            say("Nothing changed: no action of yours is left, or somebody else has decided on its images since.")
            return
        st.session_state[REFRESH] = True
        say(f"Took back your last action ({plural(len(taken), 'image')}).")
        self.show(cache.position_of(self.run, taken[0]))

    def _write(self, positions: np.ndarray, decision: Decision) -> bool:
        samples = [str(self.ids[position]) for position in positions]
        try:
            version = detector_version(self.run.config().versions, cache.summary_of(self.run))
        except InputError:  # the run is gone; what was seen of it is still in this page
            version = ""
        try:
            meanwhile = ReviewStore().decide(
                self.run.id,
                samples,
                decision,
                reviewer(),
                evidence=evidence_of(self.scores, positions.tolist()),
                detectors=version,
                seen=self.snapshot.newest,
            )
        except InputError as error:
            _fail(error)
            return False
        if meanwhile and self._written is None:
            say(meanwhile_words(meanwhile, decision, len(samples), reviewer()), "review-meanwhile")
        st.session_state[REFRESH] = True
        return True

    # --- the selection ----------------------------------------------------------------------------------------------

    @property
    def marks(self) -> set[str]:
        """Sample ids that are selected for a decision on many."""
        kept: set[str] = st.session_state.setdefault(f"review-marks-{self.run.id}", set())
        return kept

    def mark(self, identities: list[str], on: bool) -> None:
        """Add samples to the selection, or take them out."""
        self.marks.difference_update(identities)
        if on:
            self.marks.update(identities)

    def mark_focused(self) -> None:
        """Add the image in focus to the selection, or take it out."""
        if self.position is not None:
            identity = str(self.ids[self.position])
            self.mark([identity], identity not in self.marks)

    def clear_marks(self) -> None:
        self.marks.clear()

    def marked(self) -> np.ndarray:
        """Positions of the selection, ascending."""
        return np.sort(review_queues.positions_of(self.run, sorted(self.marks)))

    def _first(self) -> int | None:
        still = self.queue[self.codes[self.queue] == 0]
        if len(still):
            return int(still[0])
        return int(self.queue[0]) if len(self.queue) else None


def reviewer() -> str:
    """The name that decisions are stored under: of whoever has logged in, else what was typed; empty is a name too."""
    return access.current() or str(st.session_state.get("reviewer") or "").strip()


def meanwhile_words(found: list[DecisionRecord], decision: str, many: int, me: str) -> str:
    """That somebody decided on these samples after the page was drawn. found: newest first."""
    latest = found[0]
    who = f"“{short(latest.reviewer, 30)}”" if latest.reviewer.strip() else "A reviewer without a name"
    if latest.reviewer == me:
        who = "Your other window"
    if many > 1:
        samples = len({entry.sample_id for entry in found})
        return f"{who} decided on {samples:,} of these meanwhile. Yours, {decision}, counts now."
    did = "undid this" if latest.decision == "open" else f"decided {latest.decision}"
    at = when(datetime.fromisoformat(latest.time).timestamp()).removeprefix("today ")
    return f"{who} {did} meanwhile ({at}). Yours, {decision}, counts now."


def messages() -> None:
    """What the last action did, or why it could not be written."""
    failed = st.session_state.pop("review-failed", None)
    if failed:
        st.error(plain(failed, 300), icon=":material/error:")
    told = st.session_state.pop("review-meanwhile", None)
    if told:
        st.toast(plain(told, 300), icon=":material/group:", duration="long")
    said = st.session_state.pop("review-said", None)
    if said:
        st.toast(plain(said, 300), icon=":material/check:")


def say(text: str, kind: str = "review-said") -> None:
    """Keep a message for the next drawing of the page."""
    st.session_state[kind] = text


def _fail(error: InputError) -> None:
    st.session_state["review-failed"] = str(error)
