"""The Mask page's part that lays a mask on images; what is under it is cut out below, by the same sliders."""

from __future__ import annotations

import numpy as np
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, filters, image_choice, images, mask_files, mask_views, trigger_views
from ui.errors import friendly
from ui.filters import View
from ui.gallery import gallery
from ui.image_choice import Picked
from ui.mask_choice import ChosenMask
from ui.text import HELP, plural, short
from ui.tiles import class_tiles

WALL, LARGE = 24, 320


@st.fragment
def show(run: Run, mask: ChosenMask, picked: Picked | None, shown: View) -> None:
    """Sliders, the image of the page and a wall of others under the mask, then the trigger cut out."""
    with friendly():
        kind, number, opacity, cut = _controls(run)
        left, right = st.columns([1, 1.3], gap="large")
        with left:
            if picked is not None:
                _large(mask, picked, opacity, cut)
            _downloads(run, mask, picked, opacity, cut)
        with right:
            _wall(run, mask, picked, mask_views.pick(cache.scores_of(run), kind, number, WALL, shown), opacity, cut)
        trigger_views.show(run, mask, shown, cut)


def _controls(run: Run) -> tuple[str, int | None, float, float]:
    first, second, third = st.columns([1.6, 1, 1], gap="medium", vertical_alignment="bottom")
    kinds = ["Suspects" if filters.suspects_of(cache.scores_of(run)).any() else "Flagged", "Random", "Class"]
    with first.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control("Show it on", kinds, default=kinds[0], required=True, key=f"mask-on-{run.id}")
        number = None
        if kind == "Class":
            present = [row.number for row in evidence.class_rows_of(run) if row.samples]
            labels = evidence.class_labels(run)
            number = st.selectbox(
                "Predicted class", present, format_func=lambda n: labels[n], key=f"mask-class-of-{run.id}"
            )
    opacity = second.slider("Opacity", 0.0, 1.0, 0.6, 0.05, key=f"opacity-{run.id}", help="0 shows the image alone.")
    cut = third.slider("Cut", 0.0, 0.95, 0.2, 0.05, key=f"cut-{run.id}", help=HELP["cut"])
    return str(kind), number, float(opacity), float(cut)


def _overlaid(pixels: np.ndarray, mask: np.ndarray, opacity: float, cut: float) -> np.ndarray:
    fitted = images.fit_mask(mask, pixels.shape[-3:-1])
    return images.overlay(pixels, fitted, opacity, cut)


def _large(mask: ChosenMask, picked: Picked, opacity: float, cut: float) -> None:
    """The image alone and under the mask."""
    name = short(picked.name, 60)
    pair = ((picked.pixels, "The image"), (_overlaid(picked.pixels, mask.weights, opacity, cut), "Under the mask"))
    for column, (pixels, caption) in zip(st.columns(2, gap="small"), pair, strict=True):
        column.image(images.enlarge(pixels, LARGE), caption=caption, width="stretch", alt=f"{caption}: {name}")
    region = images.region_of(mask.weights, cut)
    if not region.any():
        st.caption("The mask let go of every pixel: nothing is marked.")
    else:
        st.caption(f"Marked: {plural(int(region.sum()), 'pixel')}, {100 * float(region.mean()):.1f} % of the image.")


def _wall(run: Run, mask: ChosenMask, picked: Picked | None, chosen: np.ndarray, opacity: float, cut: float) -> None:
    """The mask on many images; a click makes one the image of the page."""
    scores, classes = cache.scores_of(run), evidence.class_names(run)
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[chosen])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    if not len(chosen):
        st.caption("No images there.")
        return
    drawn = _overlaid(images.thumbnails(pictures, 80), mask.weights, opacity, cut)
    rows = scores.iloc[chosen]
    tiles = class_tiles(rows, classes)
    clicked = gallery(
        drawn,
        tiles,
        key=f"overlaid-{run.id}",
        label="The mask on images",
        size=80,
        selected=picked.token if picked else None,
        on_click=lambda identity: image_choice.take_id(run, identity),
    )
    st.caption("Below each image: the class the model gives it. Click one to look at it in all sections below.")
    if clicked:
        st.rerun()


def _downloads(run: Run, mask: ChosenMask, picked: Picked | None, opacity: float, cut: float) -> None:
    with st.container(horizontal=True):
        if picked is not None:
            st.download_button(
                "Overlay (PNG)",
                data=lambda: mask_files.png(images.enlarge(_overlaid(picked.pixels, mask.weights, opacity, cut), 512)),
                file_name=mask_files.file_name(run.id, "overlay", mask.part, picked.token, suffix=".png"),
                mime="image/png",
                icon=":material/download:",
                key="download-overlay",
                on_click="ignore",
            )
        st.download_button(
            "All masks (NPZ)",
            data=lambda: mask_files.masks_npz(cache.masks_of(run), evidence.class_names(run)),
            file_name=mask_files.file_name(run.id, "masks", suffix=".npz"),
            mime="application/octet-stream",
            icon=":material/download:",
            key="download-masks",
            on_click="ignore",
            help="Arrays for NumPy: `np.load(file)`.",
        )
