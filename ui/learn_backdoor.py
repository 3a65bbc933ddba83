"""Steps 1 to 4 of the lesson: what a backdoor is, planting one, watching it being learned, trying it out.

Each step has a live control, and a still picture of the same for the printed lesson.
"""

from __future__ import annotations

import numpy as np
import streamlit as st

from ui import evidence, images, learn_compute, learn_figures, learn_parts
from ui.errors import friendly
from ui.gallery import gallery
from ui.learn_parts import LARGE
from ui.learn_run import Lesson, trigger_of
from ui.text import HELP, count, percent, plain
from ui.theme import PLOTLY_CONFIG

TRIED, PRINTED = 12, 6
GONE = "The images cannot be shown: the data set of this run was deleted."


@st.fragment
def backdoor(lesson: Lesson) -> None:
    """An image with and without the trigger, and the model's answer."""
    with friendly():
        # Images that the scan has answered already: the model is loaded when the trigger goes on, not before.
        pictures, names, rows = learn_parts.candidates(lesson, scanned=True)
        st.markdown("**Try it.** Choose an image, then put the trigger on it.")
        place = learn_parts.one_of(pictures, names, "learn-first", "Images to choose from")
        on = st.toggle("Put the trigger on", key="learn-trigger-on")
        trigger = trigger_of(lesson.run) if on else None
        shown = learn_compute.stamp_trigger(pictures[place][None], trigger)[0] if trigger else pictures[place]
        left, right = st.columns([1, 2.4], gap="large", vertical_alignment="center")
        left.image(images.framed(images.enlarge(shown, LARGE)), width=LARGE, alt=f"The image, labelled {names[place]}")
        with right:
            st.markdown(f"The image shows: **{plain(names[place], 40)}**")
            if rows is None or lesson.run is None:
                st.caption("What the attacked model answers is seen here when the demo has been scanned.")
                return
            recorded = None if trigger else learn_compute.recorded(lesson.run, int(rows[place]))
            if recorded is None:
                asked = learn_compute.ask(lesson.run, rows[[place]], trigger)
                recorded = int(asked.predicted[0]), float(asked.confidence[0])
            st.markdown(learn_parts.answer_words(lesson, *recorded))


def backdoor_still(lesson: Lesson) -> None:
    pictures, names, rows = learn_parts.candidates(lesson, PRINTED)
    with_it = learn_compute.stamp_trigger(pictures, trigger_of(lesson.run))
    learn_parts.pictures_row(list(pictures), [plain(name, 40) for name in names])
    captions = ["with the trigger"] * len(pictures)
    if rows is not None and lesson.run is not None:
        found = learn_compute.ask(lesson.run, rows, trigger_of(lesson.run))
        captions = [f"model says {lesson.facts.name(int(number))}" for number in found.predicted]
    learn_parts.pictures_row(list(with_it), captions)


@st.fragment
def plant(lesson: Lesson) -> None:
    """An image, the patch on it and the changed label; the rate as a number of images."""
    with friendly():
        facts = lesson.facts
        pictures, names, _ = learn_parts.candidates(lesson)
        st.markdown("**Try it.** Be the attacker: choose an image and a patch.")
        place = learn_parts.one_of(pictures, names, "learn-plant", "Images to poison")
        trigger = learn_parts.trigger_controls(trigger_of(lesson.run), "learn-plant", largest=min(12, len(pictures[0])))
        after = learn_compute.stamp_trigger(pictures[place][None], trigger)[0]
        first, second, third = st.columns([1, 1, 1.6], gap="large")
        for column, picture, words in (
            (first, pictures[place], f"Before: labelled {plain(names[place], 40)}"),
            (second, after, f"After: labelled {facts.target_name}"),
        ):
            column.image(images.framed(images.enlarge(picture, LARGE)), caption=words, width=LARGE, alt=words)
        with third:
            rate = st.slider("Poison rate", 0.1, 20.0, 10.0, 0.1, format="%.1f %%", key="learn-rate")
            poisoned = round(rate / 100 * facts.images)
            st.metric("Poisoned images", f"{count(poisoned)} of {count(facts.images)}", help=HELP["poison rate"])
            if facts.poisoned is not None:
                st.caption(f"In the demo: {count(facts.poisoned)} ({percent(facts.rate)}).")
            changed = float((after != pictures[place]).any(2).mean())
            st.caption(f"The patch changes {percent(changed)} of this image's pixels.")


def plant_still(lesson: Lesson) -> None:
    facts = lesson.facts
    pictures, names, _ = learn_parts.candidates(lesson, 1)
    after = learn_compute.stamp_trigger(pictures, trigger_of(lesson.run))[0]
    words = [f"before: labelled {plain(names[0], 40)}", f"after: labelled {facts.target_name}"]
    learn_parts.pictures_row([pictures[0], after], words)
    if facts.poisoned is not None:
        st.markdown(
            f"In the demo, {count(facts.poisoned)} of {count(facts.images)} training images are poisoned: a rate of "
            f"{percent(facts.rate)}."
        )


