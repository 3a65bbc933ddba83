"""Steps 5 to 7 of the lesson: scaled prediction consistency, its histogram, and where it goes wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.report import charts
from ui import (
    compute_series,
    evidence,
    figures,
    figures_data,
    filters,
    images,
    inspect_views,
    learn_compute,
    learn_parts,
    score_explore,
)
from ui.errors import friendly
from ui.gallery import Tile, gallery
from ui.learn_backdoor import GONE
from ui.learn_parts import LARGE
from ui.learn_run import Lesson, false_alarms
from ui.text import HELP, count, percent, plain, plural
from ui.theme import CLEAN, FLAGGED, NEUTRAL, PLOTLY_CONFIG

SHOWN = 12


@st.fragment
def scaling(lesson: Lesson) -> None:
    """One image, the slider n, the strip, and SPC counted up."""
    with friendly():
        run = lesson.run
        assert run is not None
        st.markdown("**Try it.** Compare a poisoned image with a clean one, and move n.")
        position = learn_parts.one_image(lesson, "learn-scaling")
        scores = lesson.scores
        picture = learn_parts.picture_of(run, position, scores)
        if picture is None:
            st.caption(GONE)
            return
        row, predicted = int(scores["row"].iloc[position]), int(scores["predicted"].iloc[position])
        n = float(
            st.slider("Multiply all pixels by n", 1.0, 12.0, 4.0, 0.5, format="%.1f", key="learn-n", help=HELP["scale"])
        )
        sample, untouched = [(row, predicted)], compute_series.Treatment()
        series = compute_series.series_of(run, sample, compute_series.curve_scales(run), untouched)[0]
        at = series.at(n)
        first, second, third = st.columns([1, 1, 1.6], gap="large", vertical_alignment="center")
        for column, shown, words in (
            (first, picture, "n = 1"),
            (second, series.images[at], f"n = {series.scales[at]:g}"),
        ):
            column.image(
                images.framed(images.enlarge(shown, LARGE)), caption=words, width=LARGE, alt=f"The image, {words}"
            )
        with third:
            kept = int(series.predicted[at]) == predicted
            name = lesson.facts.name(int(series.predicted[at]))
            st.markdown(f"At n = {series.scales[at]:g} the model {'still' if kept else 'now'} says **{name}**.")
            share = percent(float(series.clipped[at]), 0)
            st.caption(f"{share} of the pixel values are cut off at white.", help=HELP["clipped"])
        whole = compute_series.series_of(run, sample, compute_series.WHOLE, untouched)[0]
        inspect_views.strip(whole, predicted, lesson.names, "learn-strip", n)
        steps = compute_series.build_ups(run, row, predicted)["spc"]
        stored = float(scores["spc_score"].iloc[position])
        st.markdown(f"**SPC** = scales that keep the class ÷ all scales = {inspect_views.conclusion(steps, stored)}")
        evidence.table_under(inspect_views.build_table(steps, lesson.names), "Scale by scale", key="learn-build")


def scaling_still(lesson: Lesson) -> None:
    run = lesson.run
    assert run is not None
    scores = lesson.scores
    for kind, places in learn_parts.kinds_of(lesson).items():
        position = int(places[0])
        if learn_parts.picture_of(run, position, scores) is None:
            st.caption(GONE)
            return
        sample = (int(scores["row"].iloc[position]), int(scores["predicted"].iloc[position]))
        scales, untouched = (1.0, 2.0, 3.0, 4.0, 8.0, 12.0), compute_series.Treatment()
        series = compute_series.series_of(run, [sample], scales, untouched)[0]
        words = [
            f"n = {scale:g}: {lesson.facts.name(int(found))}"
            for scale, found in zip(scales, series.predicted, strict=True)
        ]
        st.markdown(f"{kind}, SPC **{float(scores['spc_score'].iloc[position]):.2f}**")
        learn_parts.pictures_row(list(series.images), words)


@st.fragment
def histogram(lesson: Lesson) -> None:
    """SPC of all images, with a threshold to move."""
    with friendly():
        run = lesson.run
        assert run is not None
        st.markdown("**Try it.** Move the threshold. Is there a place without misses and without false alarms?")
        scores, bins = lesson.scores, evidence.bins_of(run, "spc")
        natural = evidence.natural_threshold(run, "spc")
        left, right = st.columns([2.4, 1], gap="medium")
        with right:
            threshold = score_explore.threshold_slider(run, "spc", bins, natural)
            values = scores["spc_score"].to_numpy(dtype=float)
            truth = filters.known_truth(scores)
            score_explore.show_counts(figures_data.counts_at(values, truth, threshold), bins)
        with left:
            figure = figures.histogram_figure(bins, threshold, natural, axis="SPC (higher = more suspicious)", log=True)
            alt = "Histogram of SPC; its numbers are in the table below."
            st.plotly_chart(figure, key="learn-histogram", config=PLOTLY_CONFIG, alt=alt)
            evidence.table_under(figures.histogram_table(bins, threshold), key="learn-histogram-table")
        st.caption("The counts are drawn on a logarithmic scale, so that few images are seen beside thousands.")


def histogram_still(lesson: Lesson) -> None:
    run = lesson.run
    assert run is not None
    bins, threshold = evidence.bins_of(run, "spc"), evidence.natural_threshold(run, "spc")
    found = lesson.facts.detections["spc"]
    drawing = charts.histogram(bins, threshold, title="SPC", number=1, flagged=found.flagged)
    st.image(str(drawing).replace("<svg ", '<svg style="background:#fff" ', 1), width=560, alt="Histogram of SPC")
    st.markdown(detection_words(lesson, "spc"))


def detection_words(lesson: Lesson, name: str) -> str:
    """What a detector flagged at its own threshold, in one sentence."""
    found, facts = lesson.facts.detections[name], lesson.facts
    text = f"{filters.title_of(name)} flags {count(found.flagged)} of {count(facts.images)} images"
    if found.caught is None or found.alarms is None or facts.poisoned is None:
        return f"{text}."
    return (
        f"{text}: {count(found.caught)} of the {count(facts.poisoned)} poisoned ones, and {count(found.alarms)} clean "
        "ones by mistake."
    )


@st.fragment
def errors(lesson: Lesson) -> None:
    """Clean images of several classes grow white together; then the false alarms themselves."""
    with friendly():
        run = lesson.run
        assert run is not None
        st.markdown("**Try it.** Make clean images brighter until the model gives all of them the same answer.")
        rows = learn_compute.samples(run, most=SHOWN)
        n = float(st.slider("Multiply all pixels by n", 1, 12, 1, key="learn-white", help=HELP["scale"]))
        labels, found = learn_compute.labels_of(run, rows), learn_compute.ask(run, rows, scale=n)
        tiles = []
        for place, (label, said) in enumerate(zip(labels, found.predicted, strict=True)):
            same = int(said) == int(label)
            words = ("✓ " if same else "✗ ") + evidence.name_of(lesson.names, int(said))
            note = f"was {evidence.name_of(lesson.names, int(label))}"
            tiles.append(Tile(str(place), words, note, tone=CLEAN if same else NEUTRAL))
        gallery(found.images, tiles, key="learn-whitened", label="Clean images made brighter", size=96, clickable=False)
        kept = int((found.predicted == labels).sum())
        white = lesson.facts.name(learn_compute.ask_white(run))
        st.markdown(
            f"At n = {n:g}, {kept} of these {len(rows)} clean test images keep their class. An image that is nothing "
            f"but white is called **{white}**."
        )
        st.markdown("### The false alarms of this run")
        show_alarms(lesson)


def alarms_table(lesson: Lesson) -> pd.DataFrame:
    """Clean images and SPC's false alarms by the class that the model gives them; most alarms first."""
    scores = lesson.scores
    predicted, wrong = scores["predicted"].to_numpy(), false_alarms(scores, "spc")
    truth = filters.known_truth(scores)
    honest = ~(filters.suspects_of(scores) if truth is None else truth)
    size = len(lesson.facts.classes)
    table = pd.DataFrame(
        {
            "class": [evidence.name_of(lesson.names, number) for number in range(size)],
            "clean images" if truth is not None else "not suspect": np.bincount(predicted[honest], minlength=size)[
                :size
            ],
            "flagged by SPC": np.bincount(predicted[wrong], minlength=size)[:size],
        }
    )
    return table[table["flagged by SPC"] > 0].sort_values("flagged by SPC", ascending=False, kind="stable")


