"""Steps 10 and 11 of the lesson: the verdict as a consensus, cleaning and training again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from ui import cache, clean_views, evidence, filters, state, verdicts
from ui.errors import friendly
from ui.learn_evidence import COMPARED
from ui.learn_run import Lesson
from ui.text import count, percent, plain, plural


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
        st.markdown("### What training again did")
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
