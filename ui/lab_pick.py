"""Choosing images of a stored data set: by class and split, in order or shuffled, page by page."""

from __future__ import annotations

import numpy as np
import streamlit as st

from mspc_core.data import store
from mspc_core.data.store import Dataset
from ui import lab_data
from ui.text import count


def pick(dataset: Dataset, key: str, each: int, *, split: str = "") -> np.ndarray:
    """Rows of the page that is shown, int64, at most `each`. split: where to begin; "" for all."""
    info, name = dataset.info, f"{key}-{dataset.info.name}"
    splits = ["", *(part for part in store.SPLITS if info.split_counts.get(part))]
    st.session_state.setdefault(f"{name}-split", split if split in splits else "")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        labels = lab_data.class_options(info.classes)
        numbers = [-1, *range(len(labels))]
        label = st.selectbox(
            "Images of", numbers, key=f"{name}-class", width=164,
            format_func=lambda number: "All classes" if number < 0 else labels[number],
        )  # fmt: skip
        part = st.selectbox(
            "Split", splits, key=f"{name}-split", width=104, format_func=lambda word: word or "All splits"
        )
        shuffled = st.toggle("Shuffled", value=True, key=f"{name}-shuffled")
        seed = int(st.session_state.get(f"{name}-draw", 0)) if shuffled else None
        rows = lab_data.ordered_rows(dataset, label if label >= 0 else None, part or None, seed)
        page = int(st.session_state.get(f"{name}-page", 1))
        shown, page, pages = lab_data.page_of(rows, page, each)

        def turn(step: int) -> None:
            st.session_state[f"{name}-page"] = (page - 1 + step) % pages + 1

        back, on = ":material/chevron_left:", ":material/chevron_right:"
        st.button("", icon=back, key=f"{name}-back", on_click=turn, args=(-1,), disabled=pages < 2, help="Back")
        st.button("", icon=on, key=f"{name}-on", on_click=turn, args=(1,), disabled=pages < 2, help="Next images")
        st.caption(f"{count(page)} / {count(pages)}", width="content")
    return shown
