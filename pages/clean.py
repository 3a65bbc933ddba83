"""Clean & retrain: what would be removed, what training without it did, and the way out with a clean set."""

import streamlit as st

from mspc_core import jobs
from mspc_core.errors import InputError
from mspc_core.retrain import config, plan
from mspc_core.retrain.config import Retraining
from mspc_core.runs import Run
from ui import clean_form, clean_labels, clean_views, evidence, state
from ui.errors import friendly, show_error
from ui.export_views import export_panel
from ui.report_views import report_panel
from ui.text import plain


def not_ready(run: Run) -> None:
    """Why a run without its verdict cannot be cleaned yet, and the next step."""
    status = run.status()
    if status.active:
        st.info(
            "The scan is at work. When its verdict stands, you can remove the suspects here.",
            icon=":material/schedule:",
        )
    elif status.state == "failed":
        show_error(status.error or "The scan failed before its verdict.")
    else:
        st.info("This scan ended before its verdict. Resume it first.", icon=":material/pause_circle:")
    if st.button("Go to the scan", type="primary", icon=":material/radar:"):
        state.go("scan")


def choose(run: Run, found: list[Retraining]) -> None:
    """What to remove, and the start."""
    busy = any(retraining.status().active for retraining in found)
    st.header("What to remove")
    try:
        plan.check_finished(run)
    except InputError as error:
        st.warning(f"{plain(error, 300)} Earlier results are below.", icon=":material/folder_off:")
        return
    planned = clean_form.ask(run, busy)
    if planned is not None:
        started = config.create(run, planned.config, planned.choice)
        st.session_state[f"retraining-{run.id}"] = started.id
        jobs.start(started.folder)
        st.rerun()


def results(run: Run, found: list[Retraining]) -> Retraining | None:
    """The chosen retraining; returned if it has finished."""
    st.header("What it did")
    if not found:
        st.caption(
            "Nothing has been retrained yet. It takes about as long as training for the scan did. The old model and "
            "the data set stay as they are."
        )
        return None
    chosen = clean_views.choose_retraining(run, found)
    clean_views.show_retraining(chosen)
    return chosen if chosen.status().state == "finished" else None


def take_home(run: Run) -> None:
    """The clean set to keep, and the report to show."""
    st.header("Take the clean set with you")
    export_panel(run)
    st.header("Report")
    report_panel(run)


state.through_router()
with friendly():
    st.title("Clean & retrain")
    run = state.require_run(scores=False)
    if run.summary().get("complete"):
        evidence.verdict_line(run)
        found = config.list_retrainings(run)
        choose(run, found)
        finished = results(run, found)
        if finished is not None:
            clean_labels.show(run, finished)
        clean_views.show_chain(run, finished)
        with friendly():
            take_home(run)
    else:
        if run.status().active:
            evidence.watch(run)
        not_ready(run)
