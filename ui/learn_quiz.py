"""One question a step. The reader chooses first; then the answer is shown with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from ui.errors import friendly
from ui.learn_run import Lesson

CHOSEN = "learn-answers"  # in the session: step → the option that was chosen


@dataclass(frozen=True)
class Question:
    """text, options: Markdown. right: place of the right option. why: the reason, worked out when it is shown."""

    text: str
    options: tuple[str, ...]
    right: int
    why: Callable[[Lesson], str]


def chosen_of(step: str) -> int | None:
    """What the reader has answered in this session."""
    found: int | None = st.session_state.get(CHOSEN, {}).get(step)
    return found


@st.fragment
def ask(step: str, question: Question, lesson: Lesson) -> None:
    """The question, and once it was answered, what is right and why."""
    with friendly(), st.container(border=True, key=f"question-{step}"):
        chosen = chosen_of(step)
        pick = st.radio(
            f":material/quiz: **{question.text}**",
            range(len(question.options)),
            index=chosen,
            format_func=lambda number: question.options[number],
            key=f"answer-{step}",
        )

        def answered() -> None:
            st.session_state[CHOSEN] = {**st.session_state.get(CHOSEN, {}), step: pick}

        st.button(
            "Show the answer",
            on_click=answered,
            disabled=pick is None or pick == chosen,
            key=f"check-{step}",
            help="Choose first." if pick is None else None,
        )
        if chosen is None:
            return
        if chosen == question.right:
            st.success(f"**Right.** {question.why(lesson)}", icon=":material/check_circle:")
        else:
            right = question.options[question.right]
            st.info(f"**Not quite.** The answer: {right}\n\n{question.why(lesson)}", icon=":material/lightbulb:")


def printed(question: Question, lesson: Lesson) -> None:
    """Question, options and answer as they go on paper."""
    letters = "ABCDEFG"
    lines = "\n".join(f"- **{letters[number]}** {option}" for number, option in enumerate(question.options))
    st.markdown(f"**Question.** {question.text}\n{lines}")
    st.markdown(f"**Answer: {letters[question.right]}.** {question.why(lesson)}")
