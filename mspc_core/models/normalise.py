"""Which normalisation a model was trained with: measured from the data, or found out by trying the usual ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from mspc_core.engine.forward import predict_logits
from mspc_core.engine.rows import blocks, pick
from mspc_core.errors import InputError
from mspc_core.models.checkpoint import load_checkpoint
from mspc_core.models.zoo import ModelSpec, Normalised

Triple = tuple[float, float, float]
KNOWN: dict[str, tuple[Triple, Triple]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
_SAMPLE = 1024


@dataclass(frozen=True)
class Choice:
    mean: Triple
    std: Triple
    notes: list[str] = field(default_factory=list)


def pixel_statistics(images: np.ndarray) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel in [0, 1], from an even sample of uint8 images [N, H, W, 3]."""
    rows = np.linspace(0, len(images) - 1, min(len(images), 2 * _SAMPLE)).astype(int)
    levels, counts = np.arange(256) / 255.0, np.zeros((3, 256), dtype=np.int64)
    for _, part in blocks(pick(images, rows)):  # as numbers, 2,048 large images would take gigabytes
        counts += [np.bincount(part[..., channel].ravel(), minlength=256) for channel in range(3)]
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    std = np.maximum(np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(1)), 0.05)
    return tuple(np.round(mean, 4).tolist()), tuple(np.round(std, 4).tolist())


def load_with_normalisation(
    path: Path, spec: ModelSpec, wanted: str, images: np.ndarray, labels: np.ndarray, device: torch.device
) -> tuple[Normalised, Choice]:
    """Load a user's weights under the named normalisation, or, for "auto", the one whose predictions agree most with
    the labels. A checkpoint written by this tool brings its own. Raises `InputError`."""
    if wanted not in ("auto", "data", *KNOWN):
        raise InputError(f"Normalisation is one of auto, data, {', '.join(KNOWN)}; not {wanted!r}.")
    model = load_checkpoint(path, spec).to(device)
    if not torch.equal(model.mean.cpu(), torch.tensor(spec.mean).view(1, 3, 1, 1)):
        return model, Choice(_listed(model.mean), _listed(model.std), ["normalisation read from the checkpoint"])
    options = {**KNOWN, "data": pixel_statistics(images)}
    if wanted != "auto":
        options = {wanted: options[wanted]}
    rows = np.random.default_rng(0).permutation(len(images))[:_SAMPLE]
    agreement = {}
    for name, (mean, std) in options.items():
        _set(model, mean, std)
        agreement[name] = float((predict_logits(model, images, indices=rows).argmax(1).numpy() == labels[rows]).mean())
    best = max(agreement, key=lambda name: agreement[name])
    mean, std = options[best]
    _set(model, mean, std)
    notes = [f"normalisation {best}: the model agrees with {agreement[best]:.1%} of the labels"]
    if agreement[best] < max(0.3, 2.0 / spec.num_classes):
        notes.append(
            f"The model agrees with at most {agreement[best]:.1%} of the labels under every usual normalisation: "
            "its classes may be in another order, or it was trained on other data; the scores then mean little."
        )
    return model, replace(Choice(mean, std), notes=notes)


def _set(model: Normalised, mean: Triple, std: Triple) -> None:
    model.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
    model.std.copy_(torch.tensor(std).view(1, 3, 1, 1))


def _listed(buffer: torch.Tensor) -> Triple:
    red, green, blue = buffer.flatten().tolist()
    return red, green, blue
