"""One filter for every page of evidence: drawn as removable chips, kept in the session and in the address.

Scores, Mask, Inspect and Review show what passes it. It belongs to the selected run: another run starts without one.
A filter in the address wins (a link was opened), else the session's is used and written to the address, so that the
view can be bookmarked and sent at any time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from mspc_core import picks
from mspc_core.runs import Run
from ui import cache, evidence, filters, state
from ui.filter_query import DECISIONS, KEYS, MOST_TEXT, chips, from_query, to_query
from ui.filters import SampleFilter, View
from ui.text import count, plain, plural

_KEPT, _NARROW = "shared-filter", "filter-range-detector"


def current(run: Run) -> SampleFilter:
    """The filter that counts for this run. Says which parts of a link do not fit the run, once."""
    kept = st.session_state.get(_KEPT)
    mine = kept[1] if kept and kept[0] == run.id else None
    asked = {key: st.query_params[key] for key in KEYS if key in st.query_params}
    if not asked or (mine is not None and asked == to_query(mine)):
        wanted = mine or SampleFilter()
    else:
        names = filters.detector_names(cache.scores_of(run).columns)
        wanted, lost = from_query(asked, names, len(evidence.class_names(run)))
        if wanted.picked and picks.positions_of(run, wanted.picked, cache.scores_of(run)) is None:
            wanted = replace(wanted, picked="")
            lost.append("a pick that does not exist any more")
        if lost:
            st.warning(f"This run does not have {plain('; '.join(lost), 200)}, for which the link asks: left out.")
    _keep(run, wanted)
    return wanted


def change(run: Run, **parts: Any) -> None:
    """Set some fields of the filter, for instance `change(run, classes=(2,))`."""
    _keep(run, replace(current(run), **parts))


def set_range(run: Run, detector: str, chosen: tuple[float, float] | None) -> None:
    """Let only a range of a detector's scores pass; None: all of them again."""
    _keep(run, current(run).with_range(detector, chosen))


def pick(run: Run, positions: np.ndarray) -> None:
    """Let only these samples pass, and save them so that the link works for others."""
    _keep(run, replace(current(run), picked=picks.save(run, positions)))


def clear(run: Run) -> None:
    """Let everything pass."""
    _keep(run, SampleFilter())


def view(run: Run, *, ignoring: tuple[str, ...] = ()) -> View:
    """What the filter leaves of the run's table. ignoring: detectors whose own range is left aside, for figures that
    show it as a selection."""
    wanted = current(run)
    for detector in ignoring:
        wanted = wanted.with_range(detector, None)
    return view_of(run, wanted)


def view_of(run: Run, wanted: SampleFilter) -> View:
    """The same for any filter."""
    scores = cache.scores_of(run)
    if wanted == SampleFilter():
        return View(wanted, _all(len(scores)))
    decisions = cache.decisions_of(run) if wanted.decisions else {}
    seen = hash(frozenset(decisions.items()))
    token = f"{seen}?" + "&".join(f"{key}={value}" for key, value in to_query(wanted).items())
    stamp = cache.stamp(run.folder / "scores.parquet")
    return View(wanted, _positions(str(run.folder), stamp, token, wanted, decisions), token)


def positions(run: Run) -> np.ndarray:
    """Positions in the run's table that pass the filter, ascending."""
    return view(run).positions


def queue(run: Run, by: str, descending: bool = True) -> np.ndarray:
    """What passes, sorted by a column."""
    return evidence.queue_in(run, view(run), by, descending)


def bar(run: Run) -> View:
    """Draw the filter: its form behind a button, a chip for each part, how many images pass. Returns what passes."""
    wanted = current(run)
    shown, total = view_of(run, wanted), len(cache.scores_of(run))
    with st.container(horizontal=True, vertical_alignment="center", key="shared-filter-bar"):
        with st.popover("Filter", icon=":material/filter_alt:"):
            _form(run, wanted)
        found = chips(wanted, evidence.class_labels(run) if wanted.classes else [])
        for place, chip in enumerate(found):
            st.button(
                chip.label,
                icon=":material/close:",
                key=f"chip-{place}",
                on_click=_keep,
                args=(run, chip.without),
                help="Remove this part of the filter.",
            )
        if len(found) > 1:
            st.button("Clear all", type="tertiary", key="chip-all", on_click=clear, args=(run,))
        if shown.everything:
            st.caption(f"All {plural(total, 'image')}", width="content")
        else:
            st.caption(f"**{count(len(shown.positions))}** of {plural(total, 'image')}", width="content")
    return shown


