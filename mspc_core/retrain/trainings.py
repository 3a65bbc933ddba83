"""One training of a retraining job, found again after a kill, and the figures of its model.

<folder>/figures.json        there only when the training is done; it vouches for the files beside it
<folder>/checkpoint.safetensors   the last finished epoch of a training that is under way
<folder>/model.safetensors, model.json, early_losses.npz   as in a run folder
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mspc_core import atomic, cleaning, evaluate
from mspc_core.data.store import Dataset
from mspc_core.engine.device import device_name, largest_training_batch
from mspc_core.engine.forward import predict_logits
from mspc_core.engine.rows import pick
from mspc_core.errors import Progress, ShouldStop
from mspc_core.models import checkpoint, train
from mspc_core.models.zoo import Normalised
from mspc_core.retrain import figures

FIGURES, _WEIGHTS = "figures.json", "model.safetensors"


@dataclass(frozen=True)
class Recipe:
    """What all trainings of a job share. training: with epochs and batch size as the scan's, where it trained."""

    dataset: Dataset
    arch: str
    training: train.TrainConfig
    device: torch.device


def trained(
    folder: Path,
    recipe: Recipe,
    rows: np.ndarray,
    labels: np.ndarray,
    seed: int,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Figures and curves of a model trained on the rows with this seed; trains only what is not there yet.

    rows, labels: int64 [N]. Raises `InputError` when training diverges and `Cancelled`.
    """
    if (folder / FIGURES).is_file():
        stored: dict[str, Any] = atomic.read_json(folder / FIGURES)
        return stored
    folder.mkdir(parents=True, exist_ok=True)
    dataset, device = recipe.dataset, recipe.device
    chosen = train.resolve(
        train.TrainConfig(**{**asdict(recipe.training), "seed": seed}),
        len(rows),
        recipe.arch,
        largest_training_batch(device, dataset.info.size),
    )
    found = cleaning.retrain(
        dataset,
        rows,
        arch=recipe.arch,
        training=chosen,
        device=device,
        labels=labels,
        checkpoint=folder / "checkpoint.safetensors",
        progress=progress,
        should_stop=should_stop,
        on_epoch=lambda n, loss, hit: log(f"epoch {n}: loss {loss:.4f}, training accuracy {hit:.4f}"),
    )
    about = {
        "classes": list(dataset.info.classes),
        "device": device_name(device),
        "trained_here": True,
        "training": asdict(chosen),
        "notes": [],
        "train_loss": found.history.train_loss,
        "train_accuracy_per_epoch": found.history.train_accuracy,
        "train_accuracy": evaluate.accuracy(found.model, pick(dataset.pixels, rows), labels),
        "val_accuracy": found.accuracy,
        "attack_success_rate": found.attack_success_rate,
    }
    train.write_early_losses(folder / "early_losses.npz", found.history)
    checkpoint.save_model(folder, found.model, found.spec, about)
    by_class = class_figures(found.model, dataset)
    result = figures.figure(found.accuracy, found.attack_success_rate, by_class, seed)
    curves = {"loss": found.history.train_loss, "accuracy": found.history.train_accuracy}
    result = {**result, "images": len(rows), "curves": curves, "training": asdict(chosen)}
    atomic.write_json(folder / FIGURES, result)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return result


def forget_weights(folder: Path) -> None:
    """Figures of a reference line stay, its weights are of no further use."""
    for name in (_WEIGHTS, "model.json", "early_losses.npz"):
        (folder / name).unlink(missing_ok=True)


def held_out(dataset: Dataset) -> np.ndarray:
    """Rows int64 of the test split, or of the validation split; none where there is neither."""
    rows = dataset.indices("test")
    return rows if len(rows) else dataset.indices("val")


def class_figures(model: nn.Module, dataset: Dataset) -> dict[str, float | None]:
    """Held-out accuracy of each class; None for all where nothing is held out."""
    rows = held_out(dataset)
    if not len(rows):
        return dict.fromkeys(dataset.info.classes)
    predicted = predict_logits(model, pick(dataset.pixels, rows)).argmax(1).numpy()
    labels = dataset.manifest["label"].to_numpy()[rows].astype(np.int64)
    return figures.per_class_accuracy(predicted, labels, dataset.info.classes)


def scanned_figures(model: Normalised, about: dict[str, Any], dataset: Dataset, seed: int) -> dict[str, Any]:
    """The same figures of the scan's own model. about: its model.json."""
    return figures.figure(
        about.get("val_accuracy"), about.get("attack_success_rate"), class_figures(model, dataset), seed
    )
