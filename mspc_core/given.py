"""A model that is in memory already, handed to a scan instead of being trained or loaded there.

A scan needs a module that takes float [B, 3, H, W] in [0, 1]; one that takes normalised pixels is wrapped, so that
normalisation becomes part of it and images are still scaled in pixel space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mspc_core import atomic, cleaning, evaluate
from mspc_core.api_results import TrainedModel
from mspc_core.data.store import Dataset
from mspc_core.engine.device import device_name
from mspc_core.engine.forward import device_of
from mspc_core.errors import InputError
from mspc_core.models import checkpoint
from mspc_core.models.normalise import KNOWN
from mspc_core.models.train import History, write_early_losses
from mspc_core.models.zoo import FROM_PYTHON, ModelSpec, Normalised, build_model

Statistics = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation of each channel, in [0, 1]


@dataclass(frozen=True)
class GivenModel:
    """model: takes [0, 1]. kept: its weights go into the run folder, because `spec` is enough to build it again.
    about: what model.json says beside the spec. history: of the training, where it was trained here."""

    model: Normalised
    spec: ModelSpec
    kept: bool
    about: dict[str, Any] = field(default_factory=dict)
    history: History | None = None

    @property
    def device(self) -> torch.device:
        return device_of(self.model)


def from_caller(model: object, normalise: str | Statistics | None, arch: str, dataset: Dataset) -> GivenModel | None:
    """What the Python interface was handed as a model, as a scan takes it; None where there is none.

    A trained model is taken as it is; for a module see `wrap`. Raises `InputError`.
    """
    if model is None:
        return None
    if isinstance(model, nn.Module):
        return wrap(model, normalise, arch, dataset)
    if not isinstance(model, TrainedModel):
        raise InputError(
            f"A {type(model).__name__} is no model: give a torch.nn.Module, a file of weights or what train returned."
        )
    if normalise is not None or arch:
        raise InputError("A model that train returned brings its normalisation and architecture: leave them out.")
    classes, size = len(dataset.info.classes), dataset.info.size
    if (model.spec.num_classes, model.spec.image_size) != (classes, size):
        raise InputError(
            f"The model was trained for {model.spec.num_classes} classes at {model.spec.image_size} px, but the data "
            f"set has {classes} at {size} px."
        )
    notes = [f"The model was trained before the scan, on {model.images:,} images."]
    return GivenModel(model.model, model.spec, True, {"trained_here": True, "notes": notes}, model.history)


def wrap(module: nn.Module, normalise: str | Statistics | None, arch: str, dataset: Dataset) -> GivenModel:
    """A caller's own module, ready to be scanned with this data set.

    normalise: what the module takes: "none" for pixels in [0, 1]; or the statistics by which its input is normalised,
    as (mean, std) or as one of the names in `KNOWN`. arch: the architecture, if it is one of the zoo's (then the run
    keeps the weights), else "". Raises `InputError` where the module does not fit the data.
    """
    if next(module.parameters(), None) is None:
        raise InputError("The model has no parameters: give a trained torch.nn.Module.")
    if normalise is None:
        raise InputError(
            'Say what the model takes: normalise="none" for pixels in [0, 1], or the statistics by which its input is '
            'normalised, such as "imagenet" or ((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)).'
        )
    mean, std = _statistics(normalise)
    kept = bool(arch)
    name = arch or FROM_PYTHON + type(module).__name__
    spec = ModelSpec(name, len(dataset.info.classes), dataset.info.size, mean, std)
    device = device_of(module)
    model = Normalised(_rebuilt(module, spec) if kept else module, mean, std)
    if kept:
        model.to(device)
    else:  # the module stays where it is, in parts if need be
        model.mean, model.std = model.mean.to(device), model.std.to(device)
    _check_outputs(model, spec)
    takes = "pixels in [0, 1]" if normalise == "none" else f"pixels normalised by mean {mean} and deviation {std}"
    note = f"The model was given from Python; it takes {takes}."
    return GivenModel(model, spec, kept, {"trained_here": False, "notes": [note]})


def use(
    folder: Path, given: GivenModel, dataset: Dataset, images: np.ndarray, labels: np.ndarray
) -> tuple[Normalised, dict[str, Any]]:
    """The model stage of a scan. images: uint8 [N, H, W, 3], labels: int64 [N], of the scanned rows.

    Writes model.json, and the weights where they are kept. Raises `InputError` if the run was begun with another model.
    """
    digest = fingerprint(given.model)
    if (folder / "model.json").is_file():
        found: dict[str, Any] = atomic.read_json(folder / "model.json")
        if found.get("fingerprint") != digest:
            raise InputError("This run was begun with another model: resume it with that one, or start a new scan.")
        return given.model, found
    about = {**given.about, "classes": list(dataset.info.classes), "device": device_name(given.device)}
    about |= {"fingerprint": digest, "train_accuracy": evaluate.accuracy(given.model, images, labels)}
    about["val_accuracy"] = cleaning.held_out_accuracy(given.model, dataset)
    about["notes"] = list(about["notes"])
    about["attack_success_rate"] = evaluate.attack_success_rate(given.model, dataset, about["notes"])
    if given.history is not None:
        write_early_losses(folder / "early_losses.npz", given.history)
    if given.kept:
        checkpoint.save_model(folder, given.model, given.spec, about)
    else:
        atomic.write_json(folder / "model.json", {**given.spec.as_json(), **about})
    return given.model, {**given.spec.as_json(), **about}


@contextmanager
def untouched(model: object) -> Iterator[None]:
    """Whatever the block does, every part of a caller's module is in the mode (training or evaluation) it was in."""
    module = model.model if isinstance(model, TrainedModel) else model
    modes = [(part, part.training) for part in module.modules()] if isinstance(module, nn.Module) else []
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def fingerprint(model: nn.Module) -> str:
    """sha256 over names, shapes and values of all weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(json.dumps([name, list(tensor.shape), str(tensor.dtype)]).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _statistics(normalise: str | Statistics) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if isinstance(normalise, str):
        if normalise not in KNOWN:
            raise InputError(f"Normalisation is one of {', '.join(KNOWN)}, or (mean, std); not {normalise!r}.")
        return KNOWN[normalise]
    try:
        (r, g, b), (dr, dg, db) = normalise
        mean, std = (float(r), float(g), float(b)), (float(dr), float(dg), float(db))
    except (TypeError, ValueError):
        raise InputError("Normalisation by (mean, std) takes three numbers each, one a channel.") from None
    if min(std) <= 0 or not np.isfinite([*mean, *std]).all():
        raise InputError("Normalisation takes finite means and standard deviations above 0, for pixels in [0, 1].")
    return mean, std


def _rebuilt(module: nn.Module, spec: ModelSpec) -> nn.Module:
    """The zoo's own copy of the module, so that what is kept is what was scanned."""
    copy: nn.Module = build_model(spec).backbone
    try:
        copy.load_state_dict(module.state_dict())
    except RuntimeError:
        raise InputError(
            f'The model is not a {spec.arch} for {spec.num_classes} classes as it is built here: leave out arch="…", '
            "then the module itself is used."
        ) from None
    return copy


def _check_outputs(model: Normalised, spec: ModelSpec) -> None:
    """One forward pass of two grey images. Raises `InputError` if it fails or gives something else than logits."""
    probe = torch.full((2, 3, spec.image_size, spec.image_size), 0.5, device=device_of(model))
    try:
        with torch.inference_mode():
            logits = model.eval()(probe)
    except Exception as error:  # the caller's code may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"The model cannot take {spec.image_size}×{spec.image_size} images ({reason}).") from error
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (2, spec.num_classes):
        shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(
            f"The model must give logits of shape [B, {spec.num_classes}], one for each class of the data set; it "
            f"gives {shape} for two images."
        )
