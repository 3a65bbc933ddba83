"""Poison lab: put a known backdoor into clean data, and try its trigger on a trained model."""

import streamlit as st

from mspc_core import poisoning
from mspc_core.data import store
from mspc_core.data.store import DatasetInfo
from mspc_core.errors import InputError
from mspc_core.poisoning import PoisonConfig
from ui import cache, lab_data, lab_form, lab_jobs, lab_preview, lab_try, state
from ui.errors import friendly, show_error

VIEWS = {"make": "Make poisoned data", "try": "Try the trigger"}


def choose_view() -> str:
    """The part of the lab, kept in the URL."""
    if "lab-view" not in st.session_state:
        asked = st.query_params.get("view", "make")
        st.session_state["lab-view"] = asked if asked in VIEWS else "make"
    view = st.segmented_control(
        "View", list(VIEWS), key="lab-view", format_func=VIEWS.__getitem__, required=True, label_visibility="collapsed"
    )
    st.query_params["view"] = view or "make"
    return view or "make"


def nothing_clean(lab: list[str]) -> None:
    """No clean data set is stored: how to get one."""
    what = f" {lab_form.left_out(lab)}" if lab else ""
    st.info(f"There is no clean data set to poison yet.{what}", icon=":material/photo_library:")
    with st.container(horizontal=True):
        busy = lab_jobs.at_work()
        if st.button("Render the demo's clean images", type="primary", icon=":material/traffic:", disabled=busy):
            lab_jobs.start_demo_images()
        if st.button("Add your own data", icon=":material/add_photo_alternate:"):
            state.go("data")


def rest(clean: list[str], lab: list[str]) -> None:
    """Below the form: what is not offered, and the demo's images where they are not stored."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if lab:
            st.caption(lab_form.left_out(lab))
        if lab_jobs.demo_is_missing(clean):
            label, busy = "Render the demo's clean images", lab_jobs.at_work()
            if st.button(label, type="tertiary", icon=":material/traffic:", disabled=busy):
                lab_jobs.start_demo_images()


@st.fragment
def make(found: dict[str, DatasetInfo], busy: bool) -> None:
    """Choose, look, create: the controls rerun this part alone."""
    with friendly():
        first, second, third = st.columns([1.1, 1.1, 1.3], gap="medium")
        with first:
            info = lab_form.choose_data(found)
        with second:
            name = lab_form.choose_attack()
        with third:
            lab_form.about(name)
        left, right = st.columns([1, 2.1], gap="large")
        with left:
            settings = lab_form.ask_settings(name, info.size)
            labels = lab_form.ask_labels(info, name)
            config = lab_preview.config_of(info.name, name, settings, labels)
            with friendly():
                create(config, busy)
        with right, friendly():
            look(config, busy)


def look(config: PoisonConfig, busy: bool) -> None:
    """The preview, or what has to be learned before there is one."""
    prepared = poisoning.prepare(config, cache.stored_dataset(config.dataset))
    if lab_preview.show(prepared):
        return
    images = prepared.dataset.info.split_counts.get("train", 0)
    st.info(
        f"This attack has to learn its trigger before it can be shown. {lab_data.cost_words(config.attack, images)} "
        "It runs in the background, once for these settings, target and seed; creating the data set then uses it.",
        icon=":material/model_training:",
    )
    if st.button("Learn the trigger now", type="primary", icon=":material/model_training:", disabled=busy):
        lab_jobs.start_learning(config)


def create(config: PoisonConfig, busy: bool) -> None:
    """Name, count and the button. Only the job, in a process of its own, writes anything."""
    config = lab_form.ask_name(config)
    try:
        prepared = poisoning.prepare(config, cache.stored_dataset(config.dataset))
        planned, refusal = poisoning.check(prepared), None
        st.caption(lab_data.amount_words(planned.poisoned, planned.covers, planned.training))
    except InputError as error:
        refusal = error
    pressed = st.button(
        "Create the data set",
        type="primary",
        icon=":material/science:",
        disabled=busy or refusal is not None,
        width="stretch",
    )
    if note := lab_jobs.note():
        st.caption(note)
    if refusal is not None:
        show_error(refusal)
    elif pressed:
        lab_jobs.start(config)


with friendly():
    run = state.selected_run()
    st.title("Poison lab")
    view = choose_view()
    with st.container(), friendly():
        lab_jobs.show()
    if view == "try":
        lab_try.show(run)
        st.stop()
    st.caption(
        "Plant a known backdoor in a copy of clean data. The source is never changed; what was poisoned, and how, is "
        "recorded with the copy."
    )
    clean, lab = lab_data.split_by_truth(store.list_datasets())
    if clean:
        lab_form.follow_link(clean, st.query_params.pop("dataset", None))
        make(clean, lab_jobs.at_work())
        rest(list(clean), lab)
    else:
        nothing_clean(lab)
