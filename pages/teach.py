"""Teach: how to give the lesson: aims, plan, preparation, exercises with solutions, misconceptions, reading."""

import streamlit as st

from ui import learn_lesson, learn_run, learn_walk, state, teach_views
from ui.errors import friendly

state.through_router()
with friendly():
    st.html(learn_walk.PRINT_STYLE)
    if learn_walk.printing():
        teach_views.sheet()
    else:
        lesson = learn_run.find(state.selected_id())
        st.title("Teach", anchor=False)
        learn_lesson.about_teaching(lesson)
        left, right = st.columns([1, 1.4], gap="large")
        with left:
            teach_views.aims()
            teach_views.handouts()
        with right:
            teach_views.plan()
        teach_views.prepare()
        teach_views.exercises(lesson)
        teach_views.misconceptions()
        teach_views.reading()
