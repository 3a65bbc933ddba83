"""The upper half of Clean & retrain: what would be removed, what that means for each class, and the start button."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.retrain import confirmed, plan
from mspc_core.retrain.config import RetrainConfig
from mspc_core.retrain.plan import Plan
from mspc_core.runs import Run
from ui import cache, filters
from ui.text import count, percent, plain, plural, short

RULES = {
    "flagged": "Suspects",
    "reviewed": "Suspects as reviewed",
    "rejected": "Rejected in review",
    "detector": "One detector",
    "file": "A saved list",
}
HINTS = {
    "flagged": "What the verdict of the scan suspects.",
    "reviewed": "The suspects, corrected in Review: what was marked keep stays, what was marked remove goes as well.",
    "rejected": "Only what was marked remove in Review.",
    "detector": "What one detector flags by its own threshold, whatever the verdict says.",
    "file": "A file on the machine that runs this app, with one sample id a line.",
}
_SEEDS = (1, 3, 5)
_SHOWN_CLASSES = 12


def ask(run: Run, busy: bool) -> Plan | None:
    """Draw the form; a plan once Start is pressed. busy: another retraining of this run is at work."""
    rule = choose_rule(run)
    if not rule:
        return None
    try:
        planned = plan.make_plan(run, RetrainConfig(drop=rule))
    except InputError as error:
        st.info(plain(error, 300), icon=":material/info:")
        return None
    show_plan(run, planned)
    config = ask_options(run, planned)
    sure = True
    if planned.vanished:
        sure = st.checkbox("Train without these classes all the same", key=f"vanished-{run.id}")
    hint = "Wait for the retraining below, or cancel it." if busy else None
    pressed = st.button(
        f"Retrain without {plural(int(planned.dropped.sum()), 'image')}",
        type="primary",
        icon=":material/model_training:",
        disabled=busy or not sure,
        help=hint,
        key="start-retrain",
    )
    return plan.make_plan(run, config) if pressed else None


def choose_rule(run: Run) -> str:
    """Which samples are dropped, as `mspc_core.selection` names it; "" while a path is missing."""
    decided = bool(cache.decisions_of(run))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Remove",
            list(RULES),
            default="reviewed" if decided else "flagged",
            required=True,
            format_func=RULES.__getitem__,
            key=f"rule-{run.id}",
        )
        if kind == "detector":
            names = filters.detector_names(cache.scores_of(run).columns)
            name = st.selectbox("Detector", names, format_func=filters.title_of, key=f"drop-{run.id}", width=240)
            rule = f"detector:{name}" if name else ""
        elif kind == "file":
            path = st.text_input("Path of the list", placeholder="/data/remove.txt", key=f"list-{run.id}").strip()
            rule = f"file:{path}" if path else ""
        else:
            rule = str(kind or "")
    st.caption(HINTS.get(str(kind), ""))
    return rule


def show_plan(run: Run, planned: Plan) -> None:
    """Counts, classes and warnings of what would be removed; with known truth also what it misses."""
    gone, total = int(planned.dropped.sum()), len(planned.dropped)
    truth = filters.known_truth(cache.scores_of(run))
    columns = st.columns(4)
    columns[0].metric("Remove", count(gone), help="The stored data set is not changed: they are left out of training.")
    columns[1].metric("Keep", f"{count(total - gone)} ({percent((total - gone) / max(1, total))})")
    if truth is not None:
        help_text = "Lab data: the truth is recorded. It plays no part in what is removed."
        columns[2].metric("Missed poison", count(int((truth & ~planned.dropped).sum())), help=help_text)
        columns[3].metric("Lost clean images", count(int((~truth & planned.dropped).sum())), help=help_text)
    for warning in planned.warnings:
        st.warning(plain(warning, 400), icon=":material/warning:")
    table = pd.DataFrame(
        [
            {
                "class": short(row.name, 60),
                "images": row.images,
                "remove": row.dropped,
                "keep": row.kept,
                "share removed": row.dropped / max(1, row.images),
            }
            for row in sorted(planned.classes, key=lambda row: -row.dropped)
        ]
    )
    hit = int((table["remove"] > 0).sum())
    with st.expander(f"By class: {hit} of {len(table)} affected", icon=":material/table:", expanded=hit > 0):
        config: dict[str, Any] = {
            "share removed": st.column_config.ProgressColumn(min_value=0, max_value=1, format="percent")
        }
        height = 38 + 35 * min(_SHOWN_CLASSES, max(1, len(table)))
        st.dataframe(table, hide_index=True, width="stretch", column_config=config, height=height)


def ask_options(run: Run, planned: Plan) -> RetrainConfig:
    """Seeds, reference lines, relabelling."""
    scanned = run.config()
    lab = filters.known_truth(cache.scores_of(run)) is not None
    left, middle, right = st.columns([0.9, 2, 2], vertical_alignment="bottom")
    number = left.segmented_control(
        "Trainings",
        _SEEDS,
        default=1,
        required=True,
        key=f"seeds-{run.id}",
        help="With different random starts. Several show how much of a difference is chance.",
    )
    what = "everything and on the truly clean part" if lab else "everything"
    references = middle.checkbox(
        f"Also train on {what}",
        key=f"references-{run.id}",
        help="Reference lines: how good the model could be, and what the same recipe gives without cleaning.",
    )
    relabel = ""
    ready = int(sum(key in planned.choice.dropped for key in confirmed.read(run)))
    if ready and right.checkbox(
        f"Keep {plural(ready, 'image')} under the label you confirmed",
        key=f"relabel-{run.id}",
        help="Instead of removing them. For poison whose label was changed; clean-label poison must be removed.",
    ):
        relabel = "confirmed"
    seeds = tuple(scanned.seed + step for step in range(int(number or 1)))
    return RetrainConfig(
        drop=planned.config.drop, seeds=seeds, relabel=relabel, references=bool(references), device=scanned.device
    )
