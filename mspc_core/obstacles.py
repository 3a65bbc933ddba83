"""Which detectors can run on this data set with this model, with what clean data, and what a poor model means.

A detector that cannot run is left out with its reason and the others run: `preflight` of a scan asks before the job
starts (the model is known by its architecture only), and the scan asks again once the model is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from mspc_core.data.store import Dataset
from mspc_core.detectors.base import CleanData, Situation, obstacle
from mspc_core.detectors.catalog import CATALOG
from mspc_core.engine.forward import device_of
from mspc_core.engine.rows import pick
from mspc_core.errors import InputError

_MOST_CLEAN = 2000  # the papers that use clean data take a few hundred to 2,000 images
_POOR = 0.5  # training accuracy below which most labels were not learned
_ABOVE_GUESSING = 0.1  # and at least this much better than naming the largest class every time


def clean_data(dataset: Dataset, scanned: np.ndarray, split: str, seed: int) -> CleanData | None:
    """Up to 2,000 images of the trusted split, drawn with the seed; None where no split is trusted.

    scanned: rows int64 that the scan suspects. Raises `InputError` for a split without images, or one that is scanned.
    """
    if not split:
        return None
    rows = dataset.indices(split)
    if not len(rows):
        raise InputError(f"There is no image in the split {split!r} of {dataset.info.name!r}: it cannot be trusted.")
    if np.isin(rows, scanned).any():
        raise InputError(f"The split {split!r} is scanned itself, because no split is called train: do not trust it.")
    rows = np.sort(np.random.default_rng([seed, 5]).permutation(rows)[:_MOST_CLEAN])
    return CleanData(pick(dataset.pixels, rows), dataset.manifest["label"].to_numpy()[rows].astype(np.int64))


def situation(labels: np.ndarray, *, trusted: bool, model: nn.Module | None = None, size: int = 32) -> Situation:
    """What a scan has to offer. labels: int [N], as given; only classes that occur are counted. size: of the images."""
    counts = np.unique(labels, return_counts=True)[1]
    here = Situation(classes=len(counts), smallest_class=int(counts.min(initial=len(labels))), clean_data=trusted)
    if model is None:
        return here
    normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    return replace(here, gradients=_gives_gradients(model, size), batch_norm=normalised)


def cannot_run(names: Iterable[str], here: Situation) -> dict[str, str]:
    """Name → reason of the detectors that cannot run. Raises `InputError` if none can."""
    names = list(names)
    reasons = {name: reason for name in names if (reason := obstacle(CATALOG[name].needs, here))}
    check_some_left(names, reasons)
    return reasons


def check_some_left(names: Iterable[str], reasons: dict[str, str]) -> None:
    """Raises `InputError` if every detector has a reason not to run."""
    if all(name in reasons for name in names):
        listed = "; ".join(f"{CATALOG[name].title}: {reason}" for name, reason in reasons.items())
        raise InputError(f"None of the chosen detectors can run here ({listed}): choose others.")


def check_finite(scores: np.ndarray) -> None:
    """Raises `InputError` where a detector has no number for a sample: a NaN compares as "not suspicious"."""
    broken = int((~np.isfinite(scores)).sum())
    if broken:
        raise InputError(f"it gave no finite score for {broken} of {len(scores)} samples")


def model_notes(predicted: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], accuracy: float) -> list[str]:
    """What a degenerate or poor model means for detection, in sentences. predicted, labels: int [N]."""
    notes = []
    if len(predicted) and (predicted == predicted[0]).all():
        notes.append(
            f"The model says {classes[int(predicted[0])]!r} of every image, so that no detector can tell images apart "
            "by its predictions: finding nothing here means nothing. Train longer or choose another model."
        )
    guessing = float(np.bincount(labels).max() / len(labels)) if len(labels) else 0.0
    if not notes and accuracy < max(_POOR, guessing + _ABOVE_GUESSING):
        notes.append(
            f"The model gives only {accuracy:.0%} of the training images their label. What it has not learned cannot "
            "be found in it: a backdoor may be missed, and clean samples may look odd. Train longer or choose another "
            "model."
        )
    return notes


def _gives_gradients(model: nn.Module, size: int) -> bool:
    """Does the output depend on the input in a way that can be differentiated? Tried on two black images."""
    training = model.training
    probe = torch.zeros(2, 3, size, size, device=device_of(model), requires_grad=True)
    try:
        with torch.enable_grad():
            return bool(model.eval()(probe).requires_grad)
    finally:
        model.train(training)
