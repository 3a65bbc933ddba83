"""Seconds until a model has reached a stated accuracy: our recipe and a plain loop, epoch by epoch in turns.

The plain loop is what most people would write: a DataLoader over float32 tensors, batches of 128, SGD with rate 0.1,
momentum 0.9 and weight decay 5e-4 (Pal et al. 2024) under a cosine, float32. Measuring the accuracy is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import load, seconds_of
from mspc_core import cleaning, evaluate
from mspc_core.bench import plan, run
from mspc_core.data.store import Dataset
from mspc_core.engine.device import largest_training_batch
from mspc_core.errors import Cancelled
from mspc_core.models import train
from mspc_core.models.zoo import ModelSpec
from mspc_core.scanning import pixels_of, scanned_rows

_Epochs = Iterator[tuple[float, float]]  # seconds so far, accuracy


@dataclass(frozen=True)
class Recipe:
    """count: training images. goal: accuracy on clean test images. epochs: of our one cycle; plain_epochs: of the plain
    loop's cosine, which may take more."""

    arch: str
    count: int
    goal: float
    epochs: int
    plain_epochs: int


RECIPES = (
    Recipe("small-cnn", 10_000, 0.60, epochs=6, plain_epochs=15),
    Recipe("resnet18", 2_000, 0.40, epochs=8, plain_epochs=20),
)


def compare(recipe: Recipe, whole: Dataset, device: torch.device, seed: int = 0, test: int = 1000) -> dict[str, Any]:
    """Both on the same images: seconds to the goal (None: not reached), and accuracy after each epoch."""
    begun = load()
    data = run.subset(whole, plan.Setting("speed", train=recipe.count, test=test, arch=""), seed)
    labels = data.manifest["label"].to_numpy().astype(np.int64)
    rows, held_out = scanned_rows(data), data.indices("test")
    task = _Task(
        recipe,
        np.array(pixels_of(data, rows)),
        labels[rows],
        (np.array(pixels_of(data, held_out)), labels[held_out]),
        len(data.info.classes),
        seed,
        device,
    )
    found = {"ours": _until(_ours(task), recipe.goal), "plain": _until(_plain(task), recipe.goal)}
    both = found["ours"]["seconds_to_goal"], found["plain"]["seconds_to_goal"]
    faster = round(both[1] / both[0], 2) if both[0] and both[1] else None
    return {
        "recipe": asdict(recipe),
        **found,
        "ours_faster": faster,
        "seconds_of_an_epoch": {name: one["epochs"][-1][0] / len(one["epochs"]) for name, one in found.items()},
        "load_at_start_and_end": [begun, load()],
    }


@dataclass(frozen=True)
class _Task:
    recipe: Recipe
    images: np.ndarray
    labels: np.ndarray
    test: tuple[np.ndarray, np.ndarray]
    classes: int
    seed: int
    device: torch.device

    def model(self) -> nn.Module:
        spec = ModelSpec(self.recipe.arch, self.classes, self.images.shape[1])
        return cleaning.fresh_model(spec, self.images, self.seed, self.device)[0]

    def accuracy(self, model: nn.Module) -> float:
        training = model.training
        found = evaluate.accuracy(model, *self.test)
        model.train(training)
        return found or 0.0


def _until(epochs: Callable[[Callable[[float, float], bool]], None], goal: float) -> dict[str, Any]:
    """Run epochs until the goal is reached."""
    curve: list[list[float]] = []

    def reached(seconds: float, accuracy: float) -> bool:
        curve.append([round(seconds, 2), round(accuracy, 4)])
        return accuracy >= goal

    epochs(reached)
    last = curve[-1]
    return {"seconds_to_goal": last[0] if last[1] >= goal else None, "epochs": curve}


def _ours(task: _Task) -> Callable[[Callable[[float, float], bool]], None]:
    def epochs(reached: Callable[[float, float], bool]) -> None:
        model, spent, paused, done = task.model(), [0.0], [0.0], [False]
        config = train.TrainConfig(epochs=task.recipe.epochs, seed=task.seed)
        largest = largest_training_batch(task.device, task.images.shape[1])
        config = train.resolve(config, len(task.images), task.recipe.arch, largest)

        def after(number: int, loss: float, accuracy: float) -> None:
            now = clock()
            spent[0] += now - paused[0]
            done[0] = reached(spent[0], task.accuracy(model))
            paused[0] = clock()

        clock = _clock(task.device)
        paused[0] = clock()
        with suppress(Cancelled):
            train.train_model(model, task.images, task.labels, config, on_epoch=after, should_stop=lambda: done[0])

    return epochs


def _plain(task: _Task) -> Callable[[Callable[[float, float], bool]], None]:
    def epochs(reached: Callable[[float, float], bool]) -> None:
        model = task.model().to(memory_format=torch.contiguous_format)
        images = torch.from_numpy(task.images).permute(0, 3, 1, 2).float() / 255
        data = TensorDataset(images.contiguous(), torch.from_numpy(task.labels))
        loader = DataLoader(data, batch_size=128, shuffle=True, generator=torch.Generator().manual_seed(task.seed))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.recipe.plain_epochs * len(loader))

        def epoch() -> None:
            model.train()
            for batch, wanted in loader:
                loss = F.cross_entropy(model(batch.to(task.device)), wanted.to(task.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

        spent = 0.0
        for _ in range(task.recipe.plain_epochs):
            spent += seconds_of(task.device, epoch)
            if reached(spent, task.accuracy(model)):
                break

    return epochs


def _clock(device: torch.device) -> Callable[[], float]:
    import time

    if device.type == "cpu":
        return time.process_time

    def waited() -> float:
        seconds_of(device, lambda: None)
        return time.perf_counter()

    return waited
