"""The lab's background jobs on the page: starting them, watching them, and what came out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from mspc_core import home, jobs, poison_job
from mspc_core.errors import InputError
from mspc_core.poisoning import PoisonConfig
from ui import state
from ui.job_panel import job_panel
from ui.text import count, plain, plural

_JOB = "lab-job"
_RECENT = 20


def start(config: PoisonConfig) -> None:
    """Queue making the data set and show the job. Raises `InputError`."""
    st.session_state[_JOB] = poison_job.submit(config).name
    st.rerun(scope="app")


def start_learning(config: PoisonConfig) -> None:
    """Queue learning the trigger alone, for the preview. Raises `InputError`."""
    st.session_state[_JOB] = poison_job.submit(replace(config, kind="trigger", out="", scan=False)).name
    st.rerun(scope="app")


def start_demo_images() -> None:
    """Queue rendering the demo's clean images."""
    st.session_state[_JOB] = poison_job.submit_demo_images().name
    st.rerun(scope="app")


def current(wanted: str | None) -> Path | None:
    """The job to show: the one started in this session, else the newest at work."""
    folders = jobs.folders_in(home.lab_folder())
    for folder in folders:
        if folder.name == wanted:
            return folder
    for folder in folders[:_RECENT]:
        try:
            if jobs.read_status(folder).active:
                return folder
        except InputError:
            continue
    return None


def at_work() -> bool:
    """Is a job of the lab running?"""
    folder = current(st.session_state.get(_JOB))
    try:
        return folder is not None and jobs.read_status(folder).active
    except InputError:
        return False


def show() -> None:
    """The job at work, or the one that ended in this session and what it made."""
    folder = current(st.session_state.get(_JOB))
    if folder is None:
        return
    status, config = jobs.read_status(folder), jobs.read_config(folder)
    st.session_state[_JOB] = folder.name
    if status.state != "finished":
        job_panel(folder, title_of(config))
        return
    _finished(folder, str(config.get("kind")))


def note() -> str:
    """For the place of the button, which may be far below the job."""
    if at_work():
        return "A job of the lab is at work: see the top of this page."
    folder = current(st.session_state.get(_JOB))
    name = poison_job.result_of(folder).get("name") if folder is not None else None
    return f":green[:material/check_circle:] {plain(name)} is stored: see the top of this page." if name else ""


def title_of(config: dict[str, object]) -> str:
    """What the job does, as plain text."""
    if config.get("kind") == "signs":
        return "Rendering the demo's clean images"
    if config.get("kind") == "trigger":
        return f"Learning the trigger of {config.get('attack')} from {config.get('dataset')}"
    return f"Making {config.get('out')}: {config.get('attack')} in {config.get('dataset')}"


def _finished(folder: Path, kind: str) -> None:
    result = poison_job.result_of(folder)
    if kind == "trigger":
        st.success("The trigger is learned; the preview shows it.", icon=":material/check_circle:")
    elif kind == "signs":
        st.success(
            f"The demo's {plural(result.get('count', 0), 'clean image')} are stored.", icon=":material/check_circle:"
        )
    else:
        _made(result)


def _made(result: dict[str, Any]) -> None:
    name, run = str(result.get("name", "")), result.get("run")
    with st.container(border=True):
        covers = f" and {count(result['covers'])} covers" if result.get("covers") else ""
        st.markdown(
            f":green[:material/check_circle:] **{plain(name, 80)}** is stored: {count(result.get('poisoned', 0))} "
            f"poisoned images{covers} among {count(result.get('count', 0))}, with the truth beside them. "
            + ("Its scan has been started." if run else "")
        )
        with st.container(horizontal=True):
            if run and st.button("Watch the scan", type="primary", icon=":material/radar:", key="lab-watch"):
                state.go("scan", run=str(run))
            if not run and st.button("Scan it", type="primary", icon=":material/radar:", key="lab-scan-now"):
                state.go("scan", new="1", dataset=name)
            if st.button("Look at it", icon=":material/photo_library:", key="lab-look"):
                state.go("data", dataset=name)
            if st.button("Close", type="tertiary", icon=":material/close:", key="lab-close"):
                st.session_state.pop(_JOB, None)
                st.rerun()


def demo_is_missing(found: list[str]) -> bool:
    """Are the demo's clean images not stored yet?"""
    from mspc_core.demo import CLEAN_NAME

    return CLEAN_NAME not in found
