"""Optimise pixels against a model: one perturbation for each image (PGD), or one pattern for all images.

PGD: Madry et al., ICLR 2018, arXiv 1706.06083. Universal: Moosavi-Dezfooli et al., CVPR 2017, arXiv 1610.08401, found
by gradient steps on batches instead of image by image. Sizes are in channel values 0 … 255; limits hold after rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Loss = Callable[[Tensor, np.ndarray], Tensor]  # (the pattern, rows of the images in this batch) → a number

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
_TINY = 1e-12


def check_pgd(norm: str, epsilon: float, steps: int) -> None:
    """Raises `InputError` for settings that `pgd` cannot use. epsilon 0 means no perturbation."""
    if norm not in NORMS:
        raise InputError(f"Norms are {' and '.join(NORMS)}; not {norm!r}.")
    if not 0 <= epsilon < 1e5 or 0 < epsilon < 1 or steps < 1:
        raise InputError("A perturbation needs an epsilon of 0 or at least 1 (in 0 … 255) and at least one step.")


def rounded(images: np.ndarray, delta: np.ndarray, norm: Norm, epsilon: float) -> np.ndarray:
    """uint8 `images` [N, H, W, 3] + `delta` as whole numbers whose norm is still at most epsilon.

    Rounding could lengthen a perturbation: L∞ is cut at the whole number below epsilon, and an L2 perturbation that
    grew too long is rounded towards zero instead. Saturating at 0 and 255 only shortens it.
    """
    whole = np.rint(delta)
    if norm == "linf":
        whole = np.clip(whole, -np.floor(epsilon), np.floor(epsilon))
    else:
        too_long = (whole**2).sum((1, 2, 3)) > epsilon**2
        whole[too_long] = np.trunc(delta[too_long])
    return np.clip(images + whole, 0, 255).astype(np.uint8)


def pgd(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    norm: Norm,
    epsilon: float,
    steps: int,
    generator: np.random.Generator,
    targeted: bool = False,
    should_stop: ShouldStop | None = None,
) -> np.ndarray:
    """Projected gradient descent: images [N, H, W, 3] uint8 that the model takes for anything but `labels`, int [N]
    (targeted: for `labels`), no further than epsilon away.

    A random start in the ball, then `steps` steps of 2.5 · epsilon / steps along the sign (L∞) or the direction (L2) of
    the gradient of the cross-entropy.
    """
    import torch
    import torch.nn.functional as F

    from mspc_core.engine.device import gradient_batch_for
    from mspc_core.engine.forward import frozen, to_float

    check_pgd(norm, epsilon, steps)
    if not epsilon or not len(images):
        return images.copy()
    radius, sign = epsilon / 255.0, -1.0 if targeted else 1.0
    found = []
    # The labels' images may have any layout in memory; noise is drawn in one piece, so batches do not change it.
    noise = _start(images.shape, norm, radius, generator)
    with frozen(model) as device:
        size = gradient_batch_for(device, images.shape[1])
        for first in range(0, len(images), size):
            rows = slice(first, first + size)
            clean, wanted = to_float(images[rows], device), torch.from_numpy(labels[rows].astype(np.int64)).to(device)
            delta = torch.from_numpy(noise[rows]).permute(0, 3, 1, 2).to(device)
            for _ in range(steps):
                stop_if(should_stop)
                delta = ((clean + delta).clamp(0.0, 1.0) - clean).detach().requires_grad_(True)
                loss = F.cross_entropy(model(clean + delta).float(), wanted, reduction="sum")
                (slope,) = torch.autograd.grad(loss, delta)
                step = slope.sign() if norm == "linf" else slope / (_lengths(slope) + _TINY)
                delta = delta.detach() + sign * 2.5 * radius / steps * step
                delta = delta.clamp(-radius, radius) if norm == "linf" else _shortened(delta, radius)
            moved = delta.permute(0, 2, 3, 1).cpu().numpy().astype(np.float64) * 255.0
            found.append(rounded(images[rows], moved, norm, epsilon))
    return np.concatenate(found)


def _start(shape: tuple[int, ...], norm: Norm, radius: float, generator: np.random.Generator) -> np.ndarray:
    if norm == "linf":
        return generator.uniform(-radius, radius, shape).astype(np.float32)
    direction = generator.normal(size=shape)
    length = np.sqrt((direction**2).sum((1, 2, 3), keepdims=True))
    return (direction / length * radius * generator.uniform(0, 1, (shape[0], 1, 1, 1))).astype(np.float32)


def _lengths(delta: Tensor) -> Tensor:
    """L2 norm of each image, [N, 1, 1, 1]."""
    return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def _shortened(delta: Tensor, radius: float) -> Tensor:
    return delta * (radius / (_lengths(delta) + _TINY)).clamp(max=1.0)


def minimise(
    loss: Loss,
    start: Tensor,
    count: int,
    *,
    low: float,
    high: float,
    steps: int,
    generator: np.random.Generator,
    batch_size: int = 64,
    message: str = "learning the trigger",
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Tensor:
    """One pattern for all images: Adam on `start` (any shape), kept in [low, high] after each step.

    loss: of the pattern on a batch of rows out of `count`. The rate is a twentieth of the range and falls to zero.
    """
    import torch

    value = start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([value], lr=(high - low) / 20)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for done in range(1, steps + 1):
        stop_if(should_stop)
        rows = np.sort(generator.choice(count, min(batch_size, count), replace=False))
        optimizer.zero_grad()
        loss(value, rows).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            value.clamp_(low, high)
        if progress:
            progress(done, steps, message)
    return value.detach()


def universal(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float,
    steps: int,
    generator: np.random.Generator,
    targeted: bool,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> np.ndarray:
    """One perturbation, int16 [H, W, 3] with |δ| ≤ epsilon, that makes the model take `images` for `labels`
    (targeted), or for anything else. images: uint8 [N, H, W, 3]; labels: int [N]."""
    import torch
    import torch.nn.functional as F

    from mspc_core.engine.forward import frozen, to_float

    radius, sign = np.floor(epsilon) / 255.0, 1.0 if targeted else -1.0
    wanted = torch.from_numpy(labels.astype(np.int64))
    noise = generator.uniform(-radius, radius, (3, *images.shape[1:3])).astype(np.float32)
    with frozen(model) as device:

        def loss(delta: Tensor, rows: np.ndarray) -> Tensor:
            logits = model((to_float(images[rows], device) + delta).clamp(0.0, 1.0)).float()
            return sign * F.cross_entropy(logits, wanted[rows].to(device))

        delta = minimise(
            loss,
            torch.from_numpy(noise).to(device),
            len(images),
            low=-radius,
            high=radius,
            steps=steps,
            generator=generator,
            progress=progress,
            should_stop=should_stop,
        )
    return whole_pattern(delta)


def whole_pattern(delta: torch.Tensor) -> np.ndarray:
    """A pattern [3, H, W] in units of [0, 1] as whole channel values, int16 [H, W, 3]."""
    return np.rint(delta.permute(1, 2, 0).cpu().numpy().astype(np.float64) * 255.0).astype(np.int16)


def add_pattern(images: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """uint8 images [N, H, W, 3] + int16 pattern [H, W, 3], saturated."""
    return np.clip(images.astype(np.int16) + delta, 0, 255).astype(np.uint8)
