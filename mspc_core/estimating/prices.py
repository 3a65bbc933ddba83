"""What one image costs here and now: a second or two of the real passes with this model on this machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mspc_core.detectors.mspc import scaled_divergence
from mspc_core.engine.device import gradient_batch_for, largest_training_batch
from mspc_core.engine.forward import device_of, frozen, predict_logits, scaled_agreement, to_float
from mspc_core.models.train import TrainConfig, resolve, train_model
from mspc_core.models.zoo import ModelSpec, build_model

_SECONDS = 0.3  # for each kind of pass; at least two of each are done
_SCALES = (2.0, 3.0, 4.0)


class Prices(NamedTuple):
    """Seconds an image: forward, forward of a scaled image, forward with a gradient to the input, training step; of a
    training step of the small CNN by image side; and of one floating point operation outside of networks."""

    forward: float
    scaled: float
    gradient: float
    training: float
    small: dict[int, float]
    flop: float


def measure(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    training: TrainConfig,
    small_sets: Mapping[int, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Prices:
    """Prices on the device of the model, which is left as it was.

    images: uint8 [N, H, W, 3]; labels: int64 [N]; training: with its batch size. small_sets: side of images that the
    small CNN is going to be trained on, and how many there are. clock: `time.process_time` tells what a machine without
    other work would take.
    """
    device, side = device_of(model), images.shape[1]
    few = images[: max(4, min(len(images), 256 * 32 * 32 // side**2))]
    predicted = predict_logits(model, few).argmax(1).numpy()
    logits = predict_logits(model, few)
    forward = _timed(lambda: predict_logits(model, few), len(few), device, clock)
    scaled = _timed(lambda: scaled_agreement(model, few, predicted, _SCALES), len(few) * len(_SCALES), device, clock)
    part = few[: gradient_batch_for(device, side)]
    gradient = _timed(lambda: _gradient(model, part, logits[: len(part)]), len(part), device, clock)
    trained = _training(copy.deepcopy(model), images, labels, training.batch_size or 64, training.augment, clock)
    small = {}
    for wanted, count in (small_sets or {}).items():
        spec = ModelSpec("small-cnn", int(labels.max()) + 1, wanted)
        fresh = build_model(spec).to(device)
        batch = resolve(TrainConfig(), count, "small-cnn", largest_training_batch(device, wanted)).batch_size or 64
        made = np.random.default_rng(0).integers(0, 256, (4 * batch, wanted, wanted, 3), dtype=np.uint8)
        small[wanted] = _training(fresh, made, np.arange(len(made)) % spec.num_classes, batch, wanted < side, clock)
    left, right = torch.rand(512, 512), torch.rand(512, 300)
    flop = _timed(lambda: left @ right, 2 * 512 * 512 * 300, torch.device("cpu"), clock)
    return Prices(forward, scaled, gradient, trained, small, flop)


def _gradient(model: nn.Module, images: np.ndarray, logits: torch.Tensor) -> None:
    with frozen(model) as device:
        mask = torch.ones(images.shape[1:3], device=device, requires_grad=True)
        batch = to_float(images, device)
        scaled_divergence(model, batch, logits.to(device), mask, [2.0], 0.1).sum().backward()


def _training(
    model: nn.Module, images: np.ndarray, labels: np.ndarray, batch: int, augment: bool, clock: Callable[[], float]
) -> float:
    batch = max(2, min(batch, len(images)))
    shown = min(len(images) // batch, 4) * batch
    recipe = TrainConfig(epochs=1, batch_size=batch, augment=augment, peak_lr=1e-6)
    state = torch.get_rng_state()
    try:
        return _timed(
            lambda: train_model(model, images[:shown], labels[:shown], recipe), shown, device_of(model), clock
        )
    finally:
        torch.set_rng_state(state)


def _timed(work: Callable[[], object], images: int, device: torch.device, clock: Callable[[], float]) -> float:
    """Seconds an image: the median of a few repetitions, after one that warms up."""
    _finish(work, device)
    times: list[float] = []
    while len(times) < 2 or (sum(times) < _SECONDS and len(times) < 50):
        begun = clock()
        _finish(work, device)
        times.append(clock() - begun)
    return float(np.median(times)) / images


def _finish(work: Callable[[], object], device: torch.device) -> None:
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def resident() -> tuple[int, int]:
    """Bytes of this process: anonymous memory, and mapped files. (0, 0) where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0, 0
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss")}
    return kilobytes.get("RssAnon", 0) * 1024, kilobytes.get("RssFile", 0) * 1024
