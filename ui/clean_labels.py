"""Suggested labels on Clean & retrain: a table to go through, and nothing changes until somebody confirms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.retrain import confirmed
from mspc_core.retrain.config import Retraining
from mspc_core.runs import Run
from ui import cache, evidence, images
from ui.text import count, percent, plural, short

PAGE = 25
_SURE = 0.9


def show(run: Run, retraining: Retraining) -> None:
    """Suggestions of a finished retraining; ticked ones are confirmed when they are saved."""
    table = retraining.suggestions()
    if not len(table):
        return
    done = confirmed.read(run)
    st.header("Keep them under another label?")
    st.caption(_about(table, retraining.result().get("suggestions") or {}))
    differing = table[table["suggested_label"] != table["label"]]
    with st.container(horizontal=True, vertical_alignment="center"):
        everything = st.toggle(
            "Also those that would keep their label",
            key=f"same-{retraining.id}",
            help="The model gives them the label they have: falsely suspected, or poisoned without a change of label.",
        )
        sure = differing[(differing["confidence"] >= _SURE) & ~differing["sample_id"].isin(done)]
        _confirm_many(run, sure)
        if done:
            st.caption(f"{count(len(done))} confirmed so far.", width="content")
    shown = (table if everything else differing).sort_values("confidence", ascending=False, kind="stable")
    if not len(shown):
        st.caption("No suggestion differs from the label.")
        return
    pages = -(-len(shown) // PAGE)
    page = 1
    if pages > 1:
        page = int(st.pagination(pages, key=f"labels-page-{retraining.id}-{everything}"))
    _page(run, retraining, shown.iloc[(page - 1) * PAGE : page * PAGE], done)


def _about(table: pd.DataFrame, found: dict[str, Any]) -> str:
    text = (
        "For each removed image, the class that the new model gives it; where the scan found a trigger region, with "
        "that region covered. A suggestion changes nothing until you confirm it, and then only a retraining that keeps "
        "confirmed images uses it. Do not relabel poison whose label is right: its trigger would stay."
    )
    if found.get("equal_original") is not None:
        right = found["equal_original"] / max(1, found["count"])
        text += f" Lab data: {percent(right)} of the suggestions name the original class."
    return text


def _confirm_many(run: Run, sure: pd.DataFrame) -> None:
    with st.popover("Confirm many", icon=":material/done_all:", disabled=not len(sure)):
        looked = st.checkbox("Yes, I have looked at them", key=f"labels-sure-{run.id}")
        st.button(
            f"Confirm {plural(len(sure), 'suggestion')} of at least {percent(_SURE, 0)} confidence",
            disabled=not looked,
            key=f"labels-many-{run.id}",
            on_click=confirmed.confirm,
            args=(run, _as_dict(sure)),
        )


def _page(run: Run, retraining: Retraining, rows: pd.DataFrame, done: dict[str, int]) -> None:
    """One page as an editable table."""
    names = evidence.class_labels(run)
    scores = cache.scores_of(run).set_index("sample_id").loc[rows["sample_id"]]
    pictures = evidence.pictures_of(run, scores["row"].to_numpy())
    labels = [
        done.get(str(key), int(label)) for key, label in rows[["sample_id", "suggested_label"]].itertuples(index=False)
    ]
    shown = pd.DataFrame(
        {
            "confirm": rows["sample_id"].isin(done).to_numpy(),
            "image": _urls(pictures, len(rows)),
            "label": [names[int(label)] for label in rows["label"]],
            "new label": [names[label] for label in labels],
            "confidence": rows["confidence"].to_numpy(),
            "found by": rows["how"].to_numpy(),
            "file": [short(path, 80) for path in scores["path"]],
        }
    )
    column = st.column_config
    config: dict[str, Any] = {
        "confirm": column.CheckboxColumn(help="Ticked ones are confirmed when you save."),
        "image": column.ImageColumn(width="small"),
        "new label": column.SelectboxColumn(options=names, required=True, help="Change it if you know better."),
        "confidence": column.ProgressColumn(min_value=0, max_value=1, format="percent"),
    }
    key = f"labels-{retraining.id}-{rows['sample_id'].iloc[0]}-{len(rows)}-{len(done)}"
    locked = ["image", "label", "confidence", "found by", "file"]
    edited = st.data_editor(
        shown, hide_index=True, width="stretch", column_config=config, disabled=locked, key=key, row_height=44
    )
    if st.button("Save this page", icon=":material/save:", key=f"save-{key}"):
        save(run, rows["sample_id"].astype(str).tolist(), edited, names)
        st.rerun()


def save(run: Run, ids: list[str], edited: pd.DataFrame, names: list[str]) -> None:
    """Confirm what is ticked and withdraw what is not, of one page."""
    ticked = edited["confirm"].to_numpy(dtype=bool)
    chosen = edited["new label"].tolist()
    confirmed.confirm(run, {ids[place]: names.index(chosen[place]) for place in np.flatnonzero(ticked)})
    confirmed.withdraw(run, [ids[place] for place in np.flatnonzero(~ticked)])


def _as_dict(rows: pd.DataFrame) -> dict[str, int]:
    return {str(key): int(label) for key, label in rows[["sample_id", "suggested_label"]].itertuples(index=False)}


def _urls(pictures: np.ndarray | None, count_: int) -> list[str | None]:
    if pictures is None:
        return [None] * count_
    return [images.data_url(images.enlarge(picture, 64)) for picture in images.thumbnails(pictures, 64)]
