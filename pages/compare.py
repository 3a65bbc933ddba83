"""Compare: finished runs side by side, by attack and by detector, with downloads."""

import streamlit as st

from mspc_core import runs
from ui import compare_pair_views, compare_runs, compare_views, state
from ui.errors import friendly
from ui.text import plural

EMPTY = (
    "There is nothing to compare yet. Scan a data set, or open the demo, then scan it again with another model, seed "
    "or other detectors: every run with scores is listed here. Runs on lab data, whose truth was recorded when the "
    "backdoor was put in, also show how often each detector was right."
)


def empty() -> None:
    """How to get something to compare."""
    st.info(EMPTY, icon=":material/compare_arrows:")
    with st.container(horizontal=True):
        if st.button("New scan", type="primary", icon=":material/add:", key="new"):
            state.go("scan", new="1")
        if st.button("Go to Home", icon=":material/home:", key="home"):
            state.go("home")


state.through_router()
with friendly():
    st.title("Compare")
    found = runs.list_runs()
    rows, broken = compare_runs.gather(found)
    if broken:
        st.caption(f":material/broken_image: {plural(broken, 'run')} could not be read and is left out.")
    if not rows:
        empty()
        st.stop()
    folders = {run.id: run.folder for run in found}
    chosen = compare_runs.choose_runs(rows, state.selected_run())
    if not chosen:
        st.info("Choose at least one run.", icon=":material/checklist:")
        st.stop()
    figure = compare_runs.choose_figure(chosen)
    compare_views.show_table(chosen, figure)
    compare_views.downloads(chosen)
    compare_views.show_not_run(chosen)
    compare_views.show_grid(chosen, figure)
    compare_views.show_detector(chosen, folders)
    compare_pair_views.show_pair(chosen, folders)