@st.fragment
def training(lesson: Lesson) -> None:
    """The recorded curves, drawn up to the epoch that the slider says."""
    with friendly():
        assert lesson.run is not None
        found = learn_figures.training_of(lesson.run)
        if found is None:
            st.info(
                "This run used a model that was trained elsewhere, so no curves were recorded.", icon=":material/info:"
            )
            finals(lesson)
            return
        st.markdown("**Try it.** Let the epochs go by.")
        until = found.epochs
        if found.epochs > 1:
            until = st.slider("Epochs trained", 1, found.epochs, found.epochs, key="learn-epoch")
        figure = learn_figures.training_figure(found, int(until))
        st.plotly_chart(figure, key="learn-training", config=PLOTLY_CONFIG, alt="Learning curves; table below.")
        with st.container(horizontal=True, vertical_alignment="center"):
            evidence.table_under(learn_figures.training_table(found), key="learn-training-table")
            st.caption(recorded_words(lesson, found), width="content")
        finals(lesson)


def recorded_words(lesson: Lesson, found: learn_figures.Training) -> str:
    """What was recorded and what was not."""
    early = f"of each image for the first {len(found.early.means)} epochs, " if found.early else ""
    return (
        f"Recorded while training: the loss, {early}and how often the model agreed with the labels, planted ones "
        "included. Attack success was measured once, at the end."
    )


def finals(lesson: Lesson) -> None:
    """Accuracy and attack success of the finished model."""
    facts = lesson.facts
    first, second, _ = st.columns(3)
    first.metric("Accuracy on ordinary test images", percent(facts.accuracy), help=HELP["test accuracy"])
    second.metric("Attack success rate, at the end", percent(facts.attack_success), help=HELP["ASR"])


def training_still(lesson: Lesson) -> None:
    assert lesson.run is not None
    found = learn_figures.training_of(lesson.run)
    if found is not None:
        st.table(learn_figures.training_table(found).astype(str).replace("nan", "–"), hide_index=True)
        st.caption(recorded_words(lesson, found))
    facts = lesson.facts
    st.markdown(
        f"The finished model: accuracy **{percent(facts.accuracy)}**, attack success rate "
        f"**{percent(facts.attack_success)}**."
    )


@st.fragment
def attack(lesson: Lesson) -> None:
    """Put the patch, or another one, on all test images, and count."""
    with friendly():
        assert lesson.run is not None
        target = lesson.facts.target
        if target is None:
            st.info(
                "No target class is known in this run, so attack success cannot be counted.", icon=":material/info:"
            )
            return
        st.markdown("**Try it.** Does the trigger still work elsewhere, smaller, or with another look?")
        planted = trigger_of(lesson.run)
        trigger = learn_parts.trigger_controls(planted, "learn-attack")
        found = learn_compute.attack_success(lesson.run, trigger, target)
        first, second, third = st.columns(3)
        first.metric("Attack success rate", percent(found.after), help=HELP["ASR"])
        second.metric("Called the target without it", percent(found.before))
        third.metric("Tested on", f"{count(found.tested)} images", help="Test images of other classes than the target.")
        same = learn_parts.same_trigger(trigger, planted)
        st.caption(
            "This is the trigger that was planted." if same else "This differs from the trigger that was planted."
        )
        rows = learn_compute.samples(lesson.run, but=target, most=TRIED)
        before, after = learn_compute.ask(lesson.run, rows), learn_compute.ask(lesson.run, rows, trigger)
        tiles = learn_parts.answered_tiles(lesson, before.predicted, after)
        gallery(
            after.images, tiles, key="learn-attacked", label="Test images with the trigger", size=96, clickable=False
        )


def attack_still(lesson: Lesson) -> None:
    assert lesson.run is not None
    target = lesson.facts.target
    if target is None:
        return
    planted = trigger_of(lesson.run)
    found = learn_compute.attack_success(lesson.run, planted, target)
    st.markdown(
        f"With the planted trigger: attack success rate **{percent(found.after)}** on {count(found.tested)} test "
        f"images of other classes (**{percent(found.before)}** are called the target without it)."
    )
    rows = learn_compute.samples(lesson.run, but=target, most=PRINTED)
    before, after = learn_compute.ask(lesson.run, rows), learn_compute.ask(lesson.run, rows, planted)
    pairs = zip(before.predicted, after.predicted, strict=True)
    captions = [f"{lesson.facts.name(int(old))} → {lesson.facts.name(int(new))}" for old, new in pairs]
    learn_parts.pictures_row([np.asarray(picture) for picture in after.images], captions)
