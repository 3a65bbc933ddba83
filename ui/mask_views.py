"""Parts of the Mask page: heat maps, the rounds' table, the transplant demonstration, and why a mask is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache, compute, evidence, filters, images
from ui.gallery import Tile, gallery
from ui.text import percent, plain
from ui.theme import BACKDOOR, NEUTRAL

HEAT_PIXELS = 320


def round_name(number: int) -> str:
    """What a place in the stack of masks is called."""
    return "start" if number == 0 else f"round {number}"


def explain_missing(run: Run, detector: str, what: str) -> None:
    """Why there is no mask: not asked for, not finished, or the scan ended before it."""
    title = filters.title_of(detector)
    if detector not in run.config().detectors:
        st.info(f"{what} is learned by {title}, which was not part of this scan.", icon=":material/block:")
    elif reason := (cache.summary_of(run).get("not_run") or {}).get(detector):
        st.info(f"{what} could not be learned: {plain(reason, 300)}", icon=":material/block:")
    elif run.status().active:
        st.info(f"{what} appears here when {title} has finished.", icon=":material/schedule:")
    else:
        st.info(
            f"{what} was not learned: the scan ended before {title} had finished. Resume it on the Scan page.",
            icon=":material/pause_circle:",
        )


def notes(run: Run, detector: str) -> None:
    """What the detector has to say about its masks, such as a collapse."""
    for note in cache.summary_of(run).get("detectors", {}).get(detector, {}).get("notes") or []:
        st.caption(f":material/info: {plain(note, 400)}")


def show_heat(mask: np.ndarray, label: str) -> None:
    """A mask as a heat map with its legend and what it adds up to."""
    st.image(images.enlarge(images.heat(mask), HEAT_PIXELS), width=HEAT_PIXELS, alt=f"Heat map: {label}")
    scale = images.heat(np.linspace(0, 1, HEAT_PIXELS)[None].repeat(10, axis=0))
    st.image(scale, width=HEAT_PIXELS, alt="Colour scale from 0 to 1")
    with st.container(horizontal=True, horizontal_alignment="distribute", width=HEAT_PIXELS):
        st.caption("0 · hidden")
        st.caption(f"keeps {percent(float((mask > 0.5).mean()), 0)} of the image")
        st.caption("1 · kept")
    untouched = float(mask.min()) > 0.999
    st.caption("Nothing is hidden yet." if untouched else "Bright pixels keep the class.")


def rounds_table(run: Run, rounds: np.ndarray) -> None:
    """Each round's mask in numbers."""
    listed = cache.summary_of(run).get("detectors", {}).get("mspc", {}).get("tables", {}).get("rounds") or []
    suspicious: dict[int, Any] = {int(row["round"]): row["suspicious"] for row in listed}
    table = pd.DataFrame(
        {
            "round": [round_name(number) for number in range(len(rounds))],
            "mean weight": [round(float(mask.mean()), 3) for mask in rounds],
            "kept (above 0.5)": [percent(float((mask > 0.5).mean()), 0) for mask in rounds],
            "images it learned from": [suspicious.get(number) for number in range(len(rounds))],
        }
    )
    evidence.table_under(table, key=f"rounds-table-{run.id}")


def pick(scores: pd.DataFrame, kind: str, number: int | None, most: int) -> np.ndarray:
    """Positions of images to show a mask on; always the same for the same choice."""
    if kind == "Suspects":
        chosen = np.flatnonzero(filters.suspects_of(scores))
    elif kind == "Flagged":
        chosen = np.flatnonzero(filters.flagged_by_any(scores))
    elif kind == "Class" and number is not None:
        chosen = np.flatnonzero(scores["predicted"].to_numpy() == number)
    else:
        chosen = np.arange(len(scores))
    return np.sort(np.random.default_rng(0).permutation(chosen)[:most])


def show_demonstration(run: Run, scores: pd.DataFrame, position: int, classes: list[str]) -> None:
    """One sample's region on other images, before and after, with the sentence that says what it did."""
    try:
        with st.spinner("Asking the model …", show_time=False):
            found = compute.transplant_of(run, position)
    except InputError as error:
        st.info(plain(error, 300), icon=":material/block:")
        return
    rows = scores["row"].to_numpy()
    source = evidence.pictures_of(run, rows[[position]])
    others = evidence.pictures_of(run, rows[found.others])
    if source is None or others is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    target, turned = plain(evidence.name_of(classes, found.target), 60), int(found.turned.sum())
    left, right = st.columns([1, 2.6], gap="large")
    with left:
        first, second = st.columns(2)
        first.image(
            images.outline(source[0], found.region, 256),
            caption="The image, region outlined",
            width="stretch",
            alt="The image with the outline of the region",
        )
        second.image(
            images.enlarge(images.cut_out(source[0], found.region), 256),
            caption="What is cut out",
            width="stretch",
            alt="The region alone",
        )
        share = f"{turned} of {len(found.others)}"
        st.markdown(f"### {share}")
        st.markdown(f"This region, cut from this image, turned **{share}** other images into *{target}*.")
        stored = float(scores["transplant_score"].iloc[position])
        if np.isfinite(stored) and round(stored * len(found.others)) != turned:
            counted = round(stored * len(found.others))
            st.caption(f"The scan counted {counted}; small numerical differences between devices can tip an answer.")
    with right:
        pairs = images.side_by_side(images.thumbnails(others, 64), images.thumbnails(found.images, 64))
        tiles = [
            Tile(
                str(number),
                f"{evidence.name_of(classes, int(found.before[number]))} → "
                f"{evidence.name_of(classes, int(found.after[number]))}",
                f"{percent(float(found.confidence[number]), 0)} sure",
                tone=BACKDOOR if found.turned[number] else NEUTRAL,
                badge="turned" if found.turned[number] else "",
            )
            for number in range(len(found.others))
        ]
        gallery(
            pairs,
            tiles,
            key=f"pasted-{run.id}",
            label="Other images before and after the region was pasted on them",
            size=136,
            clickable=False,
        )
