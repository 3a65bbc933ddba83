"""Train again on the rows that are kept, and measure what that did to accuracy and to the attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mspc_core import evaluate
from mspc_core.data.store import Dataset
from mspc_core.engine.device import largest_training_batch
from mspc_core.engine.rows import pick
from mspc_core.errors import InputError, Progress, ShouldStop
from mspc_core.models import normalise, train
from mspc_core.models.zoo import ModelSpec, Normalised, build_model

_FEWEST = 20  # as for a scan


@dataclass(frozen=True)
class Retrained:
    """A model of the kept rows. accuracy: on the test split (or the validation split), None without one.
    attack_success_rate: None without a recipe or a test split."""

    model: Normalised
    spec: ModelSpec
    images: int
    accuracy: float | None
    attack_success_rate: float | None
    history: train.History


def fresh_model(spec: ModelSpec, images: np.ndarray, seed: int, device: torch.device) -> tuple[Normalised, ModelSpec]:
    """An untrained model that normalises by the statistics of these images (uint8 [N, H, W, 3]), and its spec.

    Weights are drawn from the seed alone, whatever drew numbers earlier.
    """
    mean, std = normalise.pixel_statistics(images)
    spec = replace(spec, mean=mean, std=std)
    torch.manual_seed(seed)
    return build_model(spec).to(device), spec


def retrain(
    dataset: Dataset,
    rows: np.ndarray,
    *,
    arch: str,
    training: train.TrainConfig,
    device: torch.device,
    labels: np.ndarray | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    on_epoch: Callable[[int, float, float], None] | None = None,
) -> Retrained:
    """Train `arch` from new weights on the given rows alone, with the given recipe and its seed.

    rows: int64 [N] into the data set, ascending. labels: int64 [N], where they were corrected; else as stored.
    training: may be resolved already, then epochs and batch size are those of the training it is compared with.
    checkpoint, on_epoch: see `train.train_model`. Raises `Cancelled`, and `InputError` if too little is kept.
    """
    kept = dataset.manifest["label"].to_numpy()[rows].astype(np.int64) if labels is None else labels
    if len(rows) < _FEWEST or len(np.unique(kept)) < 2:
        raise InputError(
            f"{len(rows)} images of {len(np.unique(kept))} classes are kept: training needs at least {_FEWEST} images "
            "of two classes; drop fewer."
        )
    images = pick(dataset.pixels, rows)
    spec = ModelSpec(arch, len(dataset.info.classes), dataset.info.size)
    model, spec = fresh_model(spec, images, training.seed, device)
    chosen = train.resolve(training, len(rows), arch, largest_training_batch(device, dataset.info.size))
    history = train.train_model(
        model,
        images,
        kept,
        chosen,
        checkpoint=checkpoint,
        progress=progress,
        should_stop=should_stop,
        on_epoch=on_epoch,
    )
    return Retrained(
        model, spec, len(rows), held_out_accuracy(model, dataset), evaluate.attack_success_rate(model, dataset), history
    )


def held_out_accuracy(model: Normalised, dataset: Dataset) -> float | None:
    """Accuracy on the test split, or the validation split where there is no test split; None without either."""
    held = dataset.indices("test")
    held = held if len(held) else dataset.indices("val")
    return evaluate.accuracy(
        model, pick(dataset.pixels, held), dataset.manifest["label"].to_numpy()[held].astype(np.int64)
    )