def follow(run: Run, shown: View, selected: str | None) -> None:
    """For fragments: run the whole page again if they changed the filter or the selected sample since it was drawn,
    because every figure shows both."""
    if current(run) != shown.wanted or state.selected_sample(run) != selected:
        st.rerun(scope="app")


def nothing_left(run: Run, shown: View) -> bool:
    """Say so when nothing passes, with the way back. Returns whether that is so."""
    if len(shown.positions) or shown.everything:
        return False
    st.info("No image passes this filter.", icon=":material/filter_alt_off:")
    st.button("Clear the filter", key="clear-empty", on_click=clear, args=(run,))
    return True


def _form(run: Run, wanted: SampleFilter) -> None:
    """The controls. They are set from the filter before each drawing, because charts and chips change it too."""
    scores = cache.scores_of(run)
    names = filters.detector_names(scores.columns)
    labels = evidence.class_labels(run)
    present = [row.number for row in evidence.class_rows_of(run) if row.samples]
    kinds = {"all": "All", "suspects": "Suspects", "flagged": "Flagged by any"}
    values = {
        "show": "suspects" if wanted.suspects else "flagged" if wanted.flagged else "all",
        "classes": [number for number in wanted.classes if number in present],
        "by": list(wanted.flagged_by),
        "decisions": list(wanted.decisions),
        "disagree": wanted.disagreement,
        "text": wanted.text,
    }
    for name, value in values.items():
        st.session_state[f"filter-{name}"] = value

    def read() -> None:
        state = st.session_state
        change(
            run,
            suspects=state["filter-show"] == "suspects",
            flagged=state["filter-show"] == "flagged",
            classes=tuple(state["filter-classes"]),
            flagged_by=tuple(state["filter-by"]),
            decisions=tuple(state["filter-decisions"]),
            disagreement=bool(state["filter-disagree"]),
            text=str(state["filter-text"]).strip()[:MOST_TEXT],
        )

    shared: dict[str, Any] = {"on_change": read}
    st.segmented_control("Show", list(kinds), format_func=kinds.__getitem__, required=True, key="filter-show", **shared)
    st.multiselect(
        "Predicted class", present, format_func=lambda number: labels[number], key="filter-classes", **shared
    )
    st.multiselect("Flagged by", names, format_func=filters.title_of, key="filter-by", **shared)
    st.multiselect("Decision", list(DECISIONS), format_func=DECISIONS.__getitem__, key="filter-decisions", **shared)
    hint = "At least one flags the image, another does not."
    st.toggle("Detectors disagree", key="filter-disagree", help=hint, **shared)
    st.text_input("Path or sample id contains", key="filter-text", max_chars=MOST_TEXT, **shared)
    if names:
        _range_controls(run, names, wanted)


def _range_controls(run: Run, names: list[str], wanted: SampleFilter) -> None:
    """A range of one detector's scores."""
    if st.session_state.get(_NARROW) not in names:
        st.session_state[_NARROW] = wanted.ranges[0][0] if wanted.ranges else names[0]
    detector = st.selectbox("Score range of", names, format_func=filters.title_of, key=_NARROW)
    bins = evidence.bins_of(run, detector)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    chosen = wanted.range_of(detector) or (low, high)
    st.session_state["filter-range"] = (max(low, min(chosen[0], high)), min(high, max(chosen[1], low)))

    def read() -> None:
        ends = st.session_state["filter-range"]
        set_range(run, detector, None if ends == (low, high) else ends)

    st.slider(
        "Score range",
        low,
        high,
        step=(high - low) / 200,
        format="%.3g",
        key="filter-range",
        on_change=read,
        label_visibility="collapsed",
    )


def _keep(run: Run, wanted: SampleFilter) -> None:
    """Write the filter to the session and to the address: in one step, for each is one more for the back button."""
    st.session_state[_KEPT] = (run.id, wanted)
    before = st.query_params.to_dict()
    others = {key: value for key, value in before.items() if key not in KEYS}
    if (after := others | to_query(wanted)) != before:
        st.query_params.from_dict(after)


@st.cache_resource(max_entries=4, show_spinner=False)
def _all(samples: int) -> np.ndarray:
    found = np.arange(samples)
    found.setflags(write=False)
    return found


@st.cache_resource(max_entries=24, show_spinner=False)
def _positions(folder: str, stamp: int, token: str, _wanted: SampleFilter, _decisions: dict[str, str]) -> np.ndarray:
    run = Run(Path(folder))
    scores = cache.scores_of(run)
    picked = picks.positions_of(run, _wanted.picked, scores) if _wanted.picked else None
    found = filters.positions(scores, _wanted, _decisions, picked)
    found.setflags(write=False)
    return found
