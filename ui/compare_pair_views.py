"""The Compare page's last part: two runs of the same images, sample by sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, compare_data, compare_pair, compare_runs, evidence, filters, state
from ui.compare_data import RunFacts
from ui.compare_pair import GROUPS, Difference
from ui.errors import friendly
from ui.gallery import gallery
from ui.text import count, plain, plural, short
from ui.tiles import sample_tiles

STRIP, LISTED = 24, 2000  # images shown; rows of the table under them


def show_pair(rows: list[RunFacts], folders: dict[str, Path]) -> None:
    """Which samples one run flags and the other does not."""
    st.header("Two runs, image by image")
    firsts = [row for row in rows if compare_pair.comparable(rows, row)]
    if not firsts:
        st.caption(
            "This takes two runs of the same data set among those chosen above: scan it again, with another seed."
        )
        return
    st.fragment(_pair)(rows, firsts, folders)


def _pair(rows: list[RunFacts], firsts: list[RunFacts], folders: dict[str, Path]) -> None:
    with friendly():
        chosen = _choose(rows, firsts)
        if chosen is None:
            return
        first, second, detector = chosen
        keys = compare_runs.key_of(folders[first.id])[:2], compare_runs.key_of(folders[second.id])[:2]
        found = _difference(*keys[0], *keys[1], detector)
        if not found.shared:
            st.caption("These runs have no image in common.")
            return
        _counts(found)
        _samples(Run(folders[first.id]), Run(folders[second.id]), found, detector)


def _choose(rows: list[RunFacts], firsts: list[RunFacts]) -> tuple[RunFacts, RunFacts, str] | None:
    """The two runs, and whose flags are compared."""
    known = {row.id: row for row in rows}

    def label(key: str) -> str:
        return short(f"{known[key].label} · {known[key].arch} · seed {known[key].seed}", 70)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = known[st.selectbox("First run", [row.id for row in firsts], format_func=label, key="pair-first")]
        others = [row.id for row in compare_pair.comparable(rows, first)]
        second = known[st.selectbox("Second run", others, format_func=label, key=f"pair-second-{first.id}")]
        names = compare_pair.shared_detectors(first, second)
        if not names:
            st.caption("No detector has finished in both.")
            return None
        detector = st.selectbox(
            "Flagged by", names, format_func=compare_data.column_title, key=f"pair-{first.id}-{second.id}", width=200
        )
    return first, second, detector


def _counts(found: Difference) -> None:
    for column, (name, words) in zip(st.columns(4), GROUPS.items(), strict=True):
        column.metric(words, count(len(found.groups[name])))
        if found.backdoors is not None:
            column.caption(f"{count(found.backdoors[name])} of them backdoored")
    if any(found.alone):
        st.caption(
            f"Left out, because only one run scanned them: {plural(found.alone[0], 'image')} of the first and "
            f"{plural(found.alone[1], 'image')} of the second."
        )


def _samples(first: Run, second: Run, found: Difference, detector: str) -> None:
    """The images of one group, and all of them as a table."""
    offered = [name for name in ("first", "second", "both") if len(found.groups[name])]
    if not offered:
        st.caption("Neither run flags anything.")
        return
    group = st.segmented_control(
        "Show",
        offered,
        default=offered[0],
        required=True,
        format_func=lambda name: f"{GROUPS[name]} ({count(len(found.groups[name]))})",
        key=f"pair-group-{'-'.join(offered)}",
    )
    scores, other = cache.scores_of(first), cache.scores_of(second)
    by = "suspect" if detector == compare_data.VERDICT else detector
    chosen = filters.ordered(scores, found.groups[group], f"{by}_score")
    pictures = evidence.pictures_of(first, scores["row"].to_numpy()[chosen[:STRIP]])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of these runs was deleted.")
    else:
        tiles = sample_tiles(scores, chosen[:STRIP], evidence.class_names(first), by, mark_flags=False)
        clicked = gallery(pictures, tiles, key="pair-strip", label=f"Images flagged {GROUPS[group].lower()}", size=64)
        if clicked:
            state.go("inspect", run=(second if group == "second" else first).id, sample=clicked)
    _table(scores, other, found, group, detector, evidence.class_names(first))


def _table(
    scores: pd.DataFrame, other: pd.DataFrame, found: Difference, group: str, detector: str, classes: list[str]
) -> None:
    whole = len(found.groups[group])
    part = Difference({group: found.groups[group][:LISTED]}, found.partner, None, (0, 0))
    table = compare_pair.difference_table(scores, other, part, group, detector, classes)
    with st.container(horizontal=True, vertical_alignment="center"):
        evidence.table_under(table, key="pair-table")
        st.download_button(
            "This group (CSV)",
            data=lambda: filters.safe_csv(
                compare_pair.difference_table(scores, other, found, group, detector, classes)
            ),
            file_name=f"backdoor-lens-{group}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        more = f" The table lists the first {count(LISTED)}." if whole > LISTED else ""
        st.caption(f"Below each image: the class that the first run gives it, and its score there.{plain(more)}")


@st.cache_resource(max_entries=8, show_spinner=False)
def _difference(first: str, changed: int, second: str, second_changed: int, detector: str) -> Difference:
    found = compare_pair.difference(cache.scores_of(Run(Path(first))), cache.scores_of(Run(Path(second))), detector)
    for positions in (*found.groups.values(), found.partner):
        np.asarray(positions).setflags(write=False)
    return found
