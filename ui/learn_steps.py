"""The steps of the lesson in their order, and how one is drawn on the page and on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from ui import (
    learn_backdoor,
    learn_evidence,
    learn_outcome,
    learn_questions,
    learn_questions_defence,
    learn_quiz,
    learn_scaling,
    learn_words,
    state,
)
from ui.errors import friendly
from ui.learn_quiz import Question
from ui.learn_run import Facts, Lesson
from ui.learn_sources import cited


@dataclass(frozen=True)
class Step:
    """text: what is said first. live: the control. still: a picture of the same for print. more: a page of the app that
    shows this in full. needs_run: nothing can be shown before the demo was scanned."""

    key: str
    title: str
    text: Callable[[Facts], str]
    live: Callable[[Lesson], None]
    still: Callable[[Lesson], None]
    question: Callable[[Facts], Question]
    sources: tuple[str, ...]
    more: tuple[str, str] | None = None
    needs_run: bool = True


STEPS: tuple[Step, ...] = (
    Step(
        "backdoor",
        "What is a backdoor?",
        learn_words.backdoor,
        learn_backdoor.backdoor,
        learn_backdoor.backdoor_still,
        learn_questions.backdoor,
        ("badnets", "survey"),
        needs_run=False,
    ),
    Step(
        "plant",
        "Put one in",
        learn_words.plant,
        learn_backdoor.plant,
        learn_backdoor.plant_still,
        learn_questions.plant,
        ("badnets", "blend", "wanet", "clean-label"),
        ("data", "Look at the data set"),
        needs_run=False,
    ),
    Step(
        "training",
        "Watch it being learned",
        learn_words.training,
        learn_backdoor.training,
        learn_backdoor.training_still,
        learn_questions.training,
        ("abl",),
    ),
    Step(
        "attack",
        "Try the backdoor",
        learn_words.attack,
        learn_backdoor.attack,
        learn_backdoor.attack_still,
        learn_questions.attack,
        ("badnets", "bench"),
    ),
    Step(
        "scaling",
        "Make images brighter: SPC",
        learn_words.scaling,
        learn_scaling.scaling,
        learn_scaling.scaling_still,
        learn_questions_defence.scaling,
        ("scale-up",),
        ("inspect", "Open Inspect"),
    ),
    Step(
        "histogram",
        "All images at once",
        learn_words.histogram,
        learn_scaling.histogram,
        learn_scaling.histogram_still,
        learn_questions_defence.histogram,
        ("scale-up",),
        ("scores", "Open Scores"),
    ),
    Step(
        "errors",
        "Why SPC errs",
        learn_words.errors,
        learn_scaling.errors,
        learn_scaling.errors_still,
        learn_questions_defence.errors,
        ("mspc", "flare"),
        ("scores", "Open Scores"),
    ),
    Step(
        "mask",
        "Look through a mask: MSPC",
        learn_words.mask,
        learn_evidence.mask,
        learn_evidence.mask_still,
        learn_questions_defence.mask,
        ("mspc",),
        ("mask", "Open Mask"),
    ),
    Step(
        "transplant",
        "Cut it out and paste it elsewhere",
        learn_words.transplant,
        learn_evidence.transplant,
        learn_evidence.transplant_still,
        learn_questions_defence.transplant,
        ("here", "cleanse"),
        ("mask", "Open Mask"),
    ),
    Step(
        "verdict",
        "The verdict",
        learn_words.verdict,
        learn_outcome.verdict,
        learn_outcome.verdict_still,
        learn_questions_defence.verdict,
        ("here", "scan", "latent"),
        ("review", "Open Review"),
    ),
    Step(
        "cleaning",
        "Clean up and train again",
        learn_words.cleaning,
        learn_outcome.cleaning,
        learn_outcome.cleaning_still,
        learn_questions_defence.cleaning,
        ("badnets", "mspc"),
    ),
)


def show(step: Step, lesson: Lesson) -> None:
    """A step on the page: text, control, question, sources."""
    st.markdown(step.text(lesson.facts))
    with st.container(border=True, key=f"live-{step.key}"):
        if step.needs_run and lesson.run is None:
            st.info(
                "Here is something to try once the demo has been scanned. The text and the question need no scan.",
                icon=":material/hourglass_empty:",
            )
        else:
            with friendly():
                step.live(lesson)
    learn_quiz.ask(step.key, step.question(lesson.facts), lesson)
    with st.container(horizontal=True, vertical_alignment="center"):
        if step.more and lesson.run is not None:
            page, words = step.more
            if st.button(words, icon=":material/open_in_new:", type="tertiary", key=f"more-{step.key}"):
                state.go(page, run=lesson.run.id)
        st.caption(cited(step.sources))


def show_printed(number: int, step: Step, lesson: Lesson) -> None:
    """A step on paper: text, still pictures, question with its answer, sources."""
    with st.container(key=f"printed-{step.key}"):
        st.header(f"{number}. {step.title}", anchor=False)
        st.markdown(step.text(lesson.facts))
        if not step.needs_run or lesson.run is not None:
            with friendly():
                step.still(lesson)
        with friendly():
            learn_quiz.printed(step.question(lesson.facts), lesson)
        st.caption(cited(step.sources))
