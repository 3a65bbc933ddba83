"""Steps 8 and 9 of the lesson: the mask and the transplant."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from ui import cache, compute, evidence, filters, images, learn_parts, mask_views, transplant_views
from ui.errors import friendly
from ui.gallery import Tile, gallery
from ui.learn_backdoor import GONE
from ui.learn_run import Lesson
from ui.learn_scaling import detection_words
from ui.text import HELP, plain

SHOWN, PRINTED = 12, 5
COMPARED = ("spc", "mspc")


@st.fragment
def mask(lesson: Lesson) -> None:
    """The mask of each round, alone and on suspicious images, and what MSPC flags beside SPC."""
    with friendly():
        run = lesson.run
        assert run is not None
        rounds = cache.masks_of(run).get("mspc")
        if rounds is None or not len(rounds):
            mask_views.explain_missing(run, "mspc", "The shared mask")
            return
        st.markdown("**Try it.** Go through the rounds: from a mask that keeps everything to the last one.")
        last = len(rounds) - 1
        chosen = last
        if last:
            options = list(range(last + 1))
            chosen = int(
                st.select_slider(
                    "Round", options, last, format_func=mask_views.round_name, key="learn-round", width=320
                )
            )
        left, right = st.columns([1, 1.7], gap="large")
        with left:
            mask_views.show_heat(rounds[chosen], f"{mask_views.round_name(chosen)} of the mask")
        with right:
            overlaid(lesson, rounds[chosen])
            st.dataframe(compared_table(lesson), hide_index=True, width="stretch", column_config=_SHARES)
        mask_views.notes(run, "mspc")


_SHARES = {
    "AUROC": st.column_config.NumberColumn(format="%.3f", help=HELP["AUROC"]),
    "false alarms": st.column_config.NumberColumn(format="localized"),
}


def overlaid(lesson: Lesson, weights: np.ndarray) -> None:
    """The mask on some images that MSPC finds suspicious."""
    run, scores = lesson.run, lesson.scores
    assert run is not None
    chosen = mask_views.pick(scores, "Suspects" if lesson.facts.suspects.flagged else "Flagged", None, SHOWN)
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[chosen])
    if pictures is None or not len(chosen):
        st.caption(GONE if pictures is None else "No image is suspicious in this run.")
        return
    small = images.thumbnails(pictures)
    drawn = images.overlay(small, images.fit_mask(weights, small.shape[1:3]), 0.6, 0.2)
    tiles = [Tile(str(place)) for place in range(len(chosen))]
    st.caption("Where the mask is bright, on images the verdict suspects.")
    gallery(drawn, tiles, key="learn-masked", label="The mask on suspicious images", size=64, clickable=False)


def compared_table(lesson: Lesson) -> pd.DataFrame:
    """SPC and MSPC at their own thresholds."""
    rows = []
    for name in COMPARED:
        found = lesson.facts.detections.get(name)
        if found is not None:
            rows.append(
                {
                    "score": filters.title_of(name),
                    "flagged": found.flagged,
                    "poisoned caught": found.caught,
                    "false alarms": found.alarms,
                    "AUROC": found.auroc,
                }
            )
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def mask_still(lesson: Lesson) -> None:
    run = lesson.run
    assert run is not None
    rounds = cache.masks_of(run).get("mspc")
    if rounds is None or not len(rounds):
        mask_views.explain_missing(run, "mspc", "The shared mask")
        return
    words = [mask_views.round_name(number) for number in range(len(rounds))]
    learn_parts.pictures_row([images.heat(weights) for weights in rounds], words)
    for name in COMPARED:
        if name in lesson.facts.detections:
            st.markdown(detection_words(lesson, name))


def to_transplant(lesson: Lesson) -> dict[str, np.ndarray]:
    """Images to cut from: suspects, and honest ones that the model gives the same class. Positions, mixed."""
    scores, target = lesson.scores, lesson.facts.target
    kinds = learn_parts.kinds_of(lesson)
    here = scores["predicted"].to_numpy() == target
    names = {
        "Poisoned": "A poisoned image",
        "Suspect": "A suspect",
        "Clean": "A clean image",
        "Not suspect": "Another one",
    }
    found = {names[kind]: places[here[places]] for kind, places in kinds.items()}
    return {name: places for name, places in found.items() if len(places)}


@st.fragment
def transplant(lesson: Lesson) -> None:
    """Cut the region from a poisoned or a clean image of the target class and paste it on others."""
    with friendly():
        run = lesson.run
        assert run is not None
        if not compute.finished(run, "transplant"):
            mask_views.explain_missing(run, "transplant", "The region of each class")
            return
        kinds = to_transplant(lesson)
        if not kinds:
            st.caption("No class stands out in this run.")
            return
        st.markdown("**Try it.** Both images are called the target by the model. From which one does it carry over?")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            names = list(kinds)
            kind = st.segmented_control("Cut from", names, default=names[0], required=True, key="learn-cut")
            places = kinds[kind if kind in kinds else names[0]]
            number = st.number_input("Which one", 1, len(places), 1, key=f"learn-cut-{kind}", width=140)
        transplant_views.as_in_the_scan(run, int(places[int(number) - 1]))


def transplant_still(lesson: Lesson) -> None:
    run = lesson.run
    assert run is not None
    scores = lesson.scores
    for kind, places in to_transplant(lesson).items():
        position = int(places[0])
        source = learn_parts.picture_of(run, position, scores)
        try:
            found = compute.transplant_of(run, position)
        except InputError as error:
            st.caption(plain(error, 300))
            return
        if source is None:
            st.caption(GONE)
            return
        st.markdown(
            f"{kind}: its region turned **{int(found.turned.sum())} of {len(found.others)}** others into "
            f"*{lesson.facts.name(found.target)}*."
        )
        said = [lesson.facts.name(int(number)) for number in found.after[: PRINTED - 1]]
        shown = [source, images.cut_out(source, found.region), *found.images[: PRINTED - 1]]
        learn_parts.pictures_row(shown, ["the image", "what is cut out", *(f"now: {name}" for name in said)])
