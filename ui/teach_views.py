"""The parts of the page for teachers, and the sheet of exercises for print."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from ui import learn_walk, state
from ui.errors import friendly
from ui.learn_run import Lesson
from ui.learn_sources import SOURCES
from ui.teach_exercises import EXERCISES, LEVELS, Exercise
from ui.teach_words import AIMS, MISCONCEPTIONS, PLAN, PREPARE


def aims() -> None:
    st.header("Aims", anchor=False)
    st.markdown("After the lesson, your class can\n" + "\n".join(f"- {aim}" for aim in AIMS))


def plan() -> None:
    """When what is done; the minutes add up by themselves."""
    minutes = sum(part.minutes for part in PLAN)
    st.header(f"Plan for {minutes} minutes", anchor=False)
    rows, start = [], 0
    for part in PLAN:
        steps = "–"
        if part.steps:
            first, last = part.steps
            steps = str(first) if first == last else f"{first} to {last}"
        rows.append({"minutes": f"{start}–{start + part.minutes}", "what": part.what, "steps": steps, "how": part.how})
        start += part.minutes
    st.table(pd.DataFrame(rows), hide_index=True)
    st.caption("The exercises below fill a second lesson, or homework.")


def prepare() -> None:
    st.header("Prepare a class", anchor=False)
    st.markdown(PREPARE)


def handouts() -> None:
    """The two things to print."""
    st.header("To print", anchor=False)
    with st.container(horizontal=True):
        if st.button("Handout: all steps with answers", icon=":material/print:", key="teach-handout"):
            state.go("learn", **{learn_walk.VIEW: learn_walk.PRINT})
        if st.button("Sheet of exercises, without solutions", icon=":material/print:", key="teach-sheet"):
            st.query_params[learn_walk.VIEW] = learn_walk.PRINT
            st.rerun()


def exercises(lesson: Lesson) -> None:
    """All exercises; a solution is worked out when it is opened."""
    st.header("Exercises", anchor=False)
    st.caption("From easy to hard. Solutions are worked out from the demo's run when you open them.")
    for number, exercise in enumerate(EXERCISES, start=1):
        with st.container(border=True, key=f"exercise-{number}"):
            left, right = st.columns([3, 1], gap="medium", vertical_alignment="top")
            with left:
                _task(number, exercise)
            with right:
                _way(number, exercise, lesson)
            _solution(number, exercise, lesson)


def _task(number: int, exercise: Exercise) -> None:
    level = LEVELS[exercise.level]
    st.markdown(f"**{number}. {exercise.title}** · :gray[{level}, about {exercise.minutes} minutes]")
    st.markdown(exercise.task)
    if exercise.code:
        st.code(exercise.code, language="sh", wrap_lines=True)


def _place(exercise: Exercise) -> str:
    """Where an exercise is done, in words."""
    if exercise.step:
        return f"Learn, step {exercise.step}"
    return {"clean": "Clean & retrain"}.get(exercise.page, exercise.page.capitalize())


def _way(number: int, exercise: Exercise, lesson: Lesson) -> None:
    words, key = f"Open {_place(exercise)}", f"exercise-open-{number}"
    if st.button(words, icon=":material/open_in_new:", key=key, width="stretch"):
        run = {"run": lesson.run.id} if lesson.run else {}
        step = {learn_walk.STEP: str(exercise.step)} if exercise.step else {}
        state.go(exercise.page, **run, **step)


@st.fragment
def _solution(number: int, exercise: Exercise, lesson: Lesson) -> None:
    panel = st.expander(
        "Expected result and solution", icon=":material/key:", key=f"solution-{number}", on_change="rerun"
    )
    if not panel.open:
        return
    with panel, friendly():
        if lesson.run is None:
            st.info("The solution is worked out from the demo's run: scan the demo first.", icon=":material/schedule:")
        else:
            exercise.solve(lesson)


def misconceptions() -> None:
    st.header("What students often believe", anchor=False)
    for item in MISCONCEPTIONS:
        st.markdown(f"**“{item.said}”**  \n{item.answer}")


def reading() -> None:
    st.header("Further reading", anchor=False)
    st.markdown("\n".join(f"- {source}" for source in SOURCES.values()))
    st.caption("Words are explained in docs/glossary.md, the method in docs/method.md, its limits in docs/limits.md.")


def sheet() -> None:
    """The exercises alone, for print."""
    with st.container(horizontal=True, vertical_alignment="center", key="not-on-paper"):
        if st.button("Back", icon=":material/arrow_back:", key="teach-unprint"):
            del st.query_params[learn_walk.VIEW]
            st.rerun()
        learn_walk.print_button("teach-print-now")
    with st.container(key="paper"):
        st.title("Exercises: backdoors in training data", anchor=False)
        for number, exercise in enumerate(EXERCISES, start=1):
            with st.container(key=f"printed-exercise-{number}"):
                _task(number, exercise)
                st.caption(f"Where: {_place(exercise)}")
