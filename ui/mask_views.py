"""Parts of the Mask page: the rounds of the shared mask, which images to show it on, and why a mask is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, filters, images
from ui.filters import View
from ui.mask_player import player
from ui.text import HELP, percent, plain, plural

HEAT_PIXELS = 320
PLAYED = 6  # images beside the animated mask


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


def shared_rounds(run: Run, shown: View) -> None:
    """MSPC's one mask, round by round, as an animation on the strongest suspects."""
    st.header("The shared mask, round by round", help=HELP["mask"])
    rounds = cache.masks_of(run).get("mspc")
    if rounds is None or not len(rounds):
        explain_missing(run, "mspc", "The shared mask")
        return
    st.caption(
        "MSPC learns one mask for all images in rounds: what must stay visible so that suspicious images keep their "
        "class under every scale? Press play, or use the slider and the arrow keys."
    )
    scores, classes = cache.scores_of(run), evidence.class_names(run)
    chosen, whose = strongest(scores, None, PLAYED, shown)
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[chosen])
    titles = [evidence.name_of(classes, int(number)) for number in scores["predicted"].to_numpy()[chosen]]
    names = [round_words(rounds[number], number) for number in range(len(rounds))]
    player(rounds, names, pictures, titles, key=f"player-{run.id}")
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
    elif len(chosen):
        st.caption(f"The mask alone (black is hidden, bright is kept), and on the {plural(len(chosen), whose)}.")
    rounds_table(run, rounds)
    notes(run, "mspc")


def round_words(mask: np.ndarray, number: int) -> str:
    """One line on a round's mask."""
    name = round_name(number).capitalize()
    if float(mask.min()) > 0.999:
        return f"{name}: nothing is hidden yet"
    if float(mask.max()) < images.COLLAPSED:
        return f"{name}: the mask let go of every pixel"
    return f"{name}: keeps {percent(float((mask > 0.5).mean()), 0)} of the image (weights above one half)"


def show_heat(mask: np.ndarray, label: str) -> None:
    """A mask as a heat map with its legend and what it adds up to (for the lesson)."""
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


def pick(scores: pd.DataFrame, kind: str, number: int | None, most: int, shown: View | None = None) -> np.ndarray:
    """Positions of images to show a mask on, of those that pass the filter; always the same for the same choice."""
    allowed = np.arange(len(scores)) if shown is None else shown.positions
    if kind == "Suspects":
        chosen = allowed[filters.suspects_of(scores)[allowed]]
    elif kind == "Flagged":
        chosen = allowed[filters.flagged_by_any(scores)[allowed]]
    elif kind == "Class" and number is not None:
        chosen = allowed[scores["predicted"].to_numpy()[allowed] == number]
    else:
        chosen = allowed
    return np.sort(np.random.default_rng(0).permutation(chosen)[:most])


def strongest(scores: pd.DataFrame, number: int | None, most: int, shown: View) -> tuple[np.ndarray, str]:
    """The strongest suspects that pass the filter, of one predicted class or of any, and what they are called: where
    there are no suspects the flagged images, where none is flagged those with the highest scores."""
    allowed = shown.positions
    if number is not None:
        allowed = allowed[scores["predicted"].to_numpy()[allowed] == number]
    by = filters.default_sort(scores)
    if number is not None and "transplant_score" in scores:
        by = "transplant_score"
    for flags, words in (
        (filters.suspects_of, "strongest suspect"),
        (filters.flagged_by_any, "strongest flagged image"),
    ):
        chosen = allowed[flags(scores)[allowed]]
        if len(chosen):
            return filters.ordered(scores, chosen, by)[:most], words
    return filters.ordered(scores, allowed, by)[:most], "image with the highest score"


def elsewhere(scores: pd.DataFrame, without: np.ndarray, number: int | None, most: int) -> np.ndarray:
    """Random images to compare with: not suspects, not among `without`, and of other classes than `number`."""
    kept = ~filters.suspects_of(scores)
    kept[without] = False
    if number is not None:
        kept &= scores["predicted"].to_numpy() != number
    return np.sort(np.random.default_rng(1).permutation(np.flatnonzero(kept))[:most])
