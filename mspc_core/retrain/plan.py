"""What a retraining would leave out, before it starts: counts, classes, warnings, and what it must refuse. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import atomic, selection
from mspc_core.errors import InputError
from mspc_core.retrain import confirmed
from mspc_core.retrain.config import RELABEL, RetrainConfig
from mspc_core.retrain.kept import Choice
from mspc_core.runs import Run

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 20  # images, as for a scan
_MOST_SEEDS = 20
_HALF = 0.5


@dataclass(frozen=True)
class ClassCount:
    """One class of the scanned samples. kept counts relabelled samples under their new class."""

    number: int
    name: str
    images: int
    dropped: int
    kept: int


@dataclass(frozen=True)
class Plan:
    """config: with seeds filled in. dropped, relabelled: bool [N], in the order of the run's scores; never both.
    vanished: names of classes of which nothing would be kept. warnings: sentences."""

    config: RetrainConfig
    dropped: np.ndarray
    relabelled: np.ndarray
    choice: Choice
    classes: list[ClassCount] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def kept(self) -> int:
        return int((~self.dropped).sum())


def check_finished(run: Run) -> None:
    """Raises `InputError` unless the scan has ended with its verdict, and its data set is still there."""
    if not run.summary().get("complete"):
        state = run.status().state
        what = "is still at work: wait for it" if state in ("running", "queued") else f"is {state}: resume it first"
        raise InputError(f"The scan of run {run.id!r} {what}; retraining needs its verdict.")
    if not (run.folder / "model.safetensors").is_file():
        raise InputError(
            f"Run {run.id!r} keeps no model (it may have been handed over from Python), so nothing can be compared or "
            "trained again: scan the data set and let the scan train a model."
        )
    run.dataset()


def check_config(config: RetrainConfig) -> None:
    """Raises `InputError` for settings that cannot work."""
    if config.relabel not in RELABEL:
        raise InputError(f"Relabelling is {' or '.join(filter(None, RELABEL))}, or left out; not {config.relabel!r}.")
    if len(config.seeds) > _MOST_SEEDS or any(seed < 0 for seed in config.seeds):
        raise InputError(f"Seeds are up to {_MOST_SEEDS} numbers from 0, such as 0,1,2.")


def make_plan(run: Run, config: RetrainConfig) -> Plan:
    """Raises `InputError` where retraining cannot work: unfinished run, data gone, nothing dropped, too little kept."""
    check_config(config)
    check_finished(run)
    scores = run.scores()
    chosen = np.asarray(selection.dropped(run, config.drop, scores), dtype=bool)
    if not chosen.any():
        raise InputError(_nothing(config.drop))
    new = confirmed.read(run) if config.relabel else {}
    ids = scores["sample_id"]
    relabelled = chosen & ids.isin(list(new)).to_numpy(dtype=bool)
    if config.relabel and not relabelled.any():
        raise InputError(
            "No new label has been confirmed for these samples: confirm suggestions first, or retrain without them."
        )
    dropped = chosen & ~relabelled
    choice = Choice(frozenset(ids[dropped].tolist()), {str(key): new[str(key)] for key in ids[relabelled]})
    found = describe(run, scores, choice)
    _check_enough(found.classes)
    seeds = tuple(dict.fromkeys(config.seeds)) or (run.config().seed,)
    return replace(found, config=replace(config, seeds=seeds, run=run.id))


def describe(run: Run, scores: pd.DataFrame, choice: Choice) -> Plan:
    """Counts and warnings of a choice that was made already. scores: the run's table."""
    dropped, relabelled = (
        scores["sample_id"].isin(list(wanted)).to_numpy(dtype=bool) for wanted in (choice.dropped, choice.labels)
    )
    names = run.class_names()
    classes = _count(scores, dropped, choice, names)
    vanished = [row.name for row in classes if row.images and not row.kept]
    return Plan(RetrainConfig(), dropped, relabelled, choice, classes, vanished, _warnings(run, classes, vanished))


def recipe_of(run: Run) -> dict[str, Any] | None:
    """How the scan trained its model (fields of `train.TrainConfig`), None for the user's own weights."""
    try:
        about = atomic.read_object(run.folder / "model.json")
    except (OSError, ValueError):
        raise InputError("This run has no usable model: run the scan again.") from None
    return about.get("training") if about.get("trained_here") else None


def _nothing(drop: str) -> str:
    if drop == "flagged":
        return "The verdict flags nothing in this run, so there is nothing to drop."
    if drop == "rejected":
        return "Nothing was marked “remove” in this run's review, so there is nothing to drop: review it first."
    return f"The selection {drop!r} holds no sample of this run, so there is nothing to drop."


def _count(scores: pd.DataFrame, dropped: np.ndarray, choice: Choice, names: list[str]) -> list[ClassCount]:
    labels = scores["label"].to_numpy()
    given = labels.copy()
    new = scores["sample_id"].isin(list(choice.labels)).to_numpy(dtype=bool)
    given[new] = [choice.labels[key] for key in scores["sample_id"][new]]
    images, lost, kept = (
        np.bincount(values, minlength=len(names)) for values in (labels, labels[dropped], given[~dropped])
    )
    return [
        ClassCount(number, name, int(images[number]), int(lost[number]), int(kept[number]))
        for number, name in enumerate(names)
    ]


def _check_enough(classes: list[ClassCount]) -> None:
    kept, filled = sum(row.kept for row in classes), sum(row.kept > 0 for row in classes)
    if filled < 2:
        raise InputError(
            f"Dropping these would leave {'one class' if filled else 'no class'}: a model needs at least two; "
            "drop fewer."
        )
    if kept < FEWEST:
        raise InputError(f"Dropping these would leave {kept} images: training needs at least {FEWEST}; drop fewer.")


def _warnings(run: Run, classes: list[ClassCount], vanished: list[str]) -> list[str]:
    found = []
    total, lost = sum(row.images for row in classes), sum(row.dropped for row in classes)
    if vanished:
        named = ", ".join(vanished[:5]) + (", …" if len(vanished) > 5 else "")
        found.append(f"Every image of {named} would be dropped: the new model cannot know what nothing shows it.")
    thin = [row.name for row in classes if row.kept and row.dropped > _HALF * row.images]
    if thin:
        named = ", ".join(thin[:5]) + (", …" if len(thin) > 5 else "")
        found.append(f"More than half of the images of {named} would be dropped.")
    if lost > _HALF * total:
        found.append(f"{lost:,} of {total:,} images would be dropped: more than half of the data.")
    if recipe_of(run) is None:
        found.append(
            "This run scanned your own weights, so how they were trained is not known: the new model is trained by the "
            "default recipe, and differences to yours may come from that. The reference lines tell the two apart."
        )
    splits = run.dataset().info.split_counts
    if not splits.get("test") and not splits.get("val"):
        found.append("This data set has no test or validation images: no accuracy can be measured.")
    return found
