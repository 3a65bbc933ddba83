"""The background job behind maps and neighbours: how far it is, why it stopped, and the button that starts it."""

from __future__ import annotations

import streamlit as st

from mspc_core import jobs, work
from mspc_core.errors import InputError
from mspc_core.jobs import JobStatus
from mspc_core.maps import job, store
from mspc_core.runs import Run
from ui import maps
from ui.errors import friendly, show_error
from ui.job_panel import progress_line
from ui.text import plain

NO_MODEL = "This run keeps no model, so what the model sees of its images cannot be computed."
_STAGES = {"features": "Reading what the model sees", "pca": "PCA", "umap": "UMAP"}


def status_of(run: Run) -> JobStatus | None:
    """The latest job's state; None if there was none or its folder is damaged (then it can be started again)."""
    try:
        return job.status_of(run)
    except InputError:
        return None


def watch(run: Run, key: str) -> None:
    """While the job is at work: one line of progress with a way to stop it, and a rerun when it ends; else how it
    ended, if that was early. Not for use inside of fragments."""
    status = status_of(run)
    if status is None:
        return
    if status.active:
        st.fragment(_progress, run_every=1.0)(run, key)
    elif status.state == "failed":
        show_error(status.error or "The map could not be made; log.txt in the run's folder map says more.")
    elif status.state in ("cancelled", "interrupted"):
        st.caption(f":material/cancel: The last job was {plain(status.state, 20)}; what it had finished is kept.")


def start(run: Run, label: str, key: str, *, umap: bool = False, hint: str | None = None) -> None:
    """The button that starts the job; not to be pressed while one is at work."""
    status = status_of(run)
    busy = status is not None and status.active
    if st.button(label, icon=":material/scatter_plot:", key=key, help=hint, disabled=busy):
        work.submit_map(run, umap=umap)
        st.rerun(scope="app")


def missing(run: Run, what: str, key: str) -> bool:
    """Where the run has no features or no map yet, say so with the next step. Returns whether that is so.

    what: what they would show, as the end of a sentence.
    """
    if maps.map_of(run, store.PCA) is not None and maps.features_of(run) is not None:
        return False
    if maps.key_of(run) is None:
        st.caption(NO_MODEL)
        return True
    watch(run, key)
    status = status_of(run)
    if status is None or not status.active:
        with st.container(horizontal=True, vertical_alignment="center"):
            start(run, "Compute it", f"{key}-start")
            st.caption(f"Once a run: one pass of all images through its model shows {what}.", width="content")
    return True


def _progress(run: Run, key: str) -> None:
    with friendly():
        status = status_of(run)
        if status is None or not status.active:
            st.rerun(scope="app")
        folder = store.folder_of(run)
        with st.container(horizontal=True, vertical_alignment="center"):
            stage = _STAGES.get(status.stage, "Starting")
            words = f"{stage} · {progress_line(status)}" if status.state == "running" else progress_line(status)
            st.progress(min(1.0, max(0.0, status.progress)), text=plain(words, 160), width=520)
            stopping = (folder / "cancel").exists()
            label = "Stopping …" if stopping else "Cancel"
            if st.button(label, icon=":material/stop_circle:", disabled=stopping, key=f"{key}-cancel"):
                jobs.cancel(folder)
                st.rerun(scope="app")
