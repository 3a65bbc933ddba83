"""Mask: what part of the image the detectors found decisive, and what happens when that part moves to other images."""

from dataclasses import replace

import numpy as np
import streamlit as st

from mspc_core.runs import Run
from ui import (
    attribution_views,
    class_mask_views,
    evidence,
    filters,
    image_choice,
    mask_choice,
    mask_views,
    overlay_views,
    pattern_views,
    shared_filter,
    state,
    transplant_views,
)
from ui.errors import friendly
from ui.filters import View


def images_of(run: Run, number: int | None, shown: View) -> np.ndarray:
    """The images to step through, strongest first: of the mask's class unless the filter names classes itself."""
    if number is None or shown.wanted.classes:
        return evidence.queue_in(run, shown, filters.default_sort(evidence.table_of(run, shown)))
    own = shared_filter.view_of(run, replace(shown.wanted, classes=(number,)))
    return evidence.queue_in(run, own, "transplant_score")


def under_the_mask(run: Run, number: int | None, shown: View) -> None:
    """One mask and one image, chosen once, for all that follows."""
    if not mask_choice.kinds(run):
        return
    st.header("Under the mask")
    mask = mask_choice.choose(run, number)
    if mask is None:
        return
    picked = image_choice.choose(run, images_of(run, mask.number, shown))
    overlay_views.show(run, mask, picked, shown)
    if picked is not None:
        transplant_views.show(run, mask, picked)
        attribution_views.show(run, mask, picked)


state.through_router()
with friendly():
    st.title("Mask")
    run = state.require_run()
    evidence.verdict_line(run)
    evidence.watch(run)
    shown = shared_filter.bar(run)
    mask_views.shared_rounds(run, shown)
    under_the_mask(run, class_mask_views.show(run), shown)
    pattern_views.show(run)
