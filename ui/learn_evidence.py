"""Steps 8 to 11 of the lesson: the mask, the transplant, the verdict as a consensus, and cleaning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from ui import cache, clean_views, compute, evidence, filters, images, learn_parts, mask_views, state, verdicts
from ui.errors import friendly
from ui.gallery import Tile, gallery
from ui.learn_backdoor import GONE
from ui.learn_run import Lesson
from ui.learn_scaling import detection_words
from ui.text import HELP, count, percent, plain, plural

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
    """Cut the region from a poisoned or a clean image of the target class and paste it on sixteen others."""
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
        mask_views.show_demonstration(run, lesson.scores, int(places[int(number) - 1]), lesson.names)


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


def consensus_table(lesson: Lesson) -> pd.DataFrame:
    """One row a test of the verdict: whether it makes a case, and what it flags."""
    run = lesson.run
    assert run is not None
    loud, rows = verdicts.having_a_case(lesson.facts.verdict), []
    for name in verdicts.finished(cache.summary_of(run)):
        found = lesson.facts.detections.get(name)
        if found is not None:
            rows.append(
                {
                    "test": filters.title_of(name),
                    "says": "makes a case" if name in loud else "silent",
                    "flagged": found.flagged,
                    "poisoned caught": found.caught,
                    "false alarms": found.alarms,
                }
            )
    return pd.DataFrame(rows).dropna(axis=1, how="all")


@st.fragment
def verdict(lesson: Lesson) -> None:
    """What the verdict says, and what other rules of agreement would flag."""
    with friendly():
        run = lesson.run
        assert run is not None
        evidence.verdict_line(run)
        st.dataframe(consensus_table(lesson), hide_index=True, width="stretch")
        scores = lesson.scores
        tests = [name for name in filters.detector_names(scores.columns) if name in lesson.facts.detections]
        st.markdown("**Try it.** Invent a rule of your own: which tests are asked, and how many must agree?")
        asked = st.pills(
            "Tests",
            tests,
            selection_mode="multi",
            default=[name for name in tests if name in verdicts.MEMBERS] or tests,
            format_func=lambda name: plain(filters.title_of(name), 30),
            key="learn-tests",
        )
        if not asked:
            st.caption("Choose at least one test.")
            return
        least = 1
        if len(asked) > 1:
            least = st.slider("Flag an image when at least so many of them do", 1, len(asked), 1, key="learn-votes")
        votes = np.sum([filters.flags_of(scores, name) for name in asked], axis=0)
        show_rule(lesson, votes >= int(least))


def show_rule(lesson: Lesson, flagged: np.ndarray, verb: str = "flagged") -> None:
    """What a rule flags or leaves out, and with truth, what is right of it."""
    truth = filters.known_truth(lesson.scores)
    columns = st.columns(3)
    columns[0].metric(f"Images {verb}", count(flagged.sum()))
    if truth is None:
        st.caption("How many of these are right cannot be said: the truth is not known for this data.")
        return
    columns[1].metric("Poisoned images missed", count((truth & ~flagged).sum()))
    columns[2].metric(f"Clean images {verb}", count((flagged & ~truth).sum()))


def verdict_still(lesson: Lesson) -> None:
    run = lesson.run
    assert run is not None
    evidence.verdict_line(run)
    table = consensus_table(lesson)
    if len(table):
        st.table(table, hide_index=True)


@st.fragment
def cleaning(lesson: Lesson) -> None:
    """What each choice would remove; then what a real retraining did, or where to start one."""
    with friendly():
        run = lesson.run
        assert run is not None
        scores = lesson.scores
        rules = {"The suspects": filters.suspects_of(scores)}
        for name in COMPARED:
            if name in lesson.facts.detections:
                rules[f"What {filters.title_of(name)} flags"] = filters.flags_of(scores, name)
        rules["Nothing"] = np.zeros(len(scores), dtype=bool)
        st.markdown("**Try it.** What would you leave out?")
        names = list(rules)
        rule = st.segmented_control("Leave out", names, default=names[0], required=True, key="learn-remove")
        chosen = rules[rule if rule in rules else names[0]]
        show_rule(lesson, chosen, "left out")
        emptied = emptied_classes(lesson, chosen)
        if emptied:
            listed = ", ".join(plain(name, 40) for name in emptied[:5])
            st.warning(
                f"Nothing would be left of {listed}: the new model could not know it.", icon=":material/warning:"
            )
        st.markdown("##### What training again did")
        result = lesson.facts.retrained
        if result:
            st.caption(
                f"The newest retraining of this run, {plain(clean_views.describe(str(result.get('drop'))), 100)}."
            )
            clean_views.headline(result)
        else:
            st.caption("Nothing has been retrained in this run yet. It takes about as long as training did.")
        if st.button("Open Clean & retrain", icon=":material/cleaning_services:", key="learn-clean"):
            state.go("clean", run=run.id)


def emptied_classes(lesson: Lesson, removed: np.ndarray) -> list[str]:
    """Classes with labels of which nothing would be left."""
    labels = lesson.scores["label"].to_numpy()
    gone = np.setdiff1d(labels[removed], labels[~removed])
    return [evidence.name_of(lesson.names, int(number)) for number in gone]


def cleaning_still(lesson: Lesson) -> None:
    found, result = lesson.facts.suspects, lesson.facts.retrained
    text = f"Leaving the suspects out removes {plural(found.flagged, 'image')}"
    if found.caught is not None and found.alarms is not None and lesson.facts.poisoned is not None:
        missed = lesson.facts.poisoned - found.caught
        text += f": {count(missed)} poisoned ones are missed and {count(found.alarms)} clean ones lost"
    st.markdown(f"{text}.")
    before, after = result.get("before") or {}, result.get("after") or {}
    if not before or not after:
        st.markdown("Nothing has been retrained in this run yet.")
        return
    rows = [
        {
            "after leaving out": words,
            "accuracy": percent(part.get("accuracy")),
            "attack success rate": percent(part.get("attack_success_rate")),
        }
        for words, part in (("nothing", before), (plain(clean_views.describe(str(result.get("drop"))), 100), after))
    ]
    st.table(pd.DataFrame(rows), hide_index=True)
