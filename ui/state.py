"""What the user has selected: the run and the sample, kept in the URL (survives a reload) and in the session.

The URL wins over the session, the session over the newest run. Values from the URL are compared with what exists and
never used otherwise.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st

from mspc_core import runs
from mspc_core.errors import InputError
from mspc_core.jobs import JobStatus
from mspc_core.runs import Run
from mspc_core.verdict_words import level_of
from ui import cache
from ui.errors import friendly, show_error
from ui.filter_query import KEYS
from ui.text import plain, short, when
from ui.theme import LEVELS

PAGES = tuple(sorted(path.stem for path in (Path(__file__).parents[1] / "pages").glob("[a-z]*.py")))
_RUN, _SAMPLE, _PICKER = "selected_run", "selected_sample", "run_picker"
_ROUTED, _DEEP_LINK = "routed", "deep_link"


def run_picker() -> None:
    """The sidebar's choice of run. Called by the router before the page, so that pages find the selection made."""
    st.session_state[_ROUTED] = True
    with friendly():
        found = {run.id: run for run in runs.list_runs()}
        chosen = _resolve(found)
        if chosen is None:
            return
        st.session_state[_PICKER] = chosen
        labels = distinct_labels(found)
        st.sidebar.selectbox(
            "Run",
            list(found),
            key=_PICKER,
            format_func=lambda key: labels.get(key, short(key)),
            on_change=_picked,
            help="Scores, Mask, Inspect and Review show this run.",
        )
        st.sidebar.markdown(_outcome(found[chosen]))


def follow_link() -> None:
    """Go to the page whose link was opened, where `through_router` had to leave it. Called by the router, also while
    somebody still has to log in: what is typed on one page is lost on the way to another."""
    if page := st.session_state.pop(_DEEP_LINK, None):
        st.switch_page(f"pages/{page}.py", query_params=st.query_params.to_dict())


def through_router() -> None:
    """Go back to the router if it was passed by. Pages that show anything before `selected_run` call this first.

    Streamlit takes a folder named pages for its older kind of app until `st.navigation` was called once. So when a
    fresh server is first opened at a link to a page, it runs that page alone, without navigation and run picker.
    """
    if _ROUTED in st.session_state:
        return
    st.session_state[_DEEP_LINK] = _page_of(st.context.url)
    st.switch_page("app.py", query_params=st.query_params.to_dict())


def _page_of(url: str | None) -> str:
    """The page that a URL names, home for anything unknown."""
    try:
        name = urlsplit(url or "").path.rpartition("/")[2]
    except ValueError:  # a bracket where only an address of IPv6 may have one
        return "home"
    return name if name in PAGES else "home"


def selected_run() -> Run | None:
    """The run that pages show, or None when there is no run at all."""
    through_router()
    found = {run.id: run for run in runs.list_runs()}
    chosen = _resolve(found)
    return found[chosen] if chosen else None


def selected_id() -> str | None:
    """Id of the run that is selected in the sidebar, for pages that may show another one; None when there is none."""
    found: str | None = st.session_state.get(_RUN)
    return found


def select_run(run_id: str | None) -> None:
    """Select a run (None: forget the selection). A sample of another run is dropped, and so is the filter."""
    before = st.session_state.get(_RUN)
    if run_id != before:
        st.session_state.pop(_SAMPLE, None)
        _set_query("sample", None)
        for key in KEYS if before else ():  # without one before, a link is being opened: its filter counts
            _set_query(key, None)
    st.session_state[_RUN] = run_id
    _set_query("run", run_id)


def forget_run(run_id: str) -> None:
    """Drop a run that is being deleted from the selection, so that nobody is warned that it is gone."""
    if st.session_state.get(_RUN) == run_id:
        select_run(None)


def require_run(*, scores: bool = True) -> Run:
    """The selected run; or show why the page has nothing to show, with the next step, and end the page."""
    run = selected_run()
    if run is None:
        st.info("There is no scan yet. Open the demo, or scan your own data.", icon=":material/radar:")
        if st.button("Go to Home", type="primary", icon=":material/home:"):
            go("home")
        st.stop()
    try:
        run.config()
        status = run.status()
    except InputError as error:
        show_error(error)
        st.stop()
    if scores and not run.has_scores():
        _explain_missing(run, status)
        st.stop()
    return run


def selected_sample(run: Run) -> str | None:
    """The sample selected in this run, or None if none is or if it is not one of the run's."""
    kept = st.session_state.get(_SAMPLE)
    wanted = st.query_params.get("sample") or (kept[1] if kept and kept[0] == run.id else None)
    if not wanted or not run.has_scores() or cache.position_of(run, wanted) is None:
        return None
    if kept != (run.id, wanted) or st.query_params.get("sample") != wanted:
        select_sample(wanted)
    return wanted


