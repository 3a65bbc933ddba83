"""Inspect: one image under the magnifying glass; how scaling, mask and shift change what the model says of it."""

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import (
    arrow_keys,
    cache,
    compute_series,
    evidence,
    filters,
    images,
    inspect_compare,
    inspect_controls,
    inspect_neighbours,
    inspect_state,
    inspect_views,
    maps,
    shared_filter,
    state,
)
from ui.errors import friendly
from ui.filters import View
from ui.text import HELP, percent, plain, plural, short

MATCHES, LARGE = 50, 288


def picker(run: Run, scores: pd.DataFrame, shown: View) -> int | None:
    """Choose the sample: along what passes the filter, by search, or by ?sample= in the URL. Returns its position."""
    queue = shared_filter.queue(run, filters.default_sort(scores))
    ids = scores["sample_id"].to_numpy()
    asked = state.selected_sample(run)
    position = cache.position_of(run, asked)
    if position is None and len(queue):
        position = int(queue[0])
    if position is None:
        if not shared_filter.nothing_left(run, shown):
            st.info("There are no images in this run.")
        return None
    if asked is None and st.query_params.get("sample"):
        st.info("The image named in the address is not part of this run. Showing the first one instead.")
    here, identity = np.flatnonzero(queue == position), str(ids[position])

    def move(step: int) -> None:
        target = filters.neighbour(queue, position, step)
        if target is not None:
            state.select_sample(str(ids[target]))

    with st.container(horizontal=True, vertical_alignment="bottom"):
        at_start, at_end = bool(len(here) and here[0] == 0), bool(len(here) and here[0] == len(queue) - 1)
        none = not len(queue)
        hint = "Or the left and right arrow keys."
        st.button(
            "Previous",
            icon=":material/arrow_back:",
            on_click=move,
            args=(-1,),
            disabled=at_start or none,
            help=hint,
        )
        st.button("Next", icon=":material/arrow_forward:", on_click=move, args=(1,), disabled=at_end or none, help=hint)
        search(scores, ids)
        pin(run, identity)
        if st.button("Decide in Review", icon=":material/fact_check:"):
            state.go("review", sample=identity)
    arrow_keys.listen(move, key="inspect-keys")
    kind = "image" if shown.everything else "filtered image"
    if len(here):
        st.caption(f"This image is {int(here[0]) + 1:,} of {plural(len(queue), kind)}, the most suspicious first.")
    else:
        st.caption("This image does not pass the filter; Previous and Next lead to those that do.")
    return position


def pin(run: Run, identity: str) -> None:
    """Pin or unpin the image that is shown."""
    pins = inspect_state.pins_of(run)
    there, full = identity in pins, len(pins) >= inspect_state.MOST_PINS
    st.button(
        "Unpin" if there else "Pin",
        icon=":material/keep_off:" if there else ":material/keep:",
        key="pin",
        disabled=full and not there,
        on_click=inspect_state.toggle_pin,
        args=(run, identity),
        help="Six images are pinned: take one away first." if full and not there else "Keeps this image to compare.",
    )


def search(scores: pd.DataFrame, ids: np.ndarray) -> None:
    """Find a sample by a part of its path or id."""
    text = st.text_input("Find", placeholder="part of a path or sample id", key="find-sample", width=280)
    if not text.strip():
        return
    matches = filters.positions(scores, filters.SampleFilter(text=text))[:MATCHES]
    if not len(matches):
        st.caption("No image has that in its path or id.")
        return
    paths = scores["path"].to_numpy()
    options = [str(ids[position]) for position in matches]
    labels = {str(ids[position]): f"{short(paths[position], 60)} · {ids[position]}" for position in matches}

    def chosen() -> None:
        if st.session_state["found-sample"]:
            state.select_sample(st.session_state["found-sample"])

    more = f" (first {MATCHES})" if len(matches) == MATCHES else ""
    st.selectbox(
        plural(len(matches), "match", "matches") + more,
        options,
        index=None,
        placeholder="choose one",
        format_func=lambda key: labels.get(key, key),
        key="found-sample",
        on_change=chosen,
        width=340,
    )


@st.fragment
def magnifier(run: Run, position: int, pixels: np.ndarray | None, pins: list[str]) -> None:
    """The image beside its scaled form, strips and curves, and how the scores come about: all follow the controls."""
    with friendly():
        scores, classes = cache.scores_of(run), evidence.class_names(run)
        row = scores.iloc[position]
        number, predicted = int(row["row"]), int(row["predicted"])
        pictures, facts = st.columns([2, 1.3], gap="large")
        with facts:
            inspect_views.facts(run, scores, position, classes)
        first, second = pictures.columns(2, gap="large")
        if pixels is None:
            pictures.caption("The image cannot be shown: the data set of this run was deleted.")
            return
        with first:
            picture = images.framed(images.enlarge(pixels[0], LARGE))
            st.image(picture, width="stretch", caption="As stored", alt="The image")
        if maps.key_of(run) is None:
            second.info("This run keeps no model, so it cannot be asked what it says of scaled images.")
            return
        with pictures:
            settings = inspect_controls.controls(run, predicted)
        sample, treatment = [(number, predicted)], settings.treatment
        with second, st.spinner("Asking the model …"):
            series = compute_series.series_of(run, sample, compute_series.curve_scales(run), treatment)[0]
            one, index = series, series.at(settings.n)
            if abs(series.scales[index] - settings.n) > 1e-6:
                one, index = compute_series.series_of(run, sample, (settings.n,), treatment)[0], 0
        with second:
            picture = images.framed(images.enlarge(one.images[index], LARGE))
            st.image(picture, width="stretch", caption=settings.formula, alt="The scaled image")
        answer(one, index, predicted, classes)
        in_strip = settings.own or compute_series.WHOLE
        scaled = compute_series.series_of(run, sample, in_strip, treatment)[0]
        inspect_views.strip(scaled, predicted, classes, f"strip-{run.id}", settings.n)
        st.header("The model's answer over n")
        inspect_views.chart(series, predicted, classes, settings.n, f"curves-{run.id}")
        st.header("How the scores come about")
        inspect_views.build_up(run, scores, position, classes, settings)
        inspect_compare.show(run, scores, position, pins, settings, classes)


def answer(series: compute_series.Series, index: int, predicted: int, classes: list[str]) -> None:
    """One sentence on the scaled image."""
    found = int(series.predicted[index])
    name = plain(evidence.name_of(classes, found), 60)
    verb = "still says" if found == predicted else "now says"
    sure = percent(float(series.confidence[index]))
    st.markdown(
        f"At n = {series.scales[index]:g} the model {verb} **{name}** ({sure} sure); "
        f"{percent(float(series.clipped[index]), 0)} of the pixel values are cut off at white.",
        help=HELP["clipped"],
    )


state.through_router()
with friendly():
    st.title("Inspect")
    run = state.require_run()
    evidence.watch(run)
    scores, shown = cache.scores_of(run), shared_filter.bar(run)
    position = picker(run, scores, shown)
    if position is not None:
        pixels = evidence.pictures_of(run, scores["row"].to_numpy()[[position]])
        magnifier(run, position, pixels, inspect_state.pins_of(run))
        inspect_neighbours.show(run, scores, position, evidence.class_names(run))
