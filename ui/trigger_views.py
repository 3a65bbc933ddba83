"""The Mask page's cut-out: what is under the mask in the strongest suspects, enlarged, with their mean and spread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from mspc_core import trigger_crop
from mspc_core.errors import InputError
from mspc_core.runs import Run
from mspc_core.trigger_crop import Box, Common
from ui import cache, evidence, image_choice, images, mask_files, mask_views
from ui.filters import View
from ui.gallery import gallery
from ui.mask_choice import ChosenMask
from ui.text import HELP, plural
from ui.tiles import class_tiles

SHARED_BY, CROPS, CROP_SIZE = 64, 12, 224  # suspects in the mean, crops shown, pixels of an enlarged crop


@dataclass(frozen=True)
class Shared:
    """own, others: mean and spread of the suspects and of images to compare with; None of fewer than 2 others."""

    own: Common
    others: Common | None


def show(run: Run, mask: ChosenMask, shown: View, cut: float) -> None:
    """Mean, spread, what they say, and the single cut-outs."""
    st.header("What is under the mask, cut out", help=HELP["cut out"])
    region = images.region_of(mask.weights, cut)
    box = trigger_crop.bounding_box(region, margin=max(1, region.shape[0] // 16))
    if box is None:
        st.caption("The mask let go of every pixel, so there is nothing to cut out.")
        return
    scores = cache.scores_of(run)
    suspects, whose = mask_views.strongest(scores, mask.number, SHARED_BY, shown)
    if not len(suspects):
        st.caption("No image passes the filter.")
        return
    few = evidence.pictures_of(run, scores["row"].to_numpy()[suspects[:CROPS]])
    if few is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    others = mask_views.elsewhere(scores, suspects, mask.number, SHARED_BY)
    shared = _shared(str(run.folder), cache.stamp(run.folder / "scores.parquet"), suspects.tobytes(), others.tobytes())
    left, right = st.columns([1, 1.35], gap="large")
    with left:
        _together(run, mask, shared, region, box, f"Mean of {plural(len(suspects), whose)}")
        _in_words(shared, len(suspects), region)
    with right:
        _one_by_one(run, few, suspects[:CROPS], region, box)


@st.cache_data(max_entries=12, show_spinner=False)
def _shared(folder: str, changed: int, suspects: bytes, others: bytes) -> Shared:
    """Of whole images, so that moving the cut computes nothing anew. suspects, others: positions, as bytes."""
    run = Run(Path(folder))
    rows = cache.scores_of(run)["row"].to_numpy()
    found: list[Common | None] = []
    for chosen in (suspects, others):
        pictures = evidence.pictures_of(run, rows[np.frombuffer(chosen, dtype=np.int64)])
        found.append(trigger_crop.in_common(pictures) if pictures is not None and len(pictures) else None)
    if found[0] is None:
        raise InputError("The data set of this run was deleted.")
    return Shared(found[0], found[1])


def _together(run: Run, mask: ChosenMask, shared: Shared, region: np.ndarray, box: Box, title: str) -> None:
    mean, spread, inside = (
        trigger_crop.cropped(whole[None], box)[0] for whole in (shared.own.mean, shared.own.spread, region)
    )
    heat = images.heat(spread, max(64.0, float(shared.own.spread.max())))
    pair = (
        (images.outline(mean, inside, CROP_SIZE), title),
        (images.enlarge(heat, CROP_SIZE), "Spread: dark is the same in all"),
    )
    for column, (picture, caption) in zip(st.columns(2, gap="small"), pair, strict=True):
        column.image(images.framed(picture), caption=caption, width="stretch", alt=caption)
    st.download_button(
        "Cut-out (PNG)",
        data=lambda: mask_files.png(images.side_by_side(pair[0][0][None], pair[1][0][None])[0]),
        file_name=mask_files.file_name(run.id, "cut-out", mask.part, suffix=".png"),
        mime="image/png",
        icon=":material/download:",
        key="download-cut-out",
        on_click="ignore",
    )


def _in_words(shared: Shared, count: int, region: np.ndarray) -> None:
    """In how much of the region the suspects agree."""
    if count < 2 or shared.others is None:
        st.caption("There are too few images to compare their spread.")
        return
    agreeing = trigger_crop.agreeing(shared.own.spread, shared.others.spread)
    same, marked = int((agreeing & region).sum()), int(region.sum())
    st.markdown(
        f"In **{same:,} of {marked:,}** marked pixels these images differ less than half as much as "
        "other images do there."
    )
    st.caption(
        "They share a picture there, as with a sticker."
        if same > marked / 2
        else "They share a part of what is marked."
        if same
        else "They share no fixed picture there. A faint or moving trigger is not ruled out."
    )


def _one_by_one(run: Run, few: np.ndarray, positions: np.ndarray, region: np.ndarray, box: Box) -> None:
    """The single cut-outs; a click makes one the image of the page."""
    classes, rows = evidence.class_names(run), cache.scores_of(run).iloc[positions]
    inside = trigger_crop.cropped(region[None], box)[0]
    pictures = np.stack([images.cut_out(crop, inside) for crop in trigger_crop.cropped(few, box)])
    tiles = class_tiles(rows, classes)
    clicked = gallery(
        pictures,
        tiles,
        key=f"cut-outs-{run.id}",
        label="The masked region of the strongest suspects, enlarged",
        size=96,
        on_click=lambda identity: image_choice.take_id(run, identity),
    )
    if clicked:
        st.rerun()