def select_sample(sample_id: str | None) -> None:
    """Select a sample of the selected run; None selects none."""
    run_id = st.session_state.get(_RUN)
    st.session_state[_SAMPLE] = (run_id, sample_id) if sample_id else None
    _set_query("sample", sample_id)


def say_not_stored(name: str) -> None:
    """A link names a data set that is not there: whoever follows it must not take another one for it."""
    st.warning(f"The data set “{plain(name)}” is not stored here: choose another one.", icon=":material/link_off:")


def go(page: str, **query: str | None) -> None:
    """Switch to `pages/<page>.py`, keeping run and sample in the URL. `run=` and `sample=` select those first;
    other values travel in the URL; None drops one."""
    if "run" in query:
        select_run(query.pop("run"))
    if "sample" in query:
        select_sample(query.pop("sample"))
    kept = st.session_state.get(_SAMPLE)
    carried = {"run": st.session_state.get(_RUN), "sample": kept[1] if kept else None, **query}
    st.switch_page(f"pages/{page}.py", query_params={key: value for key, value in carried.items() if value})


def distinct_labels(found: dict[str, Run]) -> dict[str, str]:
    """A label for each run id; equal ones get the end of the id, because the browser tells options apart by label."""
    labels = {key: label_of(run) for key, run in found.items()}
    often = Counter(labels.values())
    return {key: f"{label} · {key[-4:]}" if often[label] > 1 else label for key, label in labels.items()}


def label_of(run: Run) -> str:
    """data set · time, and the state until it has finished: the sidebar has no room for more. Plain, not Markdown."""
    try:
        config, status = run.config(), run.status()
    except InputError:
        return f"{short(run.id, 30)} · not readable"
    name = config.dataset or config.source.rstrip("/").rpartition("/")[2]
    if config.parent:
        name = f"{short(name, 16)}, cleaned"
    time = when(status.created).removeprefix("today ")
    label = f"{short(name, 26)} · {time}"
    return label if status.state == "finished" else f"{label} · {state_words(status)}"


def state_words(status: JobStatus) -> str:
    """running, finished, …"""
    return LEVELS.get(status.state, LEVELS["unknown"])[0].lower()


def _resolve(found: dict[str, Run]) -> str | None:
    """The id to show; warns when the one asked for is gone. Writes the result to the session and the URL."""
    wanted = st.query_params.get("run") or st.session_state.get(_RUN)
    if wanted and wanted not in found:
        instead = " The newest one is shown instead." if found else ""
        st.warning(f"The run “{plain(wanted)}” is not here any more.{instead}", icon=":material/history_toggle_off:")
    chosen = wanted if wanted in found else next(iter(found), None)
    if st.session_state.get(_RUN) != chosen or st.query_params.get("run") != chosen:
        first = _RUN not in st.session_state
        sample = st.query_params.get("sample")
        select_run(chosen)
        if first and sample:
            st.session_state[_SAMPLE] = (chosen, sample)
            _set_query("sample", sample)
    return chosen


def _outcome(run: Run) -> str:
    """State or verdict of the picked run, as Markdown."""
    try:
        level = run.status().state
        if level == "finished":
            level = level_of(cache.summary_of(run))
    except InputError:
        level = "damaged"
    words, icon, colour = LEVELS.get(level, LEVELS["unknown"])
    return f":{colour}-badge[{icon} {words}]"


def _picked() -> None:
    select_run(st.session_state[_PICKER])
    for view in ("new", "dataset"):  # the Scan page's form: choosing a run means looking at it
        _set_query(view, None)


def _set_query(key: str, value: str | None) -> None:
    if value is None:
        if key in st.query_params:
            del st.query_params[key]
    elif st.query_params.get(key) != value:
        st.query_params[key] = value


def _explain_missing(run: Run, status: JobStatus) -> None:
    """Why there are no scores yet, and what to do."""
    if status.active:
        st.fragment(_wait_for_scores, run_every=2.0)(run)
    elif status.state == "failed":
        show_error(status.error or "The scan failed before its first detector had finished.")
    else:
        st.info(
            f"This scan was {state_words(status)} before its first detector had finished. "
            "Resume it to go on from its last finished stage.",
            icon=LEVELS.get(status.state, LEVELS["unknown"])[1],
        )
    if st.button("Go to the scan", type="primary", icon=":material/radar:"):
        go("scan")


def _wait_for_scores(run: Run) -> None:
    with friendly():
        status = run.status()
        if run.has_scores() or not status.active:
            st.rerun(scope="app")
        st.info(
            "The scan is at work: this page fills in when its first detector has finished.", icon=":material/schedule:"
        )
        st.progress(status.progress, text=plain(f"{status.stage or 'waiting'} · {status.message}", 120))
