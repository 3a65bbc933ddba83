"""The wall of thumbnails on the Review page, and decisions on many images at once."""

from __future__ import annotations

import numpy as np
import streamlit as st

from mspc_core.reviews import Decision
from ui import evidence, filters
from ui.gallery import gallery
from ui.review_desk import PAGE, Desk
from ui.text import count, plural
from ui.tiles import sample_tiles

MANY: tuple[Decision, ...] = ("remove", "keep", "unsure")


def wall(desk: Desk, by: str, reveal: bool) -> None:
    """A page of thumbnails with decisions; a click brings one into focus, Ctrl, Shift or the circle select."""
    shown = _choose_page(desk)
    pictures = evidence.pictures_of(desk.run, desk.scores["row"].to_numpy()[shown])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted. Decisions can still be made.")
        pictures = np.full((len(shown), 32, 32, 3), 128, dtype=np.uint8)
    column = by if by.endswith("_score") else filters.default_sort(desk.scores)
    truth = filters.known_truth(desk.scores) if reveal else None
    detector = column.removesuffix("_score")
    decided = {int(position): desk.decision_of(int(position)) for position in shown}
    tiles = sample_tiles(
        desk.scores,
        shown,
        evidence.class_names(desk.run),
        detector,
        truth=truth,
        decided=decided,
        mark_flags=False,
    )
    gallery(
        pictures,
        tiles,
        key=f"wall-{desk.run.id}",
        label="Images in this queue",
        size=72,
        selected=str(desk.ids[desk.position]) if desk.position is not None else None,
        on_click=desk.click,
        marks=desk.marks,
        on_mark=desk.mark,
    )
    st.caption(
        f"Below each image: the class the model gives it, and its {filters.title_of(detector)} score. Select with Ctrl "
        "or Shift and a click, the circle in a corner, or the space bar."
    )


def _choose_page(desk: Desk) -> np.ndarray:
    """The page of thumbnails; it follows the image in focus until the user turns it. Returns its positions."""
    pages = max(1, -(-len(desk.queue) // PAGE))
    if desk.page_key not in st.session_state and desk.place is not None:
        st.session_state[desk.page_key] = desk.place // PAGE + 1
    page = min(int(st.session_state.get(desk.page_key, 1)), pages)
    widget = f"{desk.page_key}-{page}-{pages}"

    def turned() -> None:
        st.session_state[desk.page_key] = int(st.session_state[widget])

    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if pages > 1:
            st.pagination(pages, default=page, key=widget, on_change=turned)
        else:
            st.caption(plural(len(desk.queue), "image"), width="content")
        shown = desk.queue[(page - 1) * PAGE : page * PAGE]
        many(desk, shown)
    return shown


def many(desk: Desk, page: np.ndarray) -> None:
    """One decision for the selection, the page or the queue. Asked twice, and the question names the number: another
    choice takes the tick away."""
    marked = desk.marked()
    still = page[desk.codes[page] == 0]
    choices = {
        "selection": (f"The selection ({count(len(marked))})", marked),
        "open": (f"Undecided on this page ({count(len(still))})", still),
        "page": (f"All on this page ({count(len(page))})", page),
        "queue": (f"The whole queue ({count(len(desk.queue))})", desk.queue),
    }
    label = f"Mark many ({count(len(marked))})" if len(marked) else "Mark many"
    with st.popover(label, icon=":material/done_all:"):
        which = st.radio(
            "Which images",
            list(choices),
            format_func=lambda name: choices[name][0],
            index=0 if len(marked) else 1,
            key=f"many-which-{bool(len(marked))}",
        )
        decision = st.segmented_control("Decision", MANY, default="remove", required=True, key="many-decision")
        chosen = choices[which][1]
        question = f"Yes, mark {plural(len(chosen), 'image')} as {decision}"
        sure = st.checkbox(question, key=f"many-sure-{which}-{decision}-{len(chosen)}", disabled=not len(chosen))
        args = (chosen, decision)
        off = not (sure and len(chosen))
        st.button(
            "Mark them",
            key="many-do",
            type="primary",
            disabled=off,
            on_click=desk.decide_all,
            args=args,
            help="One action: one undo takes all of it back.",
        )
        if len(marked):
            st.button("Clear the selection", key="many-clear", type="tertiary", on_click=desk.clear_marks)
