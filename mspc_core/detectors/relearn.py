"""A short training of a fresh copy of the model on the given labels, for detectors that watch how samples are learned.

The model under suspicion only lends its architecture, so this works for a model that someone else trained, too. Where
memory runs out, the detector is left out: steps on half of a batch would be another training, because BatchNorm takes
its statistics from the batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mspc_core.engine import distributed
from mspc_core.engine.device import autocast, largest_training_batch
from mspc_core.engine.forward import counting, device_of, to_float
from mspc_core.engine.memory import in_one_piece
from mspc_core.engine.pixels import on_device
from mspc_core.engine.rows import will_need
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

_ATTEMPTS = 3  # a training that diverges is begun again at a tenth of the rate
# An image in training: one forward, and a backward to the activations and to the weights, about a forward each.
_EQUIVALENTS_PER_FORWARD = 3


@dataclass(frozen=True)
class Recipe:
    """Plain SGD at a constant rate, without augmentation (which can break a trigger)."""

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    seed: int = 0


class Relearned(NamedTuple):
    """model: in evaluation mode. table: one row an epoch with its mean loss and accuracy. equivalents: three for each
    image and epoch, of all attempts."""

    model: nn.Module
    table: list[dict[str, float]]
    equivalents: int
    notes: list[str]


def train_anew(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    recipe: Recipe,
    *,
    objective: Callable[[Tensor], Tensor] = lambda loss: loss,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Relearned:
    """Train a fresh copy of `model` on images (uint8 [N, H, W, 3]) and labels (int [N], in 0 … classes − 1).

    objective: what is minimised, of the mean cross-entropy of a batch. The given model is not changed. Raises
    `InputError` when a label is no class of the model, the training diverges at every rate tried, or memory runs out;
    `Cancelled`.

    Of several processes the first one trains, and the others get its model (without table and notes).
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"Labels must be between 0 and {classes - 1}, the model's classes: choose another model.")
    if distributed.leads():
        with distributed.alone():
            found = _first_that_converges(
                model, images, labels, recipe, objective=objective, progress=progress, should_stop=should_stop
            )
    else:
        found = Relearned(fresh_copy(model, recipe.seed).eval(), [], 0, [])
    distributed.model_from_leader(found.model)
    return found


def _first_that_converges(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    objective: Callable[[Tensor], Tensor],
    progress: Progress | None,
    should_stop: ShouldStop | None,
) -> Relearned:
    notes: list[str] = []
    equivalents = 0
    for attempt in range(_ATTEMPTS):
        rate = recipe.learning_rate / 10**attempt
        learner = fresh_copy(model, recipe.seed)
        with counting(learner) as count, in_one_piece():
            table = _train(learner, images, labels, recipe, rate, objective, progress, should_stop)
        equivalents += count.forwards * _EQUIVALENTS_PER_FORWARD
        if table is not None:
            commonest = np.bincount(labels).max() / len(labels)  # what a model that always says the same gets right
            if table and table[-1]["accuracy"] < commonest + 0.05 * (1.0 - commonest):
                notes.append("The short training learned little, so the scores say little: raise the number of epochs.")
            return Relearned(learner.eval(), table, equivalents, notes)
        notes.append(f"The training diverged at a learning rate of {rate:g} and was begun again at a tenth of it.")
    raise InputError("The detector's own short training diverged at every learning rate: leave this detector out.")


def _train(
    learner: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    rate: float,
    objective: Callable[[Tensor], Tensor],
    progress: Progress | None,
    should_stop: ShouldStop | None,
) -> list[dict[str, float]] | None:
    """Train in place. One row an epoch, or None when the loss stops being a finite number."""
    device = device_of(learner)
    optimizer = torch.optim.SGD(
        learner.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    targets, pixels = torch.from_numpy(labels.astype(np.int64)), on_device(images, device)
    generator = np.random.default_rng([recipe.seed, 1])
    size = min(recipe.batch_size, largest_training_batch(device, images.shape[1]))
    steps = math.ceil(len(images) / size)
    table = []
    with _own_random_state(device, recipe.seed + 1):
        for epoch in range(recipe.epochs):
            order = generator.permutation(len(images))
            losses, hits = 0.0, 0
            for step in range(steps):
                stop_if(should_stop)
                rows = np.sort(order[step * size : (step + 1) * size])
                if len(rows) < 2:
                    continue  # one image alone has no batch statistics; it is in another batch next epoch
                wanted = targets[torch.from_numpy(rows)].to(device)
                will_need(pixels, rows)
                with autocast(device, True):
                    logits = learner(to_float(pixels[rows], device))
                loss = F.cross_entropy(logits.float(), wanted)
                optimizer.zero_grad(set_to_none=True)
                objective(loss).backward()
                optimizer.step()
                losses += float(loss.detach()) * len(rows)
                hits += int((logits.argmax(1) == wanted).sum())
                if progress:
                    progress(epoch * steps + step + 1, recipe.epochs * steps, f"training anew, epoch {epoch + 1}")
            if not math.isfinite(losses) or not all(bool(w.isfinite().all()) for w in learner.state_dict().values()):
                return None
            table.append({"epoch": epoch + 1, "loss": losses / len(images), "accuracy": hits / len(images)})
    return table


def fresh_copy(model: nn.Module, seed: int) -> nn.Module:
    """A copy with new weights, ready to be trained. The global random state is left as it was.

    Layers are reset as their classes do. Weights that no layer resets (a transformer's class token or positions) are
    drawn from a normal distribution with the mean and the spread that they have, which keeps nothing of their pattern.
    """
    learner = copy.deepcopy(model).train()
    with _own_random_state(device_of(model), seed), torch.no_grad():
        for module in learner.modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for weight in module.parameters(recurse=False):
                weight.normal_(float(weight.mean()), float(weight.std(correction=0)))
    return learner.requires_grad_(True)


@contextmanager
def _own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch inside the block, and restore its random state afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
