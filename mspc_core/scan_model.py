"""The model of a scan: trained on the scanned images or loaded, shared among processes, measured, stored."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mspc_core import atomic, cleaning, evaluate
from mspc_core.data.store import Dataset
from mspc_core.detectors.base import SCALES
from mspc_core.engine import distributed
from mspc_core.engine.device import device_name, largest_training_batch
from mspc_core.engine.forward import allow_half
from mspc_core.engine.precision import choose_precision
from mspc_core.errors import Progress
from mspc_core.jobs import Reporter
from mspc_core.models import checkpoint, normalise, train
from mspc_core.models.zoo import ModelSpec, Normalised
from mspc_core.runs import Run, ScanConfig


def model_stage(
    run: Run,
    config: ScanConfig,
    dataset: Dataset,
    images: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
    reporter: Reporter,
    progress: Any,
) -> tuple[Normalised, dict[str, Any]]:
    if (run.folder / "model.json").is_file():
        reporter.skipped("model")
        model, about = checkpoint.load_saved_model(run.folder, device)
        share_model(model, ModelSpec.from_json(about))
        return model, about
    spec = ModelSpec(config.arch, len(dataset.info.classes), dataset.info.size)
    about = {"classes": list(dataset.info.classes), "device": device_name(device)}
    if distributed.members() > 1:
        about["processes"] = distributed.members()
    if config.checkpoint:
        model, choice = normalise.load_with_normalisation(
            Path(config.checkpoint).expanduser(), spec, config.normalise, images, labels, device
        )
        spec = replace(spec, mean=choice.mean, std=choice.std)
        about |= {"trained_here": False, "checkpoint": config.checkpoint, "notes": choice.notes}
    else:
        with distributed.step("train"):
            model, spec, chosen, history = train_here(run, config, dataset, images, labels, device, reporter, progress)
        train.write_early_losses(run.folder / "early_losses.npz", history)
        about |= {"trained_here": True, "training": asdict(chosen), "notes": []}
        about |= {"train_loss": history.train_loss, "train_accuracy_per_epoch": history.train_accuracy}
    share_model(model, spec)
    with distributed.step("measure"):
        about |= measured(model, dataset, images, labels, about["notes"])
    checkpoint.save_model(run.folder, model, spec, about)
    return model.eval(), {**spec.as_json(), **about}


def train_here(
    run: Run,
    config: ScanConfig,
    dataset: Dataset,
    images: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
    reporter: Reporter | None,
    progress: Progress | None,
) -> tuple[Normalised, ModelSpec, train.TrainConfig, train.History]:
    """A model of the scanned images, by all processes of the job. reporter: None in those that do not lead."""
    spec = ModelSpec(config.arch, len(dataset.info.classes), dataset.info.size)
    model, spec = cleaning.fresh_model(spec, images, config.seed, device)
    chosen = train.resolve(
        train.TrainConfig(epochs=config.epochs or None, augment=config.augment, seed=config.seed),
        len(images),
        config.arch,
        largest_training_batch(device, dataset.info.size),
    )

    def on_epoch(number: int, loss: float, hits: float) -> None:
        if reporter:
            reporter.log(f"epoch {number}: loss {loss:.4f}, training accuracy {hits:.4f}")

    history = train.train_model(
        model,
        images,
        labels,
        chosen,
        checkpoint=run.folder / "training.safetensors",
        progress=progress,
        should_stop=reporter.should_stop if reporter else None,
        on_epoch=on_epoch,
        shared=True,
    )
    return model, spec, chosen, history


def share_model(model: Normalised, spec: ModelSpec) -> None:
    """Give every process of the job this model."""
    with distributed.step("model", spec=spec.as_json()):
        distributed.model_from_leader(model)


def measured(
    model: Normalised, dataset: Dataset, images: np.ndarray, labels: np.ndarray, notes: list[str]
) -> dict[str, float | None]:
    """How well a new model does. notes: gets a sentence where the attack cannot be tried."""
    return {
        "train_accuracy": evaluate.accuracy(model, images, labels),
        "val_accuracy": cleaning.held_out_accuracy(model, dataset),
        "attack_success_rate": evaluate.attack_success_rate(model, dataset, notes),
    }


def precision_of(run: Run, model: nn.Module, about: dict[str, Any], images: np.ndarray) -> dict[str, Any]:
    """model.json with the precision that this model computes in; measured once a run."""
    if "precision" in about:
        allow_half(model, about["precision"]["used"] != "float32")
        return about
    about = {**about, "precision": choose_precision(model, images, SCALES).as_json()}
    atomic.write_json(run.folder / "model.json", about)
    return about