def alarm_positions(lesson: Lesson, most: int) -> np.ndarray:
    """Some of SPC's false alarms, always the same."""
    places = np.flatnonzero(false_alarms(lesson.scores, "spc"))
    return np.sort(np.random.default_rng(0).permutation(places)[:most])


def show_alarms(lesson: Lesson) -> None:
    run = lesson.run
    assert run is not None
    chosen = alarm_positions(lesson, SHOWN)
    if not len(chosen):
        st.caption("SPC raised no false alarm in this run.")
        return
    scores, table = lesson.scores, alarms_table(lesson)
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[chosen])
    if pictures is None:
        st.caption(GONE)
        return
    tiles = [
        Tile(str(place), evidence.name_of(lesson.names, int(number)), f"SPC {score:.2f}", tone=FLAGGED)
        for place, (number, score) in enumerate(
            zip(scores["predicted"].to_numpy()[chosen], scores["spc_score"].to_numpy()[chosen], strict=True)
        )
    ]
    gallery(pictures, tiles, key="learn-alarms", label="Clean images that SPC flags", size=64, clickable=False)
    total, first = int(table["flagged by SPC"].sum()), table.iloc[0]
    st.caption(
        f"{len(chosen)} of {plural(total, 'false alarm')}; {count(first['flagged by SPC'])} are called "
        f"{plain(first['class'], 40)}."
    )
    evidence.table_under(table, "By class", key="learn-alarms-table")


def errors_still(lesson: Lesson) -> None:
    run = lesson.run
    assert run is not None
    rows = learn_compute.samples(run, most=6)
    for n in (1.0, 4.0, 12.0):
        found = learn_compute.ask(run, rows, scale=n)
        words = [f"n = {n:g}: {lesson.facts.name(int(said))}" for said in found.predicted]
        learn_parts.pictures_row(list(found.images), words)
    st.markdown(f"An all-white image is called **{lesson.facts.name(learn_compute.ask_white(run))}**.")
    table = alarms_table(lesson)
    if len(table):
        st.markdown("Clean images that SPC flags, by the class the model gives them:")
        st.table(table.head(6), hide_index=True)
