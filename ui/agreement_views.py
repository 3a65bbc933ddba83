"""The Scores page's section on agreement: which detectors flag the same images, and those images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from mspc_core.runs import Run
from ui import agreement, cache, evidence, figures_matrix, filters, score_explore, shared_filter, state
from ui.agreement import Pattern, Votes
from ui.filters import Agreement, View
from ui.text import count, percent, plain, plural
from ui.theme import PLOTLY_CONFIG

_NOTHING = ""
ABOUT = (
    "Agreement tells where to look first, not what is true. Detectors that rest on the same idea (SPC and MSPC both "
    "scale the pixels) err together, so ten that agree may count as one; and an attack that only one of them can see "
    "shows up as a lone flag. A detector whose threshold is a quantile flags its share of *any* data."
)


def show(run: Run, finished: list[str], shown: View) -> None:
    """Heat map of pairs, votes, patterns, and the images behind a choice."""
    st.header("Where the detectors agree")
    if len(finished) < 2:
        st.caption("There is nothing to compare yet: this takes two finished detectors.")
        return
    st.fragment(_section)(run, finished, shown)


def _section(run: Run, finished: list[str], shown: View) -> None:
    st.caption(ABOUT)
    names = _choose_detectors(run, finished)
    if len(names) < 2:
        st.caption("Choose at least two detectors.")
        return
    part = shown.part
    stamp = cache.stamp(run.folder / "scores.parquet")
    voted, found = _counted(str(run.folder), stamp, tuple(names), shown.token, part)
    options = _options(tuple(names), voted, found)
    key = f"agree-{run.id}"
    if st.session_state.get(key) not in options:
        st.session_state[key] = _NOTHING
    left, right = st.columns([1, 1.15], gap="medium")
    with left:
        _votes(run, voted, options.get(st.session_state[key]), tuple(names))
    with right:
        _pairs(run, names, shown)
    _patterns(run, found, names)
    chosen = st.selectbox(
        "Show the images",
        list(options),
        format_func=lambda text: _label(options[text], voted, found),
        key=key,
        width=640,
        help="Or click a bar, or a row of the table of patterns.",
    )
    if wanted := options.get(chosen):
        _images(run, wanted, shown)


def _choose_detectors(run: Run, finished: list[str]) -> list[str]:
    """Which detectors are counted: all, unless some are taken out."""
    if len(finished) < 3:
        return finished
    key = f"agree-among-{run.id}"
    with st.popover("Detectors counted", icon=":material/checklist:"):
        chosen = st.pills(
            "Detectors counted",
            finished,
            selection_mode="multi",
            default=finished,
            format_func=lambda name: plain(filters.title_of(name), 30),
            key=key,
            help="Leave out relatives of others, or those whose threshold is a quantile, to count independent voices.",
        )
    return [name for name in finished if name in chosen]


def _options(names: tuple[str, ...], voted: Votes, found: list[Pattern]) -> dict[str, Agreement | None]:
    """What can be shown, by its text in the URL: votes from all to none, then the patterns."""
    wanted = [Agreement(names, votes=k) for k in range(len(names), -1, -1) if voted.samples[k]]
    wanted += [Agreement(names, pattern=row.detectors) for row in found]
    return {_NOTHING: None, **{agreement.as_text(item): item for item in wanted}}


def _label(wanted: Agreement | None, voted: Votes, found: list[Pattern]) -> str:
    if wanted is None:
        return "Choose by number of flags or by pattern …"
    if wanted.pattern is None:
        samples = int(voted.samples[wanted.votes or 0])
        return f"Flagged by exactly {wanted.votes} of {len(wanted.among)} detectors ({plural(samples, 'image')})"
    samples = next(row.samples for row in found if row.detectors == wanted.pattern)
    names = " + ".join(filters.title_of(name) for name in wanted.pattern)
    return f"Only {names} ({plural(samples, 'image')})"


def _votes(run: Run, voted: Votes, chosen: Agreement | None, names: tuple[str, ...]) -> None:
    """Bars by number of flags; a click on one chooses its images."""
    key = f"agree-votes-{run.id}"

    def clicked() -> None:
        k = agreement.clicked_votes(st.session_state[key], voted)
        if k is not None:
            st.session_state[f"agree-{run.id}"] = agreement.as_text(Agreement(names, votes=k))

    st.markdown("**Flagged by how many**")
    st.plotly_chart(
        figures_matrix.votes_figure(
            voted, chosen.votes if chosen else None, max(300, figures_matrix.heat_height(len(names)) - 40)
        ),
        key=key,
        on_select=clicked,
        selection_mode="points",
        config={"displayModeBar": False},
        alt="How many images are flagged by how many detectors; the numbers are in the table below.",
    )
    table = agreement.votes_table(voted)
    share = {"share of backdoors": st.column_config.NumberColumn(format="percent")}
    evidence.table_under(table, key=f"{key}-table", column_config=share)


def _pairs(run: Run, names: list[str], shown: View) -> None:
    """The heat map of pairs."""
    st.markdown("**Pairs of detectors**")
    measure: Any = st.segmented_control(
        "Measure",
        list(agreement.MEASURES),
        default="jaccard",
        required=True,
        format_func=agreement.MEASURES.__getitem__,
        key=f"agree-measure-{run.id}",
        label_visibility="collapsed",
    )
    part = shown.part
    stamp = cache.stamp(run.folder / "scores.parquet")
    both = _common(str(run.folder), stamp, tuple(names), shown.token, part)
    matrix = agreement.agreement_of(both, measure)
    titles = [filters.title_of(name) for name in names]
    places = range(len(names))
    hover = np.array([[_pair_words(both, a, b) for b in places] for a in places], dtype=object)
    figure = figures_matrix.heat_figure(matrix, titles, titles, hover=hover, what="agreement")
    st.plotly_chart(
        figure,
        key=f"agree-pairs-{run.id}",
        config=PLOTLY_CONFIG,
        alt="Agreement of each pair of detectors; the numbers are in the table below.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        evidence.table_under(agreement.pair_table(matrix, names), key=f"agree-pairs-{run.id}-table")
        says = {
            "jaccard": "Of the images that either flags, the percentage that both flag.",
            "also": "Of the images that the detector on the left flags, the percentage that the one below flags too.",
        }
        st.caption(says[measure], width="stretch")


def _pair_words(both: np.ndarray, row: int, column: int) -> str:
    return f"{count(both[row, column])} flagged by both, of {count(both[row, row])} and {count(both[column, column])}"


def _patterns(run: Run, found: list[Pattern], names: list[str]) -> None:
    """The commonest sets of detectors that flag together; a click on a row chooses its images."""
    if not found:
        st.caption("No image is flagged by any of these detectors.")
        return
    st.markdown("**Commonest patterns**")
    key = f"agree-patterns-{run.id}"

    def clicked() -> None:
        rows = (st.session_state[key].get("selection") or {}).get("rows") or []
        if rows and rows[0] < len(found):
            wanted = Agreement(tuple(names), pattern=found[rows[0]].detectors)
            st.session_state[f"agree-{run.id}"] = agreement.as_text(wanted)

    used = [name for name in names if any(name in row.detectors for row in found)]
    table = agreement.pattern_table(found, used)
    narrow = {filters.title_of(name): st.column_config.TextColumn(width=64, alignment="center") for name in used}
    exactly = st.column_config.TextColumn(width="large")
    most = int(table["images"].max())
    bar = st.column_config.ProgressColumn("images", format="%d", min_value=0, max_value=most, pinned=True)
    st.dataframe(
        table,
        key=key,
        on_select=clicked,
        selection_mode="single-row",
        hide_index=True,
        width="stretch",
        height=min(360, 38 + 35 * len(table)),
        column_config={"images": bar, "flagged by exactly": exactly, **narrow},
        alt="Sets of detectors that flag the same images, with the number of images.",
    )
    st.caption("● flags the images of this row; detectors without a mark do not. Choose a row to see its images.")


def _images(run: Run, wanted: Agreement, shown: View) -> None:
    """The images of the choice, the highest scores first, and the way to Review."""
    scores = cache.scores_of(run)
    by = filters.default_sort(scores)
    within = shared_filter.view_of(run, replace(shown.wanted, agreement=wanted))
    queue = evidence.queue_in(run, within, by)
    truth = filters.known_truth(scores)
    known = (
        f", {percent(float(truth[queue].mean()))} of them true backdoors" if truth is not None and len(queue) else ""
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        said = f"**{plural(len(queue), 'image')}** {plain(agreement.words_of(wanted), 300)}{known}"
        st.markdown(said, width="content")
        if len(queue) and st.button("Filter the page", icon=":material/filter_alt:", key=f"agree-filter-{run.id}"):
            shared_filter.change(run, agreement=wanted)
            st.rerun(scope="app")
        if len(queue) and st.button("Review these", icon=":material/fact_check:", key=f"agree-review-{run.id}"):
            shared_filter.change(run, agreement=wanted)
            st.session_state[f"queue-{run.id}"] = "all"
            state.go("review", sample=None)
    key, detector = f"agree-strip-{run.id}", by.removesuffix("_score")
    selected = state.selected_sample(run)
    score_explore.images_strip(run, queue, detector, key=key, truth=truth, selected=selected)


@st.cache_data(max_entries=24, show_spinner=False)
def _counted(
    folder: str, changed: int, names: tuple[str, ...], token: str, _positions: np.ndarray | None
) -> tuple[Votes, list[Pattern]]:
    scores = cache.scores_of(Run(Path(folder)))
    scores = scores if _positions is None else scores.iloc[_positions]
    flags, truth = agreement.flag_matrix(scores, list(names)), filters.known_truth(scores)
    return agreement.votes(flags, truth), agreement.patterns(flags, list(names), truth)


@st.cache_data(max_entries=24, show_spinner=False)
def _common(folder: str, changed: int, names: tuple[str, ...], token: str, _positions: np.ndarray | None) -> np.ndarray:
    scores = cache.scores_of(Run(Path(folder)))
    scores = scores if _positions is None else scores.iloc[_positions]
    return agreement.common(agreement.flag_matrix(scores, list(names)))
