"""Watching a background job: its stages, progress, log, and the buttons to stop it or go on with it."""

from __future__ import annotations

import time
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import streamlit as st

from mspc_core import access, jobs
from mspc_core.errors import InputError
from mspc_core.files import open_regular
from mspc_core.job_status import QUIET_SECONDS, silence
from mspc_core.jobs import JobStatus
from mspc_core.runs import Run
from ui import cache, state, verdicts
from ui.detector_facts import title_of
from ui.detector_panel import show_not_run
from ui.errors import friendly, show_error
from ui.text import count, duration, percent, plain
from ui.theme import LEVELS

STAGE_TITLES = {"data": "Data", "model": "Model", "summary": "Verdict", "import": "Images", "export": "Files"}
STAGE_TITLES |= {"trigger": "Trigger", "poison": "Poisoned images", "scan": "Scan", "signs": "Images"}
_MARKS = {"done": ":green[:material/check_circle:]", "current": ":blue[:material/pending:]"}
_MARKS |= {"pending": ":gray[:material/circle:]", "stopped": ":orange[:material/error:]"}
_STOPPED = {
    "cancelled": "Cancelled. What was finished is kept; Resume goes on from there.",
    "interrupted": "The process was killed before the work was done, perhaps because memory ran out or the machine was "
    "restarted. What was finished is kept; Resume goes on from there.",
}
_STARTS_OVER = {  # kinds of jobs that keep nothing half-done
    "export": "The export was stopped. Resume writes it again from the start.",
    "poison": "The work was stopped and nothing half-written is left. Resume starts it again; a trigger that was "
    "learned is kept.",
    "trigger": "The learning was stopped. Resume starts it again.",
    "signs": "The work was stopped and nothing half-written is left. Resume starts it again.",
}
_LOG_BYTES = 20_000


def stage_marks(status: JobStatus) -> list[tuple[str, str]]:
    """(stage, done | current | pending | stopped) in order."""
    names = list(status.stages)
    if status.state == "finished":
        return [(name, "done") for name in names]
    at = names.index(status.stage) if status.stage in names else -1
    here = "current" if status.active else "stopped"
    return [(name, "done" if i < at else here if i == at else "pending") for i, name in enumerate(names)]


def planned_stages(config: dict[str, Any]) -> list[str]:
    """The stages a job will have, before its worker has said so."""
    kind = str(config.get("kind"))
    if kind == "retrain":
        return ["Kept images", "Measure"]
    return ["data", "model", *config.get("detectors", ()), "summary"] if kind == "scan" else [kind]


def progress_line(status: JobStatus) -> str:
    """What stands at the progress bar: share done, time left, what is being done."""
    if status.state == "queued":
        return status.message or "Waiting to start."
    parts = [percent(status.progress, 0)]
    if status.state == "running":
        left = f"about {duration(status.eta)} left" if status.eta is not None else "estimating the time left"
        parts += [left, status.message.rstrip(".")]
    elif status.state == "finished" and status.started and status.ended:
        parts.append(f"took {duration(status.ended - status.started)}")
    return " · ".join(part for part in parts if part)


def heartbeat_line(status: JobStatus, now: float) -> str:
    """When the job last gave a sign of life, in words; nothing for jobs that have ended."""
    if not status.active or status.heartbeat is None:
        return ""
    silent = silence(status)  # not of the wall clock, which may be set meanwhile
    age = silent if isfinite(silent) else max(0.0, now - status.heartbeat)
    if age > QUIET_SECONDS:
        return (
            f"Not answering. No sign of life for {duration(age)}: the process may be stopped, or the machine too busy. "
            f"It goes on by itself when it can; if it never does, end process {status.pid or '?'} and resume."
        )
    return "Working; last sign of life just now." if age < 6 else f"Last sign of life {duration(age)} ago."


def log_tail(folder: Path) -> str:
    """The end of the job's log, whole lines."""
    try:
        with open_regular(folder / "log.txt") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(0, size - _LOG_BYTES))
            text = handle.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if size > _LOG_BYTES else text


def job_panel(folder: Path, title: str) -> None:
    """Draw a job and keep it up to date while it is at work. title: plain text."""
    status = jobs.read_status(folder)
    st.fragment(_panel, run_every=1.0 if status.active else None)(folder, title, status.state)


def _panel(folder: Path, title: str, drawn_as: str) -> None:
    """drawn_as: the state when the whole page was drawn; when it changes, so do the sidebar and the polling."""
    with friendly(), st.container(border=True):
        status = jobs.read_status(folder)
        if status.state != drawn_as:
            st.rerun(scope="app")
        if not status.stages:
            status = replace(status, stages=planned_stages(jobs.read_config(folder)))
        _heading(folder, title, status)
        st.progress(min(1.0, max(0.0, status.progress)), text=plain(progress_line(status), 160))
        _checklist(status)
        if status.state == "failed":
            show_error(status.error or "The job failed; its log says more.")
        elif status.state in ("cancelled", "interrupted"):
            if status.error:
                show_error(status.error)
            st.info(_STARTS_OVER.get(_kind(folder)) or _STOPPED[status.state], icon=LEVELS[status.state][1])
        if status.active:
            _while_running(Run(folder), status)
        with st.expander("Log", icon=":material/article:"):
            st.code(log_tail(folder) or "Nothing yet.", language=None, height=220, wrap_lines=True)


