"""Home: what this is, the way in, and all runs."""

import streamlit as st

from mspc_core import runs
from mspc_core.runs import Run
from ui import run_list, state
from ui.errors import friendly

ABOUT = (
    "Find out whether a set of training images was poisoned with a **backdoor**: a hidden trigger, such as a small "
    "sticker, that makes a model answer what an attacker wants. Backdoor Lens trains a model on the images (or takes "
    "yours), scores every image for backdoor evidence without needing any clean data, and shows you why, so that you "
    "can decide what to remove."
)
BRIEFLY = (
    "Each scan trains a model on a set of images (or takes yours) and scores every image for backdoor evidence. "
    "Open one to see its scores, the learned masks, and the images to decide about."
)


def demo_button(kind: str) -> None:
    if st.button("Open the demo", type=kind, icon=":material/play_circle:", key="demo"):
        run_list.open_demo()


def lesson_link() -> None:
    label = "New to backdoors? A lesson in eleven steps"
    if st.button(label, type="tertiary", icon=":material/school:", key="lesson"):
        state.go("learn")


def first_steps() -> None:
    demo, own = st.columns(2)
    with demo.container(border=True, height="stretch"):
        st.markdown("## :material/traffic: See it work")
        st.markdown(
            "4,000 rendered traffic signs. Someone put a sticker on some of them and labelled those *speed 80*. "
            "The scan takes some minutes on a laptop; nothing is downloaded."
        )
        demo_button("primary")
    with own.container(border=True, height="stretch"):
        st.markdown("## :material/folder_open: Use your own images")
        st.markdown(
            "A folder with one sub-folder for each class, an archive, Parquet, CSV or .npz file, or a torchvision data "
            "set. It is read and checked first; the source is never changed."
        )
        if st.button("Scan my own data", icon=":material/arrow_forward:", key="own"):
            state.go("data")
    lesson_link()
    st.markdown("## What happens in a scan")
    steps = (
        (
            "school",
            "Learn",
            "A model is trained on the images as they are, or you bring your own weights.",
        ),
        (
            "radar",
            "Score",
            "Detectors ask of each image, in different ways: does something other than the object decide? Four of "
            "them give the verdict together.",
        ),
        (
            "visibility",
            "Look",
            "Histograms, masks and pictures show what the detectors saw.",
        ),
        (
            "fact_check",
            "Decide",
            "You keep or remove each suspect; every decision is saved at once.",
        ),
    )
    for column, (icon, title, text) in zip(st.columns(4), steps, strict=True):
        column.markdown(f":material/{icon}: **{title}**")
        column.caption(text)


def all_runs(found: list[Run]) -> None:
    with st.container(horizontal=True):
        if st.button("New scan", type="primary", icon=":material/add:", key="new"):
            state.go("scan", new="1")
        if st.button("Data", icon=":material/photo_library:", key="data"):
            state.go("data")
        demo_button("secondary")
        lesson_link()
    rows = [run_list.row_of(run) for run in found]
    if any(row.active for row in rows):
        st.markdown("## At work")
        run_list.show_active([row for row in rows if row.active])
    if not all(row.active for row in rows):
        st.markdown("## Scans")
        run_list.show_ended([row for row in rows if not row.active])


state.through_router()
with friendly():
    found = runs.list_runs()
    st.title("Is this training set poisoned?")
    st.markdown(BRIEFLY if found else ABOUT)
    run_list.show_refusal()
    if found:
        all_runs(found)
    else:
        first_steps()
