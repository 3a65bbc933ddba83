"""A model whose features are the pixels themselves, so that tests can place samples in feature space at will."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

SIZE = 4
DIMENSIONS = 3 * SIZE * SIZE


class PixelFeatures(nn.Module):
    """Penultimate features: the 48 pixels in [0, 1], in the order channel, row, column."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.head = nn.Linear(DIMENSIONS, classes)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(classes, DIMENSIONS, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits


def as_images(features: np.ndarray) -> np.ndarray:
    """float [N, 48] in [0, 255] → uint8 [N, 4, 4, 3] whose features are these values / 255."""
    pixels = np.clip(np.rint(features), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1))


def gaussians(
    per_class: int = 100, poisoned: int = 20, classes: int = 4, seed: int = 0, shift: float = 70.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and truth: one Gaussian a class, σ = 8 in all directions and 24 in the first. Of class 1, the
    first `poisoned` samples are moved by `shift` in the directions 10 … 13, where classes vary little."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    features = 120 + 8 * generator.standard_normal((len(labels), DIMENSIONS))
    features[:, 0] += 22 * generator.standard_normal(len(labels))
    features[np.arange(len(labels)), 20 + labels] += 60
    poison = np.zeros(len(labels), bool)
    poison[np.flatnonzero(labels == 1)[:poisoned]] = True
    features[poison, 10:14] += shift / 2
    return as_images(features), labels, poison
