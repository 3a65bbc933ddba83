"""Review: go through the flagged images, one key each; every decision is on disk before the screen changes."""

import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache, evidence, filters, review_desk, review_keys, review_people, review_queues, review_views, state
from ui.errors import friendly
from ui.filters import SampleFilter
from ui.review_desk import Desk
from ui.review_wall import wall


@st.fragment
def desk_area(run: Run, kind: str, wanted: SampleFilter, by: str, descending: bool) -> None:
    """Everything that a key changes. As a fragment it is drawn again without the rest of the page."""
    with friendly():
        review_desk.messages()
        if not run.folder.is_dir():
            raise InputError("This run was deleted: the decisions on it are kept; choose another run.")
        changed = st.session_state.pop(review_desk.REFRESH, False)
        if changed and wanted.decisions:  # what passes the filter is another set now, also in the bar above
            st.rerun(scope="app")
        scores = cache.scores_of(run)
        queue = review_queues.queue_of(run, kind, wanted, by, descending)
        desk = Desk(run, scores, queue, cache.snapshot_of(run))
        review_views.progress(desk, kind)
        reveal, large = bool(st.session_state.get("reveal-truth")), bool(st.session_state.get(review_views.LARGE))
        keys = review_keys.load()
        left, right = st.columns([1.3, 1] if large else [0.85, 1.45], gap="large")
        with left:
            review_views.focus(desk, keys, large)
            if not large:
                review_views.focus_facts(desk, reveal)
        with right:
            if not len(queue):
                st.info("No image passes this filter.", icon=":material/filter_alt_off:")
            elif large:
                review_views.buttons(desk, keys)
                review_views.focus_facts(desk, reveal)
            else:
                wall(desk, by, reveal)
        review_people.history(desk)


def bottom_line(run: Run) -> None:
    """What to take home, and the truth for those who want to check themselves."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.download_button(
            "Decisions and scores (CSV)",
            data=lambda: filters.safe_csv(
                filters.review_table(cache.scores_of(run), cache.decisions_of(run), evidence.class_names(run))
            ),
            file_name=f"{run.id}-review.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        if filters.known_truth(cache.scores_of(run)) is not None:
            hint = "This is lab data: it is recorded which images were poisoned."
            st.toggle("Reveal the truth", key="reveal-truth", help=hint)


state.through_router()
with friendly():
    st.title("Review")
    run = state.require_run()
    evidence.watch(run)
    desk_area(run, *review_views.choose_queue(run, cache.scores_of(run)))
    review_people.people(run)
    bottom_line(run)
