"""Scan: start one, watch it, see its verdict."""

import streamlit as st

from mspc_core.runs import DEMO, Run
from ui import run_list, scan_form, state
from ui.detector_facts import title_of
from ui.errors import friendly
from ui.job_panel import job_panel, verdict_box
from ui.text import plain


def new_scan(run: Run | None) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    left.title("New scan")
    with right.container(horizontal=True, horizontal_alignment="right"):
        if run is not None and st.button("Back to the selected run", icon=":material/arrow_back:"):
            state.go("scan")
    with friendly():
        config = scan_form.ask(st.query_params.pop("dataset", None))
        if config is not None:
            run_list.start_scan(config)


def watch(run: Run) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    left.title("Scan")
    with right.container(horizontal=True, horizontal_alignment="right"):
        if st.button("New scan", icon=":material/add:", key="new"):
            state.go("scan", new="1")
    config, status = run.config(), run.status()
    if status.state == "finished":
        verdict_box(run)
    title = "Demo: traffic signs with a sticker" if config.source == DEMO else config.dataset or config.source
    job_panel(run.folder, title)
    model = "own weights, " if config.checkpoint else ""
    trusted = f" · trusted images: {config.trusted}" if config.trusted else ""
    cleaned = f" · what cleaning kept of run {config.parent}" if config.parent else ""
    preset = f" · MSPC {config.mspc_preset}" if "mspc" in config.detectors else ""
    st.caption(
        plain(
            f"{model}{config.arch} · detectors {', '.join(map(title_of, config.detectors))}{preset}{trusted} · "
            f"device {config.device} · seed {config.seed} · run {run.id}{cleaned}",
            500,
        )
    )


with friendly():
    selected = state.selected_run()
    if selected is None or "new" in st.query_params or "dataset" in st.query_params:
        new_scan(selected)
    else:
        watch(selected)
