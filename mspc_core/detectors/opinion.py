"""A second model that is not meant to see a trigger: small images, other geometry, without what is learned first.

A trigger is a detail that a network learns because it is easy. So the second model gets images of half the size or less
(fine patterns and small warps average out), flipped and shifted at random (a place means little), and is not shown the
samples whose loss falls fastest in a short first training: that is how strong triggers betray themselves (Li et al.,
"Anti-Backdoor Learning", NeurIPS 2021), while dropping easy clean samples costs little. Two halves of the data judge
each other, so that nobody judges a sample it was trained on.

Where memory runs out in a training, the opinion is not given: steps on half of a batch would be another training,
because BatchNorm takes its statistics from the batch. Predictions go on in halves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mspc_core.engine import distributed
from mspc_core.engine.device import largest_training_batch
from mspc_core.engine.forward import predict_logits, to_float
from mspc_core.engine.memory import in_one_piece
from mspc_core.engine.rows import Collected, pick
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if
from mspc_core.models.train import History, TrainConfig, resolve, train_model
from mspc_core.models.zoo import ModelSpec, build_model

_SMALLEST, _LARGEST = 8, 32  # side of the blurred image
_SHARP = 64  # largest side of the images in the first training
_CHUNK_PIXELS = 1024 * 32 * 32  # that are shrunk at a time
_TRAINING_COST = 3  # forward-equivalents of a training step: forward, and backward to activations and weights


@dataclass(frozen=True)
class Blinding:
    """first_epochs: of the short training on sharp images that finds out what is learned first; its first epoch, where
    little is learned yet, is not counted. quickest: share of the samples left out for that reason; at least half of
    every class stays. epochs: of the trainings that give the opinion; 0 makes about 200,000 images in all."""

    first_epochs: int = 4
    quickest: float = 0.25
    epochs: int = 0

    def __post_init__(self) -> None:
        if self.first_epochs < 1 or self.epochs < 0 or not 0 <= self.quickest < 1:
            raise InputError(
                "A second opinion needs at least one first epoch, epochs of at least 0 and a quickest share in [0, 1)."
            )


class Opinion(NamedTuple):
    """probabilities: float32 [N, C], of a model that was not trained on the sample. kept: bool [N], shown in training.
    equivalents: forward-equivalents at full size; a blurred image counts by its share of pixels."""

    probabilities: np.ndarray
    kept: np.ndarray
    equivalents: int


def blurred(images: np.ndarray) -> np.ndarray:
    """Half the side, between 8 and 32 pixels: uint8 [N, H, W, 3] → [N, S, S, 3]."""
    return shrunk(images, int(np.clip(images.shape[1] // 2, _SMALLEST, _LARGEST)))


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Area averaging: uint8 [N, H, W, 3] → [N, side, side, 3]."""
    if images.shape[1:3] == (side, side):
        return images
    kept, each = Collected(len(images)), max(1, _CHUNK_PIXELS // (images.shape[1] * images.shape[2]))
    for start in range(0, len(images), each):
        batch = to_float(images[start : start + each], torch.device("cpu"))
        small = F.interpolate(batch, size=(side, side), mode="area")
        kept.add((small * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return kept.array()


def slow_to_learn(losses: np.ndarray, labels: np.ndarray, quickest: float) -> np.ndarray:
    """All samples but the `quickest` share by mean early loss, bool [N]; at least half of every class stays.

    losses: float [E, N], the loss of each sample when it was met in epochs 1 … E; labels: int [N].
    """
    early = losses[1:].mean(0) if len(losses) > 1 else losses.mean(0)
    cut = np.quantile(early, quickest)
    kept = np.ones(len(early), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(early[rows], kind="stable")]
        kept[rows[: min(int((early[rows] < cut).sum()), len(rows) // 2)]] = False
    return kept


def second_opinion(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    config: Blinding,
    *,
    seed: int,
    device: torch.device,
    shown: np.ndarray | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Opinion:
    """Class probabilities of every sample by models that did not train on it and are hard to fool by a trigger.

    images: uint8 [N, H, W, 3]; labels: int64 [N]. shown: bool [N], the samples to train on where something is known of
    them already; then nothing has to be found out by a first training. Raises `Cancelled`, `InputError` (training
    diverged, or memory ran out).
    """
    stop_if(should_stop)
    small, sharp = blurred(images), shrunk(images, min(_SHARP, images.shape[1]))
    full = images.shape[1] * images.shape[2]
    epochs = config.epochs or int(np.clip(round(200_000 / len(small)), 8, 40))
    first_epochs = config.first_epochs if shown is None else 0
    done, total = 0.0, float(len(images) * (first_epochs * sharp[0].size + epochs * small[0].size))

    def train(
        data: np.ndarray, rows: np.ndarray, length: int, augment: bool, number: int, message: str
    ) -> tuple[nn.Module, History]:
        nonlocal done
        before, size = done, len(rows) * length * data[0].size

        def report(step: int, of: int, _: str) -> None:
            if progress:
                progress(round(1000 * min(1.0, (before + size * step / max(1, of)) / total)), 1000, message)

        shown_here = pick(data, rows)
        model = _fresh(shown_here, classes, seed + number, device)
        recipe = TrainConfig(epochs=length, augment=augment, seed=seed + number)
        recipe = resolve(recipe, len(rows), "small-cnn", largest_training_batch(device, data.shape[1]))
        # Training seeds the global generator.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), in_one_piece():
            history = train_model(model, shown_here, labels[rows], recipe, progress=report, should_stop=should_stop)
        done += size
        return model, history

    if shown is None:
        first, kept = "finding out what is learned first", np.ones(len(images), dtype=bool)
        if distributed.turn_of(0):
            _, history = train(sharp, np.arange(len(images)), first_epochs, False, 0, first)
            kept = slow_to_learn(history.early_losses, labels, config.quickest)
        kept = distributed.array_from_leader(kept)
    else:
        kept = shown
    side = np.random.default_rng([seed, 11]).permutation(len(small)) % 2
    found = torch.zeros(len(small), classes)
    for half in (0, 1):
        if not distributed.turn_of(half):  # another process trains this one
            continue
        rows = np.flatnonzero((side != half) & kept)
        model, _ = train(small, rows, epochs, True, 1 + half, "asking for a second opinion")
        judged = np.flatnonzero(side == half)
        with distributed.alone():
            logits = predict_logits(model, small, indices=judged, should_stop=should_stop)
        found[torch.from_numpy(judged)] = logits.softmax(1)
    done = distributed.total(round(done))[0]
    forwards = (_TRAINING_COST * done + small.size) / (3 * full)  # done counts channel values
    return Opinion(distributed.summed(found).numpy(), kept, round(forwards))


def _fresh(images: np.ndarray, classes: int, seed: int, device: torch.device) -> nn.Module:
    from mspc_core.models.normalise import pixel_statistics

    mean, std = pixel_statistics(images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(ModelSpec("small-cnn", classes, images.shape[1], mean, std)).to(device)
