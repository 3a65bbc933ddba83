"""The report of a run in the app: prepare it, then download it as HTML or PDF."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import streamlit as st

from mspc_core import report
from mspc_core.errors import InputError
from mspc_core.report.pdf import find_chromium, html_to_pdf
from mspc_core.runs import Run
from ui import cache
from ui.errors import friendly, show_error


@dataclass(frozen=True)
class _Prepared:
    """A report as it was when it was asked for. stamps: of the run's files then. pdf: None until asked for."""

    run: str
    stamps: tuple[int, ...]
    made: datetime
    html: bytes
    pdf: bytes | None = None


_WATCHED = ("summary.json", "scores.parquet", "retrain.json")


def report_panel(run: Run) -> None:
    """Buttons that prepare the report of a run and hand it out. The page goes on without it if it cannot be made."""
    with friendly():
        st.caption(
            "One file with the verdict, evidence, review and settings, for people who do not have this app. "
            "It opens without a network."
        )
        prepared = _prepared(run)
        label = "Prepare the report again" if prepared else "Prepare the report"
        if st.button(label, icon=":material/description:", key=f"report-{run.id}"):
            prepared = _prepare(run)
        if prepared is not None:
            _downloads(run, prepared)


def _key(run: Run) -> str:
    return f"report-prepared-{run.id}"


def _prepared(run: Run) -> _Prepared | None:
    found = st.session_state.get(_key(run))
    return found if isinstance(found, _Prepared) and found.run == run.id else None


def _stamps(run: Run) -> tuple[int, ...]:
    return tuple(cache.stamp(run.folder / name) for name in _WATCHED)


def _prepare(run: Run) -> _Prepared | None:
    """Make the report; None (and a sentence on the page) where it cannot be made."""
    st.session_state.pop(_key(run), None)
    stamps, now = _stamps(run), datetime.now(UTC)
    try:
        with st.spinner("Writing the report …", show_time=False):
            made = report.render(run, now=now).encode("utf-8", "replace")
    except InputError as error:
        show_error(error)
        return None
    prepared = _Prepared(run.id, stamps, now, made)
    st.session_state[_key(run)] = prepared
    return prepared


def _downloads(run: Run, prepared: _Prepared) -> None:
    name = f"report-{run.id}"
    if prepared.stamps != _stamps(run):
        st.caption(":material/update: The run has new results since this report was written: prepare it again.")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download HTML",
            prepared.html,
            f"{name}.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
            key=f"report-html-{run.id}",
        )
        printable = prepared.pdf is None and find_chromium() is not None
        if printable and st.button("Make a PDF", icon=":material/print:", key=f"report-make-pdf-{run.id}"):
            prepared = _print(run, prepared)
        if prepared.pdf is not None:
            st.download_button(
                "Download PDF",
                prepared.pdf,
                f"{name}.pdf",
                "application/pdf",
                icon=":material/download:",
                on_click="ignore",
                key=f"report-pdf-{run.id}",
            )
        size = len(prepared.html) / 2**20
        st.caption(f"Written {prepared.made:%H:%M} UTC, {size:.1f} MB as HTML.", width="content")
    if prepared.pdf is None and find_chromium() is None:
        st.caption(
            ":material/info: For a PDF, install Chromium or Chrome on the machine that runs the app (or name it in "
            "`CHROME`), or open the HTML file in a browser and print it."
        )


def _print(run: Run, prepared: _Prepared) -> _Prepared:
    """The same report with its PDF; without it, and with a sentence, where the browser fails."""
    try:
        with st.spinner("Printing to PDF …", show_time=False):
            pdf = html_to_pdf(prepared.html.decode("utf-8"))
    except InputError as error:
        show_error(error)
        return prepared
    printed = _Prepared(prepared.run, prepared.stamps, prepared.made, prepared.html, pdf)
    st.session_state[_key(run)] = printed
    return printed
