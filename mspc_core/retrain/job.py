"""A retraining from the list of dropped samples to `retrain.json`, in stages that a killed job does not repeat.

trainings without the dropped samples (one a seed) → reference lines → measuring. Figures of every finished training
are on disk; an unfinished one goes on from its last epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mspc_core.engine.device import choose_threads, largest_training_batch, resolve_device
from mspc_core.errors import InputError
from mspc_core.jobs import Reporter
from mspc_core.models import train
from mspc_core.retrain import kept, measure
from mspc_core.retrain.config import RetrainConfig, Retraining
from mspc_core.retrain.plan import check_finished, recipe_of
from mspc_core.retrain.trainings import Recipe, forget_weights, trained
from mspc_core.runs import Run

AFTER, EVERYTHING, CLEAN = "after", "everything", "clean"
MEASURE = "Measure"
_WORDS = {AFTER: "Kept images", EVERYTHING: "Everything", CLEAN: "Clean part"}


@dataclass(frozen=True)
class Part:
    """What one or more trainings are made on: int64 rows of the data set and their labels, both [N]."""

    rows: np.ndarray
    labels: np.ndarray

    def same(self, other: Part) -> bool:
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.labels, other.labels)


def execute(folder: Path, reporter: Reporter) -> None:
    """The worker's whole task for a retraining's folder. Raises `InputError` and `Cancelled`."""
    retraining = Retraining(folder)
    config, run = retraining.config(), retraining.run
    check_finished(run)
    choose_threads()
    recipe = _recipe(run, resolve_device(config.device))
    parts = _parts(run, retraining.choice(), config)
    todo = _trainings(run, config, parts)
    steps = recipe.training.epochs or 1
    reporter.plan(
        {_title(*key, config): float(steps * len(parts[key[0]].rows)) for key in todo} | {MEASURE: _cost(run)}
    )
    results: dict[tuple[str, int], dict[str, Any]] = {}
    for kind, seed in todo:
        title = _title(kind, seed, config)
        part, place = parts[kind], folder / "trainings" / f"{kind}-{seed}"
        progress = reporter.stage(title, f"training on {len(part.rows):,} images")
        try:
            results[kind, seed] = trained(
                place,
                recipe,
                part.rows,
                part.labels,
                seed,
                progress=progress,
                should_stop=reporter.should_stop,
                log=reporter.log,
            )
        except InputError as error:
            raise InputError(
                f"{str(error).rstrip('.')} ({title.lower()}). The run and its earlier retrainings are as they were."
            ) from None
        if kind != AFTER:
            forget_weights(place)
    if CLEAN in parts and parts[CLEAN].same(parts[AFTER]):  # nothing missed, nothing lost: the same training
        results |= {(CLEAN, seed): results[AFTER, seed] for seed in config.seeds}
    reporter.stage(MEASURE, "comparing before and after")
    measure.write_result(retraining, run, recipe, results, reporter)


def _recipe(run: Run, device: torch.device) -> Recipe:
    """As the scan trained; where it did not, what a scan would choose for this data."""
    config, dataset, stored = run.config(), run.dataset(), recipe_of(run)
    if stored is not None:
        training = train.TrainConfig(**stored)
    else:
        training = train.resolve(
            train.TrainConfig(epochs=config.epochs or None, augment=config.augment, seed=config.seed),
            len(run.scores()),
            config.arch,
            largest_training_batch(device, dataset.info.size),
        )
    return Recipe(dataset, config.arch, training, device)


def _parts(run: Run, choice: kept.Choice, config: RetrainConfig) -> dict[str, Part]:
    scores = run.scores()
    rows, labels = scores["row"].to_numpy().astype(np.int64), scores["label"].to_numpy().astype(np.int64)
    found = {AFTER: Part(*kept.keep(choice, scores["sample_id"].to_numpy(), rows, labels))}
    if config.references:
        found[EVERYTHING] = Part(rows, labels)
        if not scores["is_backdoor"].isna().any():
            clean = ~scores["is_backdoor"].to_numpy(dtype=bool)
            found[CLEAN] = Part(rows[clean], labels[clean])
    return found


def _trainings(run: Run, config: RetrainConfig, parts: dict[str, Part]) -> list[tuple[str, int]]:
    """What has to be trained. The scan's own model is the one on everything with the scan's seed."""
    todo = [(AFTER, seed) for seed in config.seeds]
    if EVERYTHING in parts:
        known = run.config().seed if recipe_of(run) is not None else None
        todo += [(EVERYTHING, seed) for seed in config.seeds if seed != known]
    if CLEAN in parts and not parts[CLEAN].same(parts[AFTER]):
        todo += [(CLEAN, seed) for seed in config.seeds]
    return todo


def _title(kind: str, seed: int, config: RetrainConfig) -> str:
    return _WORDS[kind] if len(config.seeds) == 1 else f"{_WORDS[kind]}, seed {seed}"


def _cost(run: Run) -> float:
    """Of measuring, in images trained: some thousand forward passes."""
    return 2000.0 + 0.1 * len(run.scores())
