"""The mask of MSPC and its lower level: one step of gradient descent after another on the samples that look suspicious.

The lower level of Pal et al., ICLR 2024, as `mspc_core.detectors.mspc` writes it. Samples with w_i = 0 never enter the
model: they add nothing to the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mspc_core.detectors.base import SCALES
from mspc_core.engine import distributed
from mspc_core.engine.device import gradient_batch_for
from mspc_core.engine.forward import scale_images, to_float
from mspc_core.engine.memory import in_pieces
from mspc_core.engine.pixels import Images
from mspc_core.engine.plain import Plain
from mspc_core.errors import Progress, ShouldStop, stop_if

_REFERENCE_PIXELS = 32 * 32  # λ and the learning rate were published for masks of this size


@dataclass(frozen=True)
class MSPCConfig:
    """tau: shift τ. sparsity: λ for a 32×32 mask; scaled so that other sizes weigh the mask's mean alike.

    A round makes `inner_epochs` passes over the data in batches of `batch_size` (as published) unless `inner_steps` is
    given: then it takes that many steps, each on `batch_size` samples with w = 1. What matters is the number of steps:
    λ and the rate move a pixel by about 0.01 a step, so that fewer than about 100 cannot take the mask from 1 to 0.
    `scales_per_step` draws that many of
    the scales for each step (an unbiased estimate of their mean); None uses all.
    """

    scales: tuple[float, ...] = SCALES
    tau: float = 0.1
    sparsity: float = 0.01
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    rounds: int = 2
    inner_epochs: int = 10
    inner_steps: int | None = 150
    batch_size: int = 64
    scales_per_step: int | None = 2
    seed: int = 0


def scaled_divergence(
    model: nn.Module, images: Tensor, base_logits: Tensor, mask: Tensor, scales: list[float], tau: float
) -> Tensor:
    """mean_n KL(softmax F(x) ‖ softmax F(clip(n·(x−τ)⊙m))) for each image, float [B]; gradients flow to the mask only.

    images: float [B, 3, H, W] in [0, 1]; base_logits: [B, C]; mask: [H, W], or [B, 1, H, W] for one mask an image.
    """
    target = F.log_softmax(base_logits.detach(), dim=1)  # [B, C]
    scaled = torch.cat([scale_images(images, scale, mask, tau) for scale in scales])  # all scales in one pass
    found = F.log_softmax(model(scaled).float(), dim=1).unflatten(0, (len(scales), len(images)))  # [S, B, C]
    return F.kl_div(found, target.expand_as(found), reduction="none", log_target=True).sum(2).mean(0)


def learn_mask(
    config: MSPCConfig,
    model: nn.Module,
    images: Images,
    base: Plain,
    weights: np.ndarray,
    start: Tensor,
    generator: np.random.Generator,
    progress: Progress,
    should_stop: ShouldStop | None,
) -> Tensor:
    """The lower level: SGD on the mask, clamped to [0, 1] after each step. Returns the new mask [H, W]."""
    device = start.device
    mask = start.clone().requires_grad_(True)
    # Both terms' gradients for one pixel shrink with the number of pixels; the rate grows to make up for it.
    ratio = mask.numel() / _REFERENCE_PIXELS
    optimizer = torch.optim.SGD(
        [mask],
        lr=config.learning_rate * ratio,
        momentum=config.momentum,
        weight_decay=config.weight_decay / ratio,
    )
    steps = _batches(config, weights, generator)
    total = _number_of_steps(config, len(weights))
    for done, (chunk, share) in enumerate(steps, start=1):
        stop_if(should_stop)
        optimizer.zero_grad()
        penalty = config.sparsity / ratio * mask.abs().sum()
        penalty.backward()
        if len(chunk):
            scales = _draw_scales(config, generator)
            # A backward pass for each part, and for as many scales as fit, keeps memory small; the sum of the
            # gradients is the same.
            most = gradient_batch_for(device, images.shape[1])
            parts = np.array_split(chunk, -(-len(chunk) // most))
            groups = _in_groups(scales, max(1, most // len(parts[0])))
            add_gradient = _gradient(config.tau, model, images, base, mask, parts, share / len(chunk) / len(scales))
            units = [(number, group) for number in range(len(parts)) for group in groups]
            distributed.accumulate(mask, units, add_gradient)
        optimizer.step()
        with torch.no_grad():
            mask.clamp_(0.0, 1.0)
        progress(done, total, "")
    return distributed.from_leader(mask.detach())


def _gradient(
    tau: float,
    model: nn.Module,
    images: Images,
    base: Plain,
    mask: Tensor,
    parts: list[np.ndarray],
    weight: float,
) -> Callable[[tuple[int, list[float]]], None]:
    """Adds the gradient of one part of a step's rows at some scales. weight: of each image at each scale."""
    device = mask.device
    held: dict[int, tuple[Tensor, Tensor]] = {}  # the part in work, for all of its scales

    def add(unit: tuple[int, list[float]]) -> None:
        number, scales = unit
        if number not in held:
            rows = parts[number]
            held.clear()
            held[number] = to_float(images[rows], device), base.at(rows).to(device)
        batch, logits = held[number]

        def backward(piece: slice) -> None:
            divergence = scaled_divergence(model, batch[piece], logits[piece], mask, scales, tau)
            (divergence.sum() * weight * len(scales)).backward()

        in_pieces(model, len(batch), backward)

    return add


def _number_of_steps(config: MSPCConfig, count: int) -> int:
    return config.inner_steps or config.inner_epochs * -(-count // config.batch_size)


def _batches(
    config: MSPCConfig, weights: np.ndarray, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield (rows with w = 1, their share of the batch they stand for): the 1/N of the objective is kept.

    With epochs, batches are drawn from all samples as published and only their w = 1 members are handed on; with
    `inner_steps`, whole batches of w = 1 samples stand for a sample of the data with the same share of w = 1.
    """
    candidates = np.flatnonzero(weights)
    if config.inner_steps is None:
        for _ in range(config.inner_epochs):
            order = generator.permutation(len(weights))
            for start in range(0, len(order), config.batch_size):
                batch = order[start : start + config.batch_size]
                chosen = batch[weights[batch]]
                yield np.sort(chosen), len(chosen) / len(batch)
        return
    share = len(candidates) / len(weights)
    for _ in range(config.inner_steps):
        size = min(config.batch_size, len(candidates))
        yield np.sort(generator.choice(candidates, size, replace=False)), share


def _draw_scales(config: MSPCConfig, generator: np.random.Generator) -> list[float]:
    if config.scales_per_step is None or config.scales_per_step >= len(config.scales):
        return list(config.scales)
    return [float(scale) for scale in generator.choice(config.scales, config.scales_per_step, replace=False)]


def _in_groups(scales: list[float], size: int) -> list[list[float]]:
    return [scales[first : first + size] for first in range(0, len(scales), size)]
