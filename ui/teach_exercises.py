"""Exercises for a class, from easy to hard, and their solutions, which are worked out from the run when they are "
"opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core import runs
from mspc_core.attacks.badnets import PLACES
from mspc_core.errors import InputError
from mspc_core.retrain import config as retrain_config
from mspc_core.runs import Run
from ui import cache, clean_views, evidence, filters, learn_compute, learn_evidence
from ui.learn_run import Lesson, facts_of, trigger_of
from ui.text import count, percent, plain, plural

LEVELS = ("easy", "medium", "hard")
BLEND = "demo-blend"
BLEND_COMMANDS = f"""\
python -m mspc_core poison demo-clean --attack blend --rate 0.05 --target stop --out {BLEND}
python -m mspc_core scan {BLEND}"""


@dataclass(frozen=True)
class Exercise:
    """level: place in `LEVELS`. minutes: about how long. task: Markdown. page, step: where in the app it is done.
    solve: draws the solution; it may load the model."""

    title: str
    level: int
    minutes: int
    task: str
    page: str
    solve: Callable[[Lesson], None]
    step: int | None = None
    code: str = ""


def move_the_sticker(lesson: Lesson) -> None:
    """Attack success in every place."""
    target = lesson.facts.target
    if lesson.run is None or target is None:
        return
    planted = trigger_of(lesson.run)
    rows = []
    for place in PLACES:
        found = learn_compute.attack_success(lesson.run, replace(planted, place=place), target)
        rows.append({"place": place + (" (planted)" if place == planted.place else ""), "attack success": found.after})
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config={"attack success": _SHARE}, width=420)
    smaller = learn_compute.attack_success(lesson.run, replace(planted, size=max(1, planted.size // 2)), target)
    white = learn_compute.attack_success(lesson.run, replace(planted, pattern="white"), target)
    st.markdown(
        f"At half the size: {percent(smaller.after)}. As a white square: {percent(white.after)}. The model has learned "
        "this pattern in this place, not “something stuck on”. A network that sees shifted images while it trains "
        "would be less particular about the place."
    )


_SHARE = st.column_config.NumberColumn(format="percent")


def count_by_hand(lesson: Lesson) -> None:
    scores, truth = lesson.scores, filters.known_truth(lesson.scores)
    values = scores["spc_score"].to_numpy(dtype=float)
    text = (
        "Count the ✓ from n = 2 to n = 12 and divide by 11 (n = 1 is the image itself and does not count). The number "
        "below the strip and *Scale by scale* must say the same."
    )
    if truth is not None:
        text += (
            f" Poisoned images have a mean SPC of {values[truth].mean():.2f}, clean ones of "
            f"{values[~truth].mean():.2f}; half of the clean ones have {np.median(values[~truth]):.2f} or less."
        )
    st.markdown(text)


def read_the_histogram(lesson: Lesson) -> None:
    found, facts = lesson.facts.detections.get("spc"), lesson.facts
    if found is None:
        return
    text = f"SPC flags {count(found.flagged)} of {count(facts.images)} images."
    if found.alarms is not None and found.caught is not None:
        rate = found.alarms / max(1, facts.clean or 0)
        text += f" {count(found.alarms)} of them are clean, a false-positive rate of {percent(rate)}."
    if facts.false_class is not None:
        number, images = facts.false_class
        text += (
            f" {count(images)} false alarms are called *{facts.name(number)}*: it is the class that the model gives to "
            "overexposed images (step 7). The table *Classes* on the Scores page shows it, too."
        )
    st.markdown(text)


def best_threshold(lesson: Lesson) -> None:
    scores, truth = lesson.scores, filters.known_truth(lesson.scores)
    if truth is None or truth.all() or not truth.any():
        st.markdown("The truth of this run is not known, so misses and false alarms cannot be counted.")
        return
    values = scores["spc_score"].to_numpy(dtype=float)
    highest, lowest = float(values[~truth].max()), float(values[truth].min())
    if lowest > highest:
        st.markdown(f"Yes: every threshold from {highest:.2f} to just below {lowest:.2f} separates them in this run.")
        return
    caught, tied = int((truth & (values > highest)).sum()), int((~truth & (values >= lowest)).sum())
    st.markdown(
        f"No. The highest SPC of a clean image is {highest:.2f}; above that lie {count(caught)} of the "
        f"{count(truth.sum())} poisoned images. To catch all of them, the threshold must lie below {lowest:.2f}, and "
        f"then at least {plural(tied, 'clean image')} come along. No threshold repairs a score that is the same for "
        "both."
    )


def find_the_region(lesson: Lesson) -> None:
    if lesson.run is None:
        return
    record = cache.summary_of(lesson.run).get("detectors", {}).get("transplant", {})
    rows = [row for row in (record.get("tables") or {}).get("classes") or [] if row.get("transplant_rate") is not None]
    if not rows:
        st.markdown("The transplant test has not run here.")
        return
    ranked = sorted(rows, key=lambda row: -float(row["transplant_rate"]))
    first = ranked[0]
    text = (
        f"*{lesson.facts.name(int(first['class']))}*: pasted elsewhere, its regions turn "
        f"{percent(float(first['transplant_rate']))} of other images on average"
    )
    if len(ranked) > 1:
        following = ranked[1]
        name = lesson.facts.name(int(following["class"]))
        text += f"; the next class, *{name}*, reaches {percent(float(following['transplant_rate']))}"
    planted = trigger_of(lesson.run)
    st.markdown(
        f"{text}. The average is over poisoned and clean images of the class. The region lies where the trigger was "
        f"planted ({planted.place})."
    )


def review_some(lesson: Lesson) -> None:
    found = lesson.facts.suspects
    text = (
        "The decisions are still there after a reload, and in another window: they are written to a database at once. "
        "*Undo* takes them back."
    )
    if found.caught is not None:
        text += f" Of the {plural(found.flagged, 'suspect')} of this run, {count(found.caught)} are really poisoned."
    st.markdown(text)


def clean_in_two_ways(lesson: Lesson) -> None:
    if lesson.run is None:
        return
    gone = learn_evidence.emptied_classes(lesson, filters.flags_of(lesson.scores, "spc"))
    text = "Both get rid of the backdoor if they leave out all poisoned images, but they do not cost the same."
    if gone:
        names = ", ".join(plain(name, 40) for name in gone[:5])
        text += (
            f" Leaving out what SPC flags leaves nothing of {names}, so the new model cannot know it, and its accuracy "
            "falls by about the share of such test images."
        )
    st.markdown(text)
    rows = []
    for retraining in retrain_config.list_retrainings(lesson.run):
        result = _result(retraining)
        after = result.get("after") or {}
        if after:
            rows.append(
                {
                    "trained": clean_views.describe(str(result.get("drop"))),
                    "accuracy": after.get("accuracy"),
                    "attack success": after.get("attack_success_rate"),
                }
            )
    if rows:
        shares = {"accuracy": _SHARE, "attack success": _SHARE}
        st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=shares, width=560)
    else:
        st.caption("Nothing has been retrained in this run yet; the results will be listed here.")


def _result(retraining: retrain_config.Retraining) -> dict[str, Any]:
    try:
        return retraining.result() if retraining.status().state == "finished" else {}
    except InputError:
        return {}


def another_attack(lesson: Lesson) -> None:
    st.markdown(
        "A blended picture covers the whole image, and its pixels are mixed with the object's: scaling drowns it as "
        "quickly, so SPC may see nothing. What it does everywhere can be *added* to other images, which is what the "
        "pattern transplant does; and the poisoned images are a second group under one label, which the feature "
        "mixture looks for."
    )
    run = _newest(BLEND)
    if run is None:
        st.caption(f"When a scan of {BLEND} has finished, its numbers are shown here.")
        return
    facts, rows = facts_of(run), []
    for name, found in facts.detections.items():
        rows.append(
            {
                "detector": filters.title_of(name),
                "flagged": found.flagged,
                "poisoned caught": found.caught,
                "false alarms": found.alarms,
                "AUROC": found.auroc,
            }
        )
    evidence.verdict_line(run)
    st.dataframe(pd.DataFrame(rows).round(3), hide_index=True, width="stretch")


def _newest(dataset: str) -> Run | None:
    """The newest finished scan of a data set."""
    for run in runs.list_runs():
        try:
            config = run.config()
            if (
                config.dataset == dataset
                and not config.parent
                and run.status().state == "finished"
                and run.has_scores()
            ):
                return run
        except InputError:
            continue
    return None


def beat_the_tests(lesson: Lesson) -> None:
    st.markdown(
        "- *Transplant* needs a region that works when it is moved: a trigger spread over the image, or one that is "
        "different in each image, defeats it.\n"
        "- *Pattern transplant* needs something in common that can be added: a warp (WaNet) adds nothing.\n"
        "- *Feature mixture* needs one class that stands out: all-to-all poison spreads over all classes.\n"
        "- *Second opinion* needs labels that contradict the image: clean-label poison does not.\n\n"
        "To beat one is easy, to beat all at once is hard, because each closes another way out. Attacks that were made "
        "against detectors exist (Qi and others, ICLR 2023). An attack that works on a tenth of the images only is "
        "harder to see, and worth less."
    )


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "Move the sticker",
        0,
        5,
        "In *Try the backdoor*, put the sticker into each of the other places, halve its size, and make it white. When "
        "does the attack still work? What has the model learned?",
        "learn",
        move_the_sticker,
        step=4,
    ),
    Exercise(
        "Count SPC by hand",
        0,
        5,
        "In *Make images brighter*, take one poisoned and two clean images. Count from the strip, work out SPC, and "
        "compare it with the number that the page shows.",
        "learn",
        count_by_hand,
        step=5,
    ),
    Exercise(
        "Read a histogram",
        1,
        8,
        "On the page *Scores*, choose SPC. How many images are flagged at the natural threshold? How many of them are "
        "clean? To which class do these belong, and why?",
        "scores",
        read_the_histogram,
    ),
    Exercise(
        "The perfect threshold",
        1,
        5,
        "In *All images at once*, look for a threshold that flags every poisoned image and no clean one. Is there one?",
        "learn",
        best_threshold,
        step=6,
    ),
    Exercise(
        "Find the region",
        1,
        8,
        "On the page *Mask*, find the class whose region turns most other images. Where in the image does the region "
        "lie? Try it with several images of that class.",
        "mask",
        find_the_region,
    ),
    Exercise(
        "Review ten suspects",
        1,
        8,
        "On the page *Review*, decide about ten suspects with the keys that are shown there. Reload the page. Are your "
        "decisions still there? Would you remove all suspects unseen?",
        "review",
        review_some,
    ),
    Exercise(
        "Clean in two ways",
        2,
        15,
        "On the page *Clean & retrain*, train again twice: once without the suspects, once without what SPC flags. "
        "Compare accuracy and attack success. What went wrong in one of them?",
        "clean",
        clean_in_two_ways,
    ),
    Exercise(
        "Another trigger",
        2,
        20,
        "Blend a picture faintly over a twentieth of the images and label them *stop*. Before you scan: which tests "
        "will find it? Then scan, and compare with your guess. On the command line:",
        "scores",
        another_attack,
        code=BLEND_COMMANDS,
    ),
    Exercise(
        "Beat the tests (on paper)",
        2,
        15,
        "You are the attacker and know all four tests of the verdict. For each, describe a trigger that it cannot see. "
        "Is there one that none of them sees, and what would it cost you?",
        "learn",
        beat_the_tests,
        step=10,
    ),
)
