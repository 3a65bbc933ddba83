"""Solutions of the exercises, worked out from the run when they are opened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core import runs
from mspc_core.attacks.badnets import PLACES
from mspc_core.errors import InputError
from mspc_core.retrain import config as retrain_config
from mspc_core.runs import Run
from ui import cache, clean_views, evidence, filters, images, learn_compute, learn_outcome
from ui.learn_run import Lesson, facts_of, trigger_of
from ui.text import count, percent, plain, plural

BLEND = "demo-blend"


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
        f"At half the size: {percent(smaller.after)}. As a white square: {percent(white.after)}. Where these are "
        "low, the model has learned this pattern in this place, not “something stuck on”. To think about: would a "
        "network that is trained on shifted images be as particular about the place?"
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
    if facts.false_class is not None and lesson.run is not None:
        number, images = facts.false_class
        text += f" {count(images)} false alarms are called *{facts.name(number)}*."
        if learn_compute.has_images(lesson.run) and learn_compute.ask_white(lesson.run) == number:
            text += " It is the class that the model gives to a white, overexposed image (step 7)."
        text += " The table *Classes* on the Scores page shows it, too."
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
    text += ". The average is over poisoned and clean images of the class."
    share = overlap(lesson.run, int(first["class"]))
    if share is not None:
        text += f" {percent(share, 0)} of the region's pixels lie where the trigger was planted."
    st.markdown(text)


def overlap(run: Run, number: int) -> float | None:
    """Share of a class's region that lies on the planted patch; None where either has no fixed place."""
    masks, planted = cache.masks_of(run).get("transplant"), trigger_of(run)
    if masks is None or number >= len(masks) or planted.place == "random":
        return None
    region = images.region_of(masks[number], 0.2)
    black, white = (np.full((1, *region.shape, 3), value, dtype=np.uint8) for value in (0, 255))
    patch = (learn_compute.stamp_trigger(black, planted) == learn_compute.stamp_trigger(white, planted)).all(-1)[0]
    return float((region & patch).sum() / region.sum()) if region.any() and patch.any() else None


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
    gone = learn_outcome.emptied_classes(lesson, filters.flags_of(lesson.scores, "spc"))
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
        "- *Transplant* needs a region that works when it is moved: a warp, or a trigger of its own in each image, "
        "defeats it. One that is spread over the image makes it unreliable: what it finds then may also turn others "
        "when cut from clean images.\n"
        "- *Pattern transplant* needs something in common that can be added: a warp (WaNet) adds nothing.\n"
        "- *Feature mixture* needs one class that stands out: all-to-all poison spreads over all classes.\n"
        "- *Second opinion* needs labels that contradict the image: clean-label poison does not.\n\n"
        "To beat one is easy, to beat all at once is hard, because each closes another way out. Attacks that were made "
        "against detectors exist (Qi and others, ICLR 2023). An attack that works on a tenth of the images only is "
        "harder to see, and worth less."
    )
