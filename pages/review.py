"""Review: go through the flagged images, one key each; every decision is on disk before the screen changes."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, filter_query, filters, review_desk, review_views, state
from ui.errors import friendly
from ui.gallery import gallery
from ui.review_desk import PAGE, Desk
from ui.text import count, plain, plural


def focus(desk: Desk) -> None:
    """The image in focus, the keys, the evidence."""
    if desk.position is None:
        return
    row, decision = desk.scores.iloc[desk.position], str(desk.decided[desk.position])
    where = f"Image {desk.place + 1:,} of {len(desk.queue):,}" if desk.place is not None else "Not in this queue"
    colour: Any = {"keep": "green", "remove": "orange", "unsure": "violet"}.get(decision, "gray")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{where}**", width="content")
        words = filter_query.DECISIONS.get(decision, "undecided")
        st.badge(words, icon=evidence.DECISION_ICONS.get(decision), color=colour)
    overlay = bool(st.session_state.get("review-overlay", True))
    review_views.focus_image(desk.run, desk.scores, desk.position, overlay)
    review_desk.keys(desk)
    review_views.focus_facts(desk.run, desk.scores, desk.position, bool(st.session_state.get("reveal-truth")))
    st.caption(f"{plain(row['path'], 100)}  \nsample {plain(row['sample_id'], 40)}")
    if st.button("Inspect this image", icon=":material/search:", key="to-inspect"):
        state.go("inspect", sample=str(row["sample_id"]))


def wall(desk: Desk, by: str, reveal: bool) -> None:
    """A page of thumbnails with decisions; click one to bring it into focus."""
    shown = choose_page(desk)
    pictures = evidence.pictures_of(desk.run, desk.scores["row"].to_numpy()[shown])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted. Decisions can still be made.")
        pictures = np.full((len(shown), 32, 32, 3), 128, dtype=np.uint8)
    column = by if by.endswith("_score") else filters.default_sort(desk.scores)
    truth = filters.known_truth(desk.scores) if reveal else None
    classes = evidence.class_names(desk.run)
    detector = column.removesuffix("_score")
    tiles = evidence.sample_tiles(
        desk.scores, shown, classes, detector, truth=truth, decided=desk.decided, mark_flags=False
    )
    current = str(desk.ids[desk.position]) if desk.position is not None else None
    key = f"wall-{desk.run.id}"
    gallery(pictures, tiles, key=key, label="Images in this queue", size=72, selected=current, on_click=desk.click)
    st.caption(f"Below each image: the class the model gives it, and its {filters.title_of(detector)} score.")


def choose_page(desk: Desk) -> np.ndarray:
    """The page of thumbnails; it follows the image in focus until the user turns it."""
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
        bulk(desk, shown)
    return shown


def bulk(desk: Desk, shown: np.ndarray) -> None:
    """One decision for many images, asked twice."""
    still = shown[desk.decided[shown] == filters.UNDECIDED]
    choices = (
        (f"The {plural(len(still), 'undecided image')} on this page", still, "bulk-open"),
        (f"All {count(len(shown))} on this page", shown, "bulk-page"),
        (f"All {count(len(desk.queue))} in this queue", desk.queue, "bulk-queue"),
    )
    with st.popover("Mark many", icon=":material/done_all:"):
        st.markdown("Mark as **remove** (one undo takes it all back):")
        sure = st.checkbox("Yes, I have looked at them", key="bulk-sure")
        for label, which, key in choices:
            args = (which, "remove")
            off = not sure or not len(which)
            st.button(label, key=key, disabled=off, on_click=desk.decide_all, args=args, width="stretch")


def bottom_line(run: Run, scores: pd.DataFrame, decisions: dict[str, str]) -> None:
    """What to take home, and the truth for those who want to check themselves."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.download_button(
            "Decisions and scores (CSV)",
            data=lambda: filters.safe_csv(filters.review_table(scores, decisions, evidence.class_names(run))),
            file_name=f"{run.id}-review.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        if filters.known_truth(scores) is not None:
            hint = "This is lab data: it is recorded which images were poisoned."
            st.toggle("Reveal the truth", key="reveal-truth", help=hint)


with friendly():
    run = state.require_run()
    st.title("Review")
    evidence.watch(run)
    review_desk.messages()
    scores, decisions = cache.scores_of(run), cache.decisions_of(run)
    decided = filters.decision_column(scores, decisions)
    wanted, by, descending = review_views.choose_filter(run, scores)
    queue = review_views.queue_for(run, wanted, by, descending)
    desk = Desk(run, scores, queue, decided)
    review_views.progress(decided, queue)
    left, right = st.columns([1, 1.45], gap="large")
    with left:
        focus(desk)
    with right:
        if len(queue):
            wall(desk, by, bool(st.session_state.get("reveal-truth")))
        else:
            st.info("No image passes this filter.", icon=":material/filter_alt_off:")
    bottom_line(run, scores, decisions)
