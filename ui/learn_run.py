"""The run that the lesson is given on, and the numbers of it that its texts name. Nothing here is typed in.

The lesson is about the embedded demo, because there the trigger and the truth are known. Everything works, with fewer
numbers, where the truth is missing or the data set was deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from mspc_core import demo, runs
from mspc_core.attacks.badnets import BadNets
from mspc_core.errors import InputError
from mspc_core.retrain.config import latest_result
from mspc_core.runs import DEMO, Run, ScanConfig
from ui import cache, evidence, filters
from ui.text import plain

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Detection:
    """What one detector flagged. caught: of the poisoned images; alarms: of the clean ones; None without truth."""

    flagged: int
    caught: int | None = None
    alarms: int | None = None
    auroc: float | None = None


@dataclass(frozen=True)
class Facts:
    """Numbers of the run. Without a run: what the demo will have, and None for what only a run can tell.

    target: number of the target class. poisoned, clean: images that the model was trained on.
    false_class: the class to which most clean images belong that SPC flags, with their number.
    """

    classes: tuple[str, ...]
    images: int
    target: int | None
    poisoned: int | None = None
    rate: float | None = None
    accuracy: float | None = None
    attack_success: float | None = None
    detections: dict[str, Detection] = field(default_factory=dict)
    suspects: Detection = field(default_factory=lambda: Detection(0))
    false_class: tuple[int, int] | None = None
    retrained: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)

    @property
    def target_name(self) -> str:
        """The target class in Markdown."""
        return self.name(self.target) if self.target is not None else "the target class"

    @property
    def clean(self) -> int | None:
        return None if self.poisoned is None else self.images - self.poisoned

    def name(self, number: int) -> str:
        """A class's name in Markdown."""
        return plain(evidence.name_of(list(self.classes), number), 40)


@dataclass(frozen=True)
class Lesson:
    """run: the finished demo, or None. waiting: a scan of the demo that is still at work."""

    run: Run | None
    waiting: Run | None
    facts: Facts

    @property
    def scores(self) -> pd.DataFrame:
        assert self.run is not None
        return cache.scores_of(self.run)

    @property
    def names(self) -> list[str]:
        return list(self.facts.classes)


def find(selected: str | None = None) -> Lesson:
    """The selected run if it is a finished demo, else the newest finished demo. selected: id of a run, or None."""
    finished, waiting = [], None
    for run in runs.list_runs():
        state = _state_of(run)
        if state == "finished":
            finished.append(run)
        elif state in ("queued", "running") and waiting is None:
            waiting = run
    chosen = next((run for run in finished if run.id == selected), finished[0] if finished else None)
    return Lesson(chosen, waiting, facts_of(chosen) if chosen else before_the_run())


def _state_of(run: Run) -> str:
    """State of a scan of the demo as it was made; "" for anything else, also for scans of a cleaned part of it."""
    try:
        config = run.config()
        if not is_demo(config) or config.parent or config.kind != "scan":
            return ""
        state = run.status().state
    except InputError:
        return ""
    usable = run.has_scores() and bool(cache.summary_of(run).get("complete"))
    return state if state != "finished" or usable else ""


def is_demo(config: ScanConfig) -> bool:
    """Is this a scan of the embedded demo, started as such or from the stored data set?"""
    return config.source == DEMO or (config.dataset == demo.NAME and config.source == f"{demo.NAME}-clean")


def before_the_run() -> Facts:
    """What is known of the demo before it was scanned."""
    from mspc_core.data.signs.shapes import CLASSES

    return Facts(
        tuple(CLASSES),
        demo.TRAIN,
        CLASSES.index(demo.TARGET),
        poisoned=round(demo.RATE * demo.TRAIN),
        rate=demo.RATE,
    )


def facts_of(run: Run) -> Facts:
    """Numbers of a finished run (cached)."""
    names = ("scores.parquet", "summary.json", "retrain.json")
    return _facts(str(run.folder), *(cache.stamp(run.folder / name) for name in names))


@st.cache_data(max_entries=8, show_spinner=False)
def _facts(folder: str, scores_changed: int, summary_changed: int, retrained_changed: int) -> Facts:
    run = Run(Path(folder))
    summary, scores = cache.summary_of(run), cache.scores_of(run)
    verdict, recipe = summary.get("verdict") or {}, (summary.get("dataset") or {}).get("recipe") or {}
    truth, model = filters.known_truth(scores), summary.get("model") or {}
    targets = [int(row["class"]) for row in verdict.get("target_classes") or [] if "class" in row]
    target = recipe.get("target_class", targets[0] if targets else None)
    poisoned = None if truth is None else int(truth.sum())
    detections = {}
    for name in filters.detector_names(scores.columns):
        metrics = (summary.get("detectors") or {}).get(name, {}).get("metrics") or {}
        detections[name] = _detection(filters.flags_of(scores, name), truth, metrics.get("auroc"))
    return Facts(
        tuple(evidence.class_names(run)),
        len(scores),
        target,
        poisoned=poisoned,
        rate=None if poisoned is None else poisoned / max(1, len(scores)),
        accuracy=model.get("val_accuracy"),
        attack_success=model.get("attack_success_rate"),
        detections=detections,
        suspects=_detection(filters.suspects_of(scores), truth, None),
        false_class=_most_alarms(scores),
        retrained=latest_result(run),
        verdict=verdict,
    )


def _detection(flagged: np.ndarray, truth: np.ndarray | None, auroc: float | None) -> Detection:
    if truth is None:
        return Detection(int(flagged.sum()))
    return Detection(int(flagged.sum()), int((flagged & truth).sum()), int((flagged & ~truth).sum()), auroc)


def false_alarms(scores: pd.DataFrame, detector: str) -> np.ndarray:
    """Clean images that a detector flags, bool [N]; where the truth is unknown: those that the verdict lets go."""
    truth = filters.known_truth(scores)
    accused = filters.suspects_of(scores) if truth is None else truth
    found: np.ndarray = filters.flags_of(scores, detector) & ~accused
    return found


def _most_alarms(scores: pd.DataFrame) -> tuple[int, int] | None:
    counted = np.bincount(scores["predicted"].to_numpy()[false_alarms(scores, "spc")])
    return (int(counted.argmax()), int(counted.max())) if counted.sum() else None


def trigger_of(run: Run | None) -> BadNets:
    """The patch that was planted, from the run's recipe; the demo's sticker where none is recorded."""
    recipe = (cache.summary_of(run).get("dataset") or {}).get("recipe") if run else None
    if recipe and recipe.get("attack") == BadNets.name:
        from mspc_core.attacks.poison import trigger_from

        found = trigger_from(recipe)
        if isinstance(found, BadNets):
            return found
    return demo.STICKER
