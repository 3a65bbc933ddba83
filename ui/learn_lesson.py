"""What stands around the steps of the lesson: the title, the run it is about or how to get one, the printed form."""

from __future__ import annotations

import streamlit as st

from mspc_core.runs import DEMO, Run, ScanConfig
from ui import learn_walk, run_list, state
from ui.errors import friendly
from ui.job_panel import progress_line
from ui.learn_run import Lesson
from ui.learn_steps import STEPS, show_printed
from ui.text import plain


def heading(lesson: Lesson) -> None:
    """Title, where the lesson's numbers come from, and the way to the printed form."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    left.title("Learn", anchor=False)
    with right.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Print view", icon=":material/print:", type="tertiary", key="learn-print"):
            st.query_params[learn_walk.VIEW] = learn_walk.PRINT
            st.rerun()
    about(lesson)


def about(lesson: Lesson) -> None:
    """Which run the numbers are of; without one, how to get it."""
    if lesson.run is not None:
        st.caption(
            f"Backdoors in {len(STEPS)} steps; nothing needs to be known before. Pictures and numbers are of the run "
            f"{plain(state.label_of(lesson.run), 80)}. The arrow keys ← → turn the pages."
        )
    else:
        offer_demo(lesson)


def about_teaching(lesson: Lesson) -> None:
    """The same on the page for teachers."""
    st.caption(
        "A lesson on backdoors for people who know what a picture classifier is, and no more. You need the page Learn, "
        "a projector, and one scan of the demo."
    )
    if lesson.run is None:
        offer_demo(lesson)


def offer_demo(lesson: Lesson) -> None:
    """Progress of the demo's scan, or the button that starts it."""
    if lesson.waiting is not None:
        st.fragment(_waiting, run_every=2.0)(lesson.waiting)
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            "The lesson is about the **demo**: rendered traffic signs, some of them poisoned. It has not been scanned "
            "yet. That takes some minutes; nothing is downloaded. The first two steps and all texts work without.",
            width="stretch",
        )
        if st.button("Start the demo", type="primary", icon=":material/play_circle:", key="learn-demo"):
            run_list.begin_scan(ScanConfig(source=DEMO))
            st.rerun()


def _waiting(run: Run) -> None:
    """Progress of the demo's scan; when it has ended, the page is drawn again."""
    with friendly():
        status = run.status()
        if not status.active:
            st.rerun(scope="app")
        st.progress(status.progress, text=f"The demo is being scanned: {plain(progress_line(status), 120)}")
        st.caption("You can read on meanwhile: the first two steps and all texts work without it.")


def printed(lesson: Lesson) -> None:
    """All steps with their answers on one page."""
    with st.container(horizontal=True, vertical_alignment="center", key="not-on-paper"):
        if st.button("Back to the lesson", icon=":material/arrow_back:", key="learn-unprint"):
            del st.query_params[learn_walk.VIEW]
            st.rerun()
        learn_walk.print_button("learn-print-now")
        st.caption("All steps with questions and answers. The sidebar and these buttons are not printed.")
    with st.container(key="paper"):
        st.title("Backdoors in training data, step by step", anchor=False)
        if lesson.run is not None:
            st.caption(f"Pictures and numbers of the run {plain(state.label_of(lesson.run), 80)}.")
        for number, step in enumerate(STEPS, start=1):
            show_printed(number, step, lesson)
