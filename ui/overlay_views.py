"""The Mask page's part that lays a mask on images, and cuts out what is under it: one fragment, two sliders."""

from __future__ import annotations

import numpy as np
import streamlit as st

from mspc_core import trigger_crop
from mspc_core.runs import Run
from ui import cache, evidence, filters, image_choice, images, mask_files, mask_views
from ui.errors import friendly
from ui.filters import View
from ui.gallery import Tile, gallery
from ui.image_choice import Picked
from ui.mask_choice import ChosenMask
from ui.text import HELP, plural, short

WALL, LARGE = 24, 320
SHARED_BY, CROPS, CROP_SIZE = 64, 12, 224  # suspects in the mean, crops shown, pixels of an enlarged crop


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
        _trigger(run, mask, shown, cut)


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
    columns = (rows["sample_id"].tolist(), rows["predicted"].tolist(), rows["path"].tolist())
    tiles = [
        Tile(str(identity), evidence.name_of(classes, int(predicted)), hint=str(path))
        for identity, predicted, path in zip(*columns, strict=True)
    ]
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


def _trigger(run: Run, mask: ChosenMask, shown: View, cut: float) -> None:
    """What is under the mask in the strongest suspects, enlarged; their mean and spread."""
    st.subheader("What is under the mask, cut out", help=HELP["cut out"])
    region = images.region_of(mask.weights, cut)
    box = trigger_crop.bounding_box(region, margin=max(1, region.shape[0] // 16))
    if box is None:
        st.caption("The mask let go of every pixel, so there is nothing to cut out.")
        return
    scores, classes = cache.scores_of(run), evidence.class_names(run)
    suspects, whose = mask_views.strongest(scores, mask.number, SHARED_BY, shown)
    others = mask_views.elsewhere(scores, suspects, mask.number, SHARED_BY)
    if not len(suspects):
        st.caption("No image passes the filter.")
        return
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[np.concatenate([suspects, others])])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    crops = trigger_crop.cropped(pictures, box)
    inside = trigger_crop.cropped(region[None], box)[0]
    common = trigger_crop.in_common(crops[: len(suspects)], inside)
    left, right = st.columns([1, 1.35], gap="large")
    with left:
        spread = images.heat(common.spread, max(64.0, float(common.spread.max())))
        pair = (
            (images.outline(common.mean, inside, CROP_SIZE), f"Mean of {plural(len(suspects), whose)}"),
            (images.enlarge(spread, CROP_SIZE), "Spread: dark is the same in all"),
        )
        for column, (picture, caption) in zip(st.columns(2, gap="small"), pair, strict=True):
            column.image(images.framed(picture), caption=caption, width="stretch", alt=caption)
        _in_words(common, crops[len(suspects) :], inside)
        st.download_button(
            "Cut-out (PNG)",
            data=lambda: mask_files.png(images.side_by_side(pair[0][0][None], pair[1][0][None])[0]),
            file_name=mask_files.file_name(run.id, "cut-out", mask.part, suffix=".png"),
            mime="image/png",
            icon=":material/download:",
            key="download-cut-out",
            on_click="ignore",
        )
    with right:
        cut_outs = np.stack([images.cut_out(crop, inside) for crop in crops[: min(CROPS, len(suspects))]])
        rows = scores.iloc[suspects[:CROPS]]
        tiles = [
            Tile(str(identity), evidence.name_of(classes, int(predicted)), hint=str(path))
            for identity, predicted, path in zip(
                rows["sample_id"].tolist(), rows["predicted"].tolist(), rows["path"].tolist(), strict=True
            )
        ]
        clicked = gallery(
            cut_outs,
            tiles,
            key=f"cut-outs-{run.id}",
            label="The masked region of the strongest suspects, enlarged",
            size=96,
            on_click=lambda identity: image_choice.take_id(run, identity),
        )
        if clicked:
            st.rerun()


def _in_words(common: trigger_crop.Common, others: np.ndarray, inside: np.ndarray) -> None:
    if common.inside is None:
        st.caption("One image alone has no spread.")
        return
    words = f"Inside the outline, a pixel typically differs by **{common.inside:.0f}** of 255 grey levels"
    elsewhere = trigger_crop.in_common(others, inside).inside if len(others) else None
    if elsewhere is None:
        st.markdown(f"{words} between these images.")
        return
    st.markdown(f"{words} between these images, and by **{elsewhere:.0f}** between others.")
    st.caption(
        "Much less than others: they share something there, as with a sticker."
        if common.inside < elsewhere / 2
        else "About as much as others: no picture that stays the same lies there. A faint or moving trigger may."
    )
