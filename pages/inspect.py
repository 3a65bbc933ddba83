"""Inspect: one image under the magnifying glass; how scaling, mask and shift change what the model says of it."""

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, compute, evidence, filters, images, inspect_views, state
from ui.errors import friendly
from ui.text import HELP, percent, plain, plural, short

MATCHES, LARGE = 50, 288


def default_queue(run: Run, scores: pd.DataFrame) -> tuple[np.ndarray, str]:
    """The list that previous and next walk along, and its name: suspects, else flagged images, else all."""
    by = filters.default_sort(scores)
    if filters.suspects_of(scores).any():
        return evidence.queue_of(run, filters.SampleFilter(suspects=True), by), "suspects"
    telling = by.removesuffix("_score")
    if filters.flags_of(scores, telling).any():
        return evidence.queue_of(run, filters.SampleFilter(flagged_by=(telling,)), by), "flagged images"
    return evidence.queue_of(run, filters.SampleFilter(), by), "images"


def picker(run: Run, scores: pd.DataFrame) -> int | None:
    """Choose the sample: along the queue, by search, or by ?sample= in the URL. Returns its position."""
    queue, kind = default_queue(run, scores)
    ids = scores["sample_id"].to_numpy()
    asked = state.selected_sample(run)
    found = np.flatnonzero(ids == asked) if asked else []
    position = int(found[0]) if len(found) else (int(queue[0]) if len(queue) else None)
    if position is None:
        st.info("There are no images in this run.")
        return None
    if asked is None and st.query_params.get("sample"):
        st.info("The image named in the address is not part of this run. Showing the first one instead.")
    here = np.flatnonzero(queue == position)

    def move(step: int) -> None:
        target = filters.neighbour(queue, position, step)
        if target is not None:
            state.select_sample(str(ids[target]))

    with st.container(horizontal=True, vertical_alignment="bottom"):
        at_start, at_end = bool(len(here) and here[0] == 0), bool(len(here) and here[0] == len(queue) - 1)
        st.button(
            "Previous", icon=":material/arrow_back:", shortcut="Left", on_click=move, args=(-1,), disabled=at_start
        )
        st.button("Next", icon=":material/arrow_forward:", shortcut="Right", on_click=move, args=(1,), disabled=at_end)
        search(scores, ids)
        if st.button("Decide in Review", icon=":material/fact_check:"):
            state.go("review", sample=str(ids[position]))
    place = f"{int(here[0]) + 1:,} of {plural(len(queue), kind[:-1])}" if len(here) else f"not one of the {kind}"
    st.caption(f"This image is {place}.")
    return position


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
def magnifier(run: Run, position: int, pixels: np.ndarray | None) -> None:
    """The image beside its scaled form, the strip, and the chart: all follow the slider and the toggles."""
    with friendly():
        scores, classes = cache.scores_of(run), evidence.class_names(run)
        row = scores.iloc[position]
        number, predicted = int(row["row"]), int(row["predicted"])
        first, second, third = st.columns([1, 1, 1.35], gap="large")
        with third:
            inspect_views.facts(run, scores, position, classes)
        if pixels is None:
            first.caption("The image cannot be shown: the data set of this run was deleted.")
            return
        with first:
            st.image(
                images.framed(images.enlarge(pixels[0], LARGE)), width="stretch", caption="As stored", alt="The image"
            )
        scale, masked, tau = controls(run)
        series = compute.series_of(run, number, masked=masked, tau=tau)
        whole = series.at(scale)
        exact = abs(series.scales[whole] - scale) < 1e-6
        one = series if exact else compute.series_of(run, number, masked=masked, tau=tau, extra=scale)
        index = whole if exact else 0
        with second:
            what = formula(scale, masked, tau)
            st.image(
                images.framed(images.enlarge(one.images[index], LARGE)),
                width="stretch",
                caption=what,
                alt="The scaled image",
            )
        answer(one, index, predicted, classes)
        inspect_views.strip(series, predicted, classes, f"strip-{run.id}", scale)
        st.subheader("The model's answer over n")
        inspect_views.chart(series, predicted, classes, scale, f"curves-{run.id}")


def controls(run: Run) -> tuple[float, bool, float]:
    """n, mask on, τ."""
    tau = float(compute.settings_of(run, "mspc").get("tau", 0.1))
    has_mask = compute.final_mask(run) is not None
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        scale = st.slider(
            "Multiply all pixels by n", 1.0, 12.0, 3.0, 0.1, key="inspect-n", help=HELP["scale"], width=520
        )
        masked = st.toggle(
            "Mask",
            key="inspect-mask",
            disabled=not has_mask,
            help=HELP["mask"] if has_mask else "MSPC has learned no mask in this run yet.",
        )
        shifted = st.toggle(f"Shift τ = {tau:g}", key="inspect-tau", help=HELP["τ"])
    return float(scale), bool(masked and has_mask), tau if shifted else 0.0


def formula(scale: float, masked: bool, tau: float) -> str:
    """What was done to the image, as a caption."""
    inner = f"(x − {tau:g})" if tau else "x"
    return f"clip({scale:g} · {inner}{' ⊙ m' if masked else ''})"


def answer(series: compute.Series, index: int, predicted: int, classes: list[str]) -> None:
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


with friendly():
    run = state.require_run()
    st.title("Inspect")
    evidence.watch(run)
    scores = cache.scores_of(run)
    position = picker(run, scores)
    if position is not None:
        pixels = evidence.pictures_of(run, scores["row"].to_numpy()[[position]])
        magnifier(run, position, pixels)
        if pixels is not None:
            st.subheader("How the scores come about")
            inspect_views.build_up(run, scores, position, evidence.class_names(run))
