"""Slow, obvious implementations of METHOD's equations, one image and one scale at a time, for comparison."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def as_tensor(image: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] → float [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(image.astype(np.float32) / 255.0).permute(2, 0, 1)[None]


def scaled(x: Tensor, n: float, mask: Tensor, tau: float) -> Tensor:
    return torch.clip(n * (x - tau) * mask, 0, 1)


def spc(model: nn.Module, image: np.ndarray, scales: tuple[float, ...]) -> float:
    x = as_tensor(image)
    own = model(x).argmax()
    return sum(float(model(torch.clip(n * x, 0, 1)).argmax() == own) for n in scales) / len(scales)


def mspc(model: nn.Module, image: np.ndarray, scales: tuple[float, ...], mask: Tensor, tau: float) -> float:
    x = as_tensor(image)
    own = model(x).argmax()
    signs = [1.0 if model(scaled(x, n, mask, tau)).argmax() == own else -1.0 for n in scales]
    return sum(signs) / len(scales)


def lower_objective(
    model: nn.Module,
    images: np.ndarray,
    weights: np.ndarray,
    mask: Tensor,
    scales: tuple[float, ...],
    tau: float,
    sparsity: float,
) -> Tensor:
    """(1/N) Σ w_i · mean_n KL(F(x_i) ‖ F(scaled)) + λ‖m‖₁, with every image and scale computed."""
    total = torch.zeros(())
    for image, weight in zip(images, weights, strict=True):
        x = as_tensor(image)
        p = torch.softmax(model(x)[0].detach(), 0)
        for n in scales:
            q = torch.softmax(model(scaled(x, n, mask, tau))[0], 0)
            total = total + float(weight) * (p * (p.log() - q.log())).sum() / len(scales)
    return total / len(images) + sparsity * mask.abs().sum()


def published_loop(
    model: nn.Module,
    images: np.ndarray,
    scales: tuple[float, ...],
    *,
    tau: float,
    sparsity: float,
    rounds: int,
    epochs: int,
) -> tuple[np.ndarray, Tensor]:
    """The bi-level loop with full batches: SGD 0.1, momentum 0.9, weight decay 5e-4, clamped mask."""
    mask = torch.ones(images.shape[1:3])
    for _ in range(rounds):
        scores = np.array([mspc(model, image, scales, mask, tau) for image in images])
        weights = (scores > 0).astype(float)
        velocity = torch.zeros_like(mask)
        for _ in range(epochs):
            leaf = mask.clone().requires_grad_(True)
            objective = lower_objective(model, images, weights, leaf, scales, tau, sparsity)
            (gradient,) = torch.autograd.grad(objective, leaf)
            velocity = 0.9 * velocity + gradient + 5e-4 * mask
            mask = (mask - 0.1 * velocity).clamp(0, 1)
    return np.array([mspc(model, image, scales, mask, tau) for image in images]), mask
