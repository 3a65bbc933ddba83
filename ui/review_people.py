"""Who decided what: the history of the image in focus and of the run; how far each reviewer is, and how they agree."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from mspc_core.reviews import DecisionRecord, ReviewStore
from mspc_core.reviews.agreement import KINDS, Agreement
from mspc_core.reviews.evidence import read_evidence
from mspc_core.runs import Run
from mspc_core.words import utc
from ui import filters, review_queues
from ui.errors import friendly
from ui.review_desk import Desk
from ui.text import count, percent, plural, short

LATEST = 200
_NOBODY = "(no name)"


def history_table(entries: Sequence[DecisionRecord], paths: dict[str, str] | None = None) -> pd.DataFrame:
    """Entries of the history as a table. paths: sample_id → path, for histories of a whole run."""
    rows = []
    for entry in entries:
        scores, flagged = read_evidence(entry.evidence)
        words = entry.decision if entry.decision != "open" else "undecided"
        row = {
            "time (UTC)": utc(entry.time),
            "reviewer": name_of(entry.reviewer),
            "decision": f"↶ back to {words}" if entry.undoes is not None else words,
        }
        if paths is not None:
            row["image"] = short(paths.get(entry.sample_id, entry.sample_id), 80)
        shown = [f"{filters.title_of(name)} {value:.2f}" for name, value in scores.items() if value is not None]
        row["flagged then by"] = ", ".join(filters.title_of(name) for name in flagged) or ("none" if scores else "–")
        row["scores then"] = " · ".join(shown) or "–"
        row["detectors"] = entry.detectors or "–"
        rows.append(row)
    return pd.DataFrame(rows)


def history(desk: Desk) -> None:
    """The history behind a switch, so that it costs nothing while it is closed."""
    choice = st.segmented_control(
        "History",
        ["of this image", f"of the run (latest {LATEST})"],
        key=f"history-{desk.run.id}",
        help="Everything is kept: decisions that were replaced or taken back, too.",
    )
    if choice is None:
        return
    store = ReviewStore()
    if choice == "of this image" and desk.position is not None:
        entries = store.history(desk.run.id, str(desk.ids[desk.position]), latest=LATEST)
        table = history_table(entries)
    else:
        entries = store.history(desk.run.id, latest=LATEST)
        places = review_queues.positions_of(desk.run, list(dict.fromkeys(entry.sample_id for entry in entries)))
        rows = desk.scores.iloc[places]
        table = history_table(entries, dict(zip(rows["sample_id"], rows["path"].astype(str), strict=True)))
    if not entries:
        st.caption("Nobody has decided yet.")
        return
    st.dataframe(table, hide_index=True, width="stretch", height=min(360, 38 + 35 * len(table)))
    st.button("Undo my last action", key="history-undo", icon=":material/undo:", on_click=desk.undo)


def people(run: Run) -> None:
    """Progress of each reviewer and their agreement, behind a switch."""
    if not st.toggle("Reviewers: progress and agreement", key=f"people-{run.id}"):
        return
    st.fragment(_people)(run)


def _people(run: Run) -> None:
    with friendly():
        found = review_queues.agreement_of(run)
        if not found.counts:
            st.caption("Nobody has decided yet.")
            return
        left, right = st.columns(2, gap="large")
        with left:
            st.markdown("**By reviewer**, what each says now")
            st.dataframe(counts_table(found), hide_index=True, width="stretch")
        with right:
            st.markdown("**Agreement** on images that two or more decided")
            if found.pairs:
                st.dataframe(pairs_table(found), hide_index=True, width="stretch")
            else:
                st.caption("No image was decided by two reviewers yet.")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Refresh", icon=":material/refresh:", key="people-refresh", type="tertiary")
            if found.shared:
                words = (
                    f"{plural(found.shared, 'image')} decided by several, {count(len(found.conflicts))} differently."
                )
                st.markdown(words, width="content")
            if found.conflicts and st.button("Open the conflicts", icon=":material/group:", key="open-conflicts"):
                st.session_state[review_queues.OPEN] = review_queues.CONFLICTS
                st.rerun(scope="app")


def counts_table(found: Agreement) -> pd.DataFrame:
    """A row for each reviewer, those who decided most first."""
    names = sorted(found.counts, key=lambda name: (-found.counts[name].total(), name))
    rows = [
        {"reviewer": name_of(name), "images": found.counts[name].total(), **{k: found.counts[name][k] for k in KINDS}}
        for name in names
    ]
    return pd.DataFrame(rows)


def pairs_table(found: Agreement) -> pd.DataFrame:
    """A row for each pair of reviewers that share images."""
    return pd.DataFrame(
        {
            "reviewers": f"{name_of(pair.first)} and {name_of(pair.second)}",
            "shared": pair.shared,
            "agree": percent(pair.raw),
            "Cohen's κ": "–" if pair.kappa is None else f"{pair.kappa:.2f}",
        }
        for pair in found.pairs
    )


def name_of(reviewer: str) -> str:
    """A reviewer's name on one line, for tables."""
    return short(reviewer, 40) if reviewer.strip() else _NOBODY
