"""Learn: a lesson in steps on the demo run, from what a backdoor is to a model without one; also for print."""

import streamlit as st

from ui import learn_lesson, learn_run, learn_walk, state
from ui.errors import friendly
from ui.learn_quiz import chosen_of
from ui.learn_steps import STEPS, show

state.through_router()
with friendly():
    st.html(learn_walk.PRINT_STYLE)
    lesson = learn_run.find(state.selected_id())
    if learn_walk.printing():
        learn_lesson.printed(lesson)
    else:
        number = learn_walk.current(len(STEPS))
        step, titles = STEPS[number - 1], [step.title for step in STEPS]
        learn_lesson.heading(lesson)
        learn_walk.contents(number, titles, [chosen_of(step.key) is not None for step in STEPS])
        st.header(f"{number}. {step.title}", anchor=False)
        show(step, lesson)
        learn_walk.moves(number, titles)
