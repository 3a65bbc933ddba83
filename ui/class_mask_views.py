"""The Mask page's small multiples of the class masks, ranked by transplant rate; a click chooses one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, images, mask_choice, mask_views, state
from ui.gallery import Tile, gallery
from ui.text import HELP, percent
from ui.theme import FLAGGED

CLASSES_SHOWN = 30


def show(run: Run) -> int | None:
    """Draw them, the most telling first; returns the chosen class, or None while there is none."""
    st.header("One mask for each class", help=HELP["transplant rate"])
    masks = cache.masks_of(run).get("transplant")
    if masks is None:
        mask_views.explain_missing(run, "transplant", "The masks of the classes")
        return None
    st.caption(
        "For each class, a small region learned to carry the class along; honest classes mostly let go of everything. "
        "Ranked by transplant rate: how often the region, pasted on other images, turns them into this class. "
        "Click one to look at it below."
    )
    classes = evidence.class_names(run)
    rows = [row for row in evidence.class_rows_of(run) if row.samples and row.number < len(masks)]
    if not rows:
        return None
    pages = -(-len(rows) // CLASSES_SHOWN)
    page = st.pagination(pages, key=f"class-page-{run.id}") if pages > 1 else 1
    shown = rows[(page - 1) * CLASSES_SHOWN : page * CLASSES_SHOWN]
    key = mask_choice.class_key(run)
    chosen = int(st.session_state.get(key, rows[0].number))
    tops = masks[[row.number for row in shown]]
    pictures = np.stack([images.heat(mask, max(float(mask.max()), 1e-9)) for mask in tops])
    tiles = [
        Tile(
            str(row.number),
            evidence.name_of(classes, row.number),
            f"turns {percent(row.rate, 0)}" if masks[row.number].max() >= images.COLLAPSED else "no region",
            badge="target" if row.target else "",
            tone=FLAGGED if row.target else "",
        )
        for row in shown
    ]

    def choose(identity: str) -> None:
        mask_choice.show_class(run, int(identity))
        state.select_sample(None)  # the strongest image of the class is shown with its mask

    gallery(
        pictures, tiles, key=f"classes-{run.id}", label="Class masks", size=96, selected=str(chosen), on_click=choose
    )
    labels = evidence.class_labels(run)
    table = pd.DataFrame(
        {
            "class": [labels[row.number] for row in rows],
            "transplant rate": [row.rate for row in rows],
            "anomaly index": [row.index for row in rows],
            "mean weight": [float(masks[row.number].mean()) for row in rows],
        }
    ).round(3)
    evidence.table_under(table, key=f"class-masks-table-{run.id}")
    mask_views.notes(run, "transplant")
    return chosen
