"""MSPC as it was published, written plainly: every forward that its loop makes, and nothing shared with the product.

Pal et al., ICLR 2024 (arXiv 2403.10717), with the loop that docs/method.md describes: the prediction of the unscaled
image is computed again at every scale, samples with w = 0 go forward and backward although they add nothing, and every
round scores the images without the mask, too. Settings of the paper: τ 0.1, λ 0.01, SGD with rate 0.1, momentum 0.9 and
weight decay 5e-4 on the mask, batches of 1,000, ten epochs in each of four rounds.

Generous where the loop leaves a choice: parameters of the model ask for no gradient, gradients of the scales are added
one after the other (eleven graphs of 1,000 images at once would need gigabytes), and images are float32 in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES = tuple(float(scale) for scale in range(2, 13))
TAU, SPARSITY, BATCH, ROUNDS, EPOCHS = 0.1, 0.01, 1000, 4, 10


@dataclass
class Loop:
    """images: float [N, 3, H, W] in [0, 1] on the model's device. mask: [H, W]; weights: w, bool [N]."""

    model: nn.Module
    images: Tensor
    mask: Tensor
    weights: Tensor
    scales: Sequence[float] = SCALES

    def score(self, *, also_unmasked: bool) -> Tensor:
        """MSPC of every image under the mask, [N]; in the rounds every scale is also scored without it."""
        found = []
        with torch.no_grad():
            for images in self.images.split(BATCH):
                total = torch.zeros(len(images), device=images.device)
                for scale in self.scales:
                    own = self.model(images).argmax(1)
                    kept = self.model(scaled(images, scale, self.mask)).argmax(1) == own
                    if also_unmasked:
                        self.model(scaled(images, scale, torch.ones_like(self.mask))).argmax(1)
                    total += torch.where(kept, 1.0, -1.0)
                found.append(total / len(self.scales))
        return torch.cat(found)

    def inner_epoch(self, optimizer: torch.optim.Optimizer, order: Tensor) -> None:
        """One epoch of the lower level: a step of the mask for each batch of 1,000."""
        for rows in order.split(BATCH):
            images, weights = self.images[rows], self.weights[rows].float()
            optimizer.zero_grad()
            for scale in self.scales:
                with torch.no_grad():
                    base = self.model(images).float()
                found = F.log_softmax(self.model(scaled(images, scale, self.mask)).float(), 1)
                divergence = F.kl_div(found, F.log_softmax(base, 1), reduction="none", log_target=True).sum(1)
                ((weights * divergence).mean() / len(self.scales)).backward()
            (SPARSITY * self.mask.abs().sum()).backward()
            optimizer.step()
            with torch.no_grad():
                self.mask.clamp_(0.0, 1.0)


def scaled(images: Tensor, scale: float, mask: Tensor) -> Tensor:
    """clip(n · (x − τ) ⊙ m, 0, 1)."""
    return torch.clip(scale * (images - TAU) * mask, 0, 1)


def as_float(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [N, H, W, 3] → float32 [N, 3, H, W] in [0, 1], the whole set."""
    return (torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255).contiguous().to(device)


def begin(model: nn.Module, images: Tensor, scales: Sequence[float] = SCALES) -> Loop:
    """The loop before its first round: mask of ones, w from the shifted score."""
    mask = torch.ones(images.shape[2:], device=images.device).requires_grad_(True)
    loop = Loop(model, images, mask, torch.ones(len(images), dtype=torch.bool, device=images.device), scales)
    loop.weights = loop.score(also_unmasked=False) > 0
    return loop


def optimizer_of(mask: Tensor) -> torch.optim.Optimizer:
    return torch.optim.SGD([mask], lr=0.1, momentum=0.9, weight_decay=5e-4)


def published_mspc(
    model: nn.Module,
    images: Tensor,
    *,
    seed: int,
    rounds: int = ROUNDS,
    epochs: int = EPOCHS,
    scales: Sequence[float] = SCALES,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N] and the mask [H, W] of the whole loop. The model is in evaluation mode, its parameters frozen."""
    generator = torch.Generator().manual_seed(seed)
    loop = begin(model, images, scales)
    scores = torch.zeros(len(images))
    for _ in range(rounds):
        optimizer = optimizer_of(loop.mask)
        for _ in range(epochs):
            loop.inner_epoch(optimizer, torch.randperm(len(images), generator=generator).to(images.device))
        scores = loop.score(also_unmasked=True)
        loop.weights = scores > 0
    return scores.double().cpu().numpy(), loop.mask.detach().cpu().numpy()


def forward_equivalents(scales: int = len(SCALES), rounds: int = ROUNDS, epochs: int = EPOCHS) -> int:
    """Of the whole loop for one image: forwards, and a backward to the mask as one more."""
    return 2 * scales + rounds * (epochs * 3 * scales + 3 * scales)
