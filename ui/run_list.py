"""The list of runs on Home. Rows are plain values, so that a damaged or vanished run is a row like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from mspc_core import access, home, runs, scan_checks
from mspc_core.errors import InputError, explain_os_error
from mspc_core.runs import DEMO, Run, ScanConfig
from mspc_core.verdict_words import level_of
from ui import cache, state
from ui.errors import friendly, show_error
from ui.job_panel import progress_line
from ui.text import count, percent, plain, when
from ui.theme import LEVELS

PER_PAGE = 10


@dataclass(frozen=True)
class RunRow:
    """What the list shows of one run. level: key of `theme.LEVELS`. detail: one sentence. All texts are untrusted."""

    id: str
    name: str
    about: str
    level: str
    detail: str
    target: str = "–"
    accuracy: float | None = None
    progress: float | None = None
    has_scores: bool = False

    @property
    def active(self) -> bool:
        return self.level in ("queued", "running")

    def run(self) -> Run:
        return Run(home.runs_folder() / self.id)


def row_of(run: Run) -> RunRow:
    """Never raises for a damaged or deleted run: that is a state to show."""
    try:
        config, status = run.config(), run.status()
    except InputError as error:
        return RunRow(run.id, "Damaged run", run.id, "damaged", str(error))
    name = config.dataset or config.source.rstrip("/").rpartition("/")[2]
    by = f"{whose} · " if (whose := access.owner(run.folder)) else ""
    about = f"{by}{when(status.created)} · {'own weights, ' if config.checkpoint else ''}{config.arch}"
    about += " · after cleaning" if config.parent else ""
    common: dict[str, Any] = {"id": run.id, "name": name, "about": about, "has_scores": run.has_scores()}
    if status.active:
        return RunRow(**common, level=status.state, detail=progress_line(status), progress=status.progress)
    if status.state == "failed":
        return RunRow(**common, level="failed", detail=status.error or "No reason was recorded; see the log.")
    if status.state != "finished":
        stopped = f"Stopped at {percent(status.progress, 0)}; can be resumed."
        return RunRow(**common, level=status.state, detail=f"{status.error} {stopped}" if status.error else stopped)
    return _finished(common, cache.summary_of(run))


def _finished(common: dict[str, Any], summary: dict[str, Any]) -> RunRow:
    verdict = summary.get("verdict")
    if not verdict:
        return RunRow(**common, level="damaged", detail="The summary is missing: run the scan again.")
    targets = [str(row.get("name", "?")) for row in verdict.get("target_classes") or []]
    scanned = count(verdict.get("scanned", 0))
    level = level_of(summary)
    detail = f"{count(verdict.get('flagged', 0))} of {scanned} images" if level == "poisoned" else f"{scanned} images"
    return RunRow(
        **common,
        level=level if level in LEVELS else "unknown",
        detail=detail,
        target=", ".join(targets[:2]) + (" …" if len(targets) > 2 else "") if targets else "–",
        accuracy=(summary.get("model") or {}).get("val_accuracy"),
    )


def open_demo() -> None:
    """Start a scan of the demo data in the background and watch it."""
    start_scan(ScanConfig(source=DEMO))


def start_scan(config: ScanConfig) -> None:
    """Create a run, start its worker, and go to the Scan page, which shows it. Raises `InputError`."""
    state.go("scan", run=begin_scan(config).id, dataset=None)


def begin_scan(config: ScanConfig) -> Run:
    """Create a run and start its worker. Raises `InputError`."""
    from mspc_core import jobs

    scan_checks.check(config)
    run = runs.create_run(config)
    jobs.start(run.folder)
    return run


def show_active(active: list[RunRow]) -> None:
    """Rows of runs at work, refreshed until one of them changes its state."""
    st.fragment(_active_rows, run_every=2.0)(active)


def _active_rows(drawn: list[RunRow]) -> None:
    with friendly():
        rows = [row_of(row.run()) for row in drawn]
        if [row.level for row in rows] != [row.level for row in drawn]:
            st.rerun(scope="app")
        for row in rows:
            with st.container(border=True):
                name, middle, buttons = st.columns([2.2, 5, 1.8], vertical_alignment="center")
                _name(name, row)
                middle.progress(row.progress or 0.0, text=plain(row.detail, 120))
                with buttons.container(horizontal=True, horizontal_alignment="right"):
                    if st.button("Watch", key=f"watch-{row.id}", icon=":material/visibility:"):
                        state.go("scan", run=row.id)


def show_ended(ended: list[RunRow]) -> None:
    """Rows of all other runs, a page at a time."""
    pages = max(1, -(-len(ended) // PER_PAGE))
    at = min(st.session_state.get("runs_page", 1), pages)
    for row in ended[(at - 1) * PER_PAGE : at * PER_PAGE]:
        with friendly():
            _ended_row(row)
    if pages > 1:
        st.pagination(pages, key="runs_page")


def _ended_row(row: RunRow) -> None:
    words, icon, colour = LEVELS[row.level]
    with st.container(border=True):
        name, verdict, target, accuracy, buttons = st.columns([2.2, 3.4, 1.6, 1.2, 1.8], vertical_alignment="center")
        _name(name, row)
        verdict.markdown(f":{colour}-badge[{icon} {words}]  \n:small[{plain(row.detail, 260)}]")
        target.markdown(f":small[:gray[Target class]]  \n{plain(row.target, 24)}")
        accuracy.markdown(f":small[:gray[Test accuracy]]  \n{percent(row.accuracy)}")
        with buttons.container(horizontal=True, horizontal_alignment="right", gap="small"):
            readable = row.level != "damaged"
            if st.button("Open", key=f"open-{row.id}", disabled=not readable, icon=":material/arrow_forward:"):
                state.go("scores" if row.has_scores else "scan", run=row.id)
            if st.button("", key=f"delete-{row.id}", icon=":material/delete:", type="tertiary", help="Delete this run"):
                _confirm_delete(row)


def _name(column: Any, row: RunRow) -> None:
    about = f"  \n:small[:gray[{plain(row.about, 60)}]]" if row.about else ""
    column.markdown(f"**{plain(row.name, 30)}**{about}")


@st.dialog("Delete this run?", icon=":material/delete:")
def _confirm_delete(row: RunRow) -> None:
    st.markdown(
        f"**{plain(row.name, 40)}** · {plain(row.about, 60)}\n\nIts scores, masks and model are removed from the disk. "
        "The data set and the review decisions stay."
    )
    confirm_buttons(_delete, row.run())


def confirm_buttons(delete: Callable[[Any], None], target: Any) -> None:
    """The end of a dialog that deletes something. A refusal is shown on the page below, once the dialog has closed."""

    def confirmed() -> None:
        try:
            delete(target)
        except InputError as error:
            st.session_state["refused"] = str(error)
        except OSError as error:
            st.session_state["refused"] = explain_os_error(error)

    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it", key="delete-no"):
            st.rerun()
        if st.button("Delete", key="delete-yes", type="primary", icon=":material/delete:", on_click=confirmed):
            st.rerun()


def show_refusal() -> None:
    """Why the last deletion did not happen, once."""
    if reason := st.session_state.pop("refused", None):
        show_error(reason)


def _delete(run: Run) -> None:
    runs.delete_run(run)
    state.forget_run(run.id)