def _heading(folder: Path, title: str, status: JobStatus) -> None:
    left, right = st.columns([3, 1], vertical_alignment="center")
    words, icon, colour = LEVELS.get(status.state, LEVELS["unknown"])
    with left.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(title, 80)}**", width="content")
        st.badge(words, icon=icon, color=colour)  # type: ignore[arg-type]
    with right.container(horizontal=True, horizontal_alignment="right"):
        if status.active:
            stopping, mine = (folder / "cancel").exists(), access.may_change(folder)
            label, icon = "Stopping …" if stopping else "Cancel", ":material/stop_circle:"
            hint = None if mine else "Somebody else's: only they can cancel it."
            if st.button(label, icon=icon, disabled=stopping or not mine, key=f"job-cancel-{folder.name}", help=hint):
                jobs.cancel(folder)
                st.rerun(scope="app")
        elif status.state in ("failed", "cancelled", "interrupted"):
            label = "Try again" if status.state == "failed" else "Resume"
            hint = None if _kind(folder) in _STARTS_OVER else "Finished stages are kept."
            again = f"job-again-{folder.name}"  # a page may show two jobs
            if st.button(label, icon=":material/play_circle:", type="primary", help=hint, key=again):
                jobs.start(folder)
                st.rerun(scope="app")


def _kind(folder: Path) -> str:
    return str(jobs.read_config(folder).get("kind"))


def _checklist(status: JobStatus) -> None:
    marks = []  # one line that wraps: a scan may have twenty stages
    for name, mark in stage_marks(status):
        title = plain(STAGE_TITLES.get(name) or title_of(name), 30).replace(" ", "\u00a0")
        text = f"**{title}**" if mark == "current" else f":gray[{title}]" if mark == "pending" else title
        marks.append(f"{_MARKS[mark]}\u00a0{text}")
    st.markdown(" \u2002".join(marks))


def _while_running(run: Run, status: JobStatus) -> None:
    """A line that tells a working job from a stuck one, and the way to the first results."""
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.caption(heartbeat_line(status, time.time()) or "The worker process is starting.")
    if run.folder.parent.name != "runs":
        return
    ready = run.has_scores()
    help_text = None if ready else "Ready when the first detector has finished."
    with right.container(horizontal=True, horizontal_alignment="right"):
        if st.button("See the first histogram", icon=":material/bar_chart:", disabled=not ready, help=help_text):
            state.go("scores", run=run.id)


def verdict_box(run: Run) -> None:
    """The verdict of a finished run, the figures to judge it by, and where to go next."""
    summary = cache.summary_of(run)
    verdict = summary.get("verdict")
    if not verdict:
        raise InputError("The summary of this run cannot be read: run the scan again.")
    words, icon, colour = LEVELS.get(verdicts.level_of(summary), LEVELS["unknown"])
    with st.container(border=True):
        st.markdown(f"### :{colour}[{icon} {words}]")
        st.markdown(plain(verdicts.sentence(verdict, len(summary.get("dataset", {}).get("classes", ()))), 600))
        if verdicts.level_of(summary) == "poor_model":
            st.warning(verdicts.POOR_MODEL, icon=icon)
        _tests(run, summary)
        _figures(summary, verdict)
        _truth(summary, verdict)
        show_not_run(summary.get("not_run"))
        with st.container(horizontal=True):
            for page, label, symbol in _NEXT:
                kind: Any = "primary" if page == "scores" else "secondary"
                if st.button(label, icon=symbol, type=kind, key=f"verdict-{page}"):
                    state.go(page, run=run.id)
        for note in summary.get("model", {}).get("notes") or []:
            st.caption(plain(note, 400))


_NEXT = (
    ("scores", "Scores", ":material/bar_chart:"),
    ("mask", "Mask", ":material/filter_center_focus:"),
    ("review", "Review", ":material/fact_check:"),
    ("clean", "Clean & retrain", ":material/cleaning_services:"),
)


_STATES = {
    "case": ":orange[:material/flag:]",
    "quiet": ":green[:material/check:]",
    "missing": ":gray[:material/remove:]",
}


def _tests(run: Run, summary: dict[str, Any]) -> None:
    """What each test of the consensus says, one line each."""
    found = verdicts.lines(summary, run.config().detectors)
    st.markdown(
        "  \n".join(f"{_STATES[line.state]} **{title_of(line.test)}**: {plain(line.text, 400)}" for line in found)
    )


def _truth(summary: dict[str, Any], verdict: dict[str, Any]) -> None:
    """What lab data says about the verdict. A miss or a false alarm is said as plainly as the verdict itself."""
    known = summary.get("true_backdoors")
    if known is None:
        return
    fact = f"Lab data: {count(known)} of these images are in fact backdoored."
    if (known > 0) == (verdict.get("level") == "poisoned") or verdict.get("level") == "unknown":
        st.caption(f"{fact} The verdict was reached without knowing that.")
    else:
        st.warning(f"{fact} The verdict, reached without knowing that, is wrong here.", icon=":material/rule:")


def _figures(summary: dict[str, Any], verdict: dict[str, Any]) -> None:
    from ui.text import HELP

    model = summary.get("model", {})
    columns = st.columns(4)
    targets = verdict.get("target_classes") or []
    shown = plain(targets[0]["name"], 18) + (f" +{len(targets) - 1}" if len(targets) > 1 else "") if targets else "–"
    if verdicts.spread(verdict, len(summary.get("dataset", {}).get("classes", ()))):
        shown = "no single one"
    columns[0].metric("Suspects", count(verdict.get("flagged", 0)), help=HELP["suspect"])
    columns[1].metric("Target class", shown, help=HELP["target class"])
    held_out, trained = model.get("val_accuracy"), model.get("train_accuracy")
    if held_out is None and trained is not None:
        columns[2].metric("Training accuracy", percent(trained), help=HELP["training accuracy"])
    else:
        columns[2].metric("Test accuracy", percent(held_out), help=HELP["test accuracy"])
    columns[3].metric("Attack success rate", percent(model.get("attack_success_rate")), help=HELP["ASR"])
