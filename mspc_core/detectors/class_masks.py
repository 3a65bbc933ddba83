"""The masks of the transplant test: for each predicted class the smallest region that turns other images into it.

All classes are learned together, each from its own samples, at a price of a pixel that rises (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.detectors.regions import (
    CLASSES_PER_STEP,
    balanced_draw,
    cells_along,
    draw_partners,
    enlarged,
    transplant_loss,
)
from mspc_core.engine import distributed
from mspc_core.engine.device import gradient_batch_for
from mspc_core.engine.forward import frozen, to_float
from mspc_core.engine.memory import in_pieces
from mspc_core.engine.pixels import Images
from mspc_core.errors import Progress, ShouldStop, stop_if

_REFERENCE_PIXELS = 32 * 32  # prices are per pixel of an image of this size,
_REFERENCE_CELLS = 16 * 16  # and the learning rate was chosen for a grid of this size


@dataclass(frozen=True)
class TransplantConfig:
    """first_price, last_price: of one mask pixel (at 32×32), rising geometrically. loss_cap: cross-entropy above which
    a sample stops pulling (it carries no trigger). So a region survives if its area is below share · cap / price,
    `share` being the part of the class's samples that it works for: 50 pixels at the last price, if it works for all.

    steps, images_per_step: of the joint optimisation (more steps when there are more than 40 classes). cell: a mask is
    learned on a grid with cells of about this many pixels and enlarged bilinearly, so that regions hang together.
    cut: region = mask / max(mask) > cut. partners: images each region is pasted on.
    """

    first_price: float = 0.01
    last_price: float = 0.06
    loss_cap: float = 3.0
    steps: int = 240
    images_per_step: int = 120
    learning_rate: float = 0.05
    momentum: float = 0.9
    cell: int = 2
    cut: float = 0.2
    partners: int = 16
    seed: int = 0


def learn_masks(
    config: TransplantConfig,
    model: nn.Module,
    images: Images,
    predicted: np.ndarray,
    classes: int,
    progress: Progress,
    should_stop: ShouldStop | None = None,
) -> np.ndarray:
    """All classes' masks, float32 [C, H, W] in [0, 1]; a class nobody is predicted as keeps a mask of zeros.

    predicted: int [N], the model's classes. A class that has let go of every pixel is not looked at again, which halves
    the work: a partner with nothing pasted on it has a loss above the cap for nearly every sample, so nothing pulls the
    pixels back, and their price only rises.
    """
    height, width = images.shape[1:3]
    generator = np.random.default_rng(config.seed)
    partners = draw_partners(predicted, config.partners, config.seed + 1)
    members = {int(c): np.flatnonzero(predicted == c) for c in np.unique(predicted)}
    cells = (cells_along(height, config.cell), cells_along(width, config.cell))
    if len(members) < 2:
        return np.zeros((classes, height, width), np.float32)
    steps = config.steps * max(1, round(len(members) / CLASSES_PER_STEP))
    with frozen(model) as device:
        grid = torch.zeros(classes, 1, *cells, device=device)
        grid[list(members)] = 1.0
        grid.requires_grad_(True)
        # A cell's gradient shrinks as their number grows; the rate makes up for it.
        rate = config.learning_rate * cells[0] * cells[1] / _REFERENCE_CELLS
        optimizer = torch.optim.SGD([grid], lr=rate, momentum=config.momentum)
        for step in range(steps):
            stop_if(should_stop)
            held = holding(grid)
            if not held.any():
                break
            # Drawn for all classes, so that what one is shown does not depend on when others let go.
            rows = balanced_draw(members, config.images_per_step, generator)
            others = partners[rows, generator.integers(config.partners, size=len(rows))]
            wanted = held[predicted[rows]]
            price = config.first_price * (config.last_price / config.first_price) ** (step / steps)
            price *= _REFERENCE_PIXELS / (height * width)
            grid.grad = torch.zeros_like(grid)
            if wanted.any():
                _add_step(model, images, grid, predicted, rows[wanted], others[wanted], price, config.loss_cap)
            optimizer.step()
            with torch.no_grad():
                grid.clamp_(0.0, 1.0)
            progress(step + 1, steps, "")
        masks = enlarged(distributed.from_leader(grid.detach()), height, width)
    learned: np.ndarray = masks.cpu().numpy().astype(np.float32)
    return learned


def holding(grid: Tensor) -> np.ndarray:
    """bool [C]: classes whose mask on the grid, float [C, 1, h, w], holds on to a pixel."""
    found: np.ndarray = (grid.detach().amax((1, 2, 3)) > 0).cpu().numpy()
    return found


def _add_step(
    model: nn.Module,
    images: Images,
    grid: Tensor,
    predicted: np.ndarray,
    rows: np.ndarray,
    others: np.ndarray,
    price: float,
    cap: float,
) -> None:
    """Adds a step's gradient to `grid.grad`: of the drawn classes' pixels at this price, and of `rows` pasted on
    `others` (int [B] each)."""
    height, width = images.shape[1:3]
    drawn, owners, counts = np.unique(predicted[rows], return_inverse=True, return_counts=True)
    (price * enlarged(grid[drawn], height, width).sum()).backward()
    weights = (1.0 / counts[owners]).astype(np.float32)
    draw = np.stack([rows, others, predicted[rows], owners], 1)
    # Part by part, so that memory stays small; the sum of the gradients is the same.
    parts = np.array_split(np.arange(len(rows)), -(-len(rows) // gradient_batch_for(grid.device, height)))
    distributed.accumulate(grid, parts, _gradient(model, images, grid, drawn, draw, weights, cap))


def _gradient(
    model: nn.Module,
    images: Images,
    grid: Tensor,
    drawn: np.ndarray,
    draw: np.ndarray,
    weights: np.ndarray,
    cap: float,
) -> Callable[[np.ndarray], None]:
    """Adds the gradient of a part of a step's draw. drawn: its classes. draw: int [B, 4]: row, partner's row, class,
    and the place of the class in `drawn`. weights: float32 [B]."""
    device, side = grid.device, images.shape[1:3]

    def backward(part: np.ndarray) -> None:
        rows, others, wanted, owners = draw[part].T
        transplant_loss(
            model,
            to_float(images[rows], device),
            to_float(images[others], device),
            torch.from_numpy(wanted).to(device),
            enlarged(grid[drawn], *side)[torch.from_numpy(owners).to(device)],
            weights=torch.from_numpy(weights[part]).to(device),
            cap=cap,
        ).backward()

    def add(part: np.ndarray) -> None:
        in_pieces(model, len(part), lambda piece: backward(part[piece]))

    return add
