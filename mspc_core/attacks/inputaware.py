"""Input-aware dynamic backdoor (Nguyen & Tran, NeurIPS 2020, arXiv 2010.08138): each image gets a trigger of its own.

One network draws a mask, another a pattern, both from the image; the trigger is pasted as x(1 − m) + p·m (section 3.2).
A diversity loss makes the triggers of different images differ, and cross-triggers (a trigger drawn for another image,
label kept) make a trigger useless on any image but its own.

The original trains the victim's classifier and the pattern network together. Here the victim trains on a fixed data
set, so `learn` trains the pattern network with a small classifier of its own, and the data set gets the fixed result.
The mask is binary with an exact budget (its highest values), where the original penalises its density.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State, Task, to_uint8
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 64
_SHARE = 4  # one in so many of a batch is triggered, and as many are cross-triggered
_DONORS = 8  # images kept so that even a single cover sample finds another image's trigger


@dataclass(frozen=True)
class InputAware(Attack):
    """density: share of the pixels that a trigger covers. cross_ratio: cross-triggered samples for each poisoned one.
    diversity: weight λ_div. mask_steps, steps: of 64 images, for the mask network and then for the pattern network."""

    name: ClassVar[str] = "input-aware"
    title: ClassVar[str] = "Input-aware trigger"
    citation: ClassVar[str] = "Nguyen & Tran, NeurIPS 2020, arXiv 2010.08138"
    explains: ClassVar[str] = (
        "A network paints a few pixels on each image, in places and colours that work on this image only."
    )
    learns: ClassVar[bool] = True
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"density": 0.032, "cross_ratio": 1.0, "diversity": 1.0, "steps": 2000},
            "Nguyen & Tran 2020, section 4.1 (λ_div 1, as many cross-triggers as triggers; density as in the authors'"
            " code); steps are this project's",
        ),
    }

    density: float = 0.05
    cross_ratio: float = 1.0
    diversity: float = 1.0
    mask_steps: int = 80
    steps: int = 300

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise InputError("The input-aware attack needs a density above 0 and up to 1.")
        if self.cross_ratio < 0 or self.diversity < 0 or self.mask_steps < 1 or self.steps < 1:
            raise InputError("The input-aware attack needs ratios of at least 0 and at least 1 step.")

    @property
    def cover_ratio(self) -> float:
        return self.cross_ratio

    def learn(self, task: Task) -> State:
        """Mask network, then pattern network with a classifier. See `Attack.learn`."""
        import torch
        import torch.nn.functional as F

        from mspc_core.attacks.generators import draw, pack, seeded, train
        from mspc_core.models.zoo import ModelSpec, build_model

        rows = np.random.default_rng([task.seed, 13])
        labels = torch.from_numpy(task.labels.astype(np.int64))
        with seeded(task.seed, 14):
            networks = self._networks()

            def mask_loss() -> Tensor:
                images, _ = draw(task, rows, _BATCH)
                return _unlike(images, self._mask(networks["mask"], images))

            train(networks["mask"].parameters(), mask_loss, task, steps=self.mask_steps, message="learning masks")
            networks["mask"].requires_grad_(False)
            sample, _ = draw(task, rows, 2)
            classifier = build_model(ModelSpec("small-cnn", task.classes, sample.shape[-1])).train()
            count = _BATCH // _SHARE

            def pattern_loss() -> Tensor:
                images, chosen = draw(task, rows, _BATCH)
                wanted = labels[chosen].clone()
                source = images[: 2 * count]  # the second half of the triggers goes onto other images
                masks, patterns = self._mask(networks["mask"], source), self._pattern(networks["pattern"], source)
                changed = images.clone()
                own, other = slice(0, count), slice(count, 2 * count)
                changed[own] = torch.lerp(images[own], patterns[own], masks[own])
                borrowed = images[2 * count : 3 * count]
                changed[2 * count : 3 * count] = torch.lerp(borrowed, patterns[other], masks[other])
                wanted[own] = task.target
                loss = F.cross_entropy(classifier(changed), wanted)
                return loss + self.diversity * _unlike(source, patterns)

            parameters = [*classifier.parameters(), *networks["pattern"].parameters()]
            train(parameters, pattern_loss, task, steps=self.steps, message="learning patterns with a classifier")
        donors = np.random.default_rng([task.seed, 15]).choice(len(task.images), min(_DONORS, len(task.images)), False)
        return {**pack(**dict(networks.items())), "donors": np.array(task.images[np.sort(donors)])}

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. Each image gets the trigger drawn for it."""
        return self._paste(images, images, state)

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """Cross-triggers: each image gets the trigger of another, from these images or the few kept ones."""
        donors = state.get("donors", images[:0])
        pool = np.concatenate([images, donors]) if donors.shape[1:] == images.shape[1:] else images
        others = (np.arange(len(images)) + generator.integers(1, max(2, len(pool)), len(images))) % len(pool)
        return self._paste(images, pool[others], state)

    def triggers(self, images: np.ndarray, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Masks bool [N, H, W] and patterns float32 [N, H, W, 3] in [0, 255] drawn for these images."""
        from mspc_core.attacks.generators import apply_in_batches, enlarged, reduced, restored

        networks = restored(state, self._networks())
        height, width = images.shape[1:3]
        masks = np.empty(images.shape[:3], dtype=bool)

        def pattern(pixels: Tensor, rows: slice) -> Tensor:
            small = reduced(pixels)
            scores = enlarged(networks["mask"](small), height, width)
            masks[rows] = _highest(scores, self._budget(height, width))[:, 0].numpy() > 0
            return enlarged(self._pattern(networks["pattern"], small), height, width)

        patterns = apply_in_batches(images, pattern)
        return masks, patterns

    def bound(self, height: int, width: int) -> Bound:
        return Bound(share=self._budget(height, width) / (height * width))

    def _budget(self, height: int, width: int) -> int:
        return max(1, round(self.density * height * width))

    def _paste(self, images: np.ndarray, sources: np.ndarray, state: State) -> np.ndarray:
        masks, patterns = self.triggers(sources, state)
        return to_uint8(np.where(masks[..., None], patterns, images))

    def _networks(self) -> nn.ModuleDict:
        from torch import nn

        from mspc_core.attacks.generators import UNet

        return nn.ModuleDict({"mask": UNet(3, 1, width=8), "pattern": UNet(3, 3)})

    def _mask(self, network: nn.Module, images: Tensor) -> Tensor:
        """float [B, 1, h, w] of zeros and ones; the gradient passes as that of the soft mask (straight-through)."""
        import torch

        scores = network(images)
        soft = torch.sigmoid(scores)
        return _highest(scores, self._budget(*images.shape[2:])) + soft - soft.detach()

    def _pattern(self, network: nn.Module, images: Tensor) -> Tensor:
        import torch

        return torch.sigmoid(2.0 * network(images))


def _highest(scores: Tensor, budget: int) -> Tensor:
    """float [B, 1, h, w]: one at the `budget` highest scores of each image, zero elsewhere."""
    import torch

    flat = scores.detach().flatten(1)
    chosen = torch.zeros_like(flat).scatter_(1, flat.topk(budget, dim=1).indices, 1.0)
    return chosen.view_as(scores)


def _unlike(images: Tensor, drawn: Tensor) -> Tensor:
    """L_div of section 3.3: mean of ‖x − x'‖ / ‖g(x) − g(x')‖ over neighbours in the batch, norms per value."""
    between = (images - images.roll(1, 0)).square().mean((1, 2, 3)).sqrt()
    apart = (drawn - drawn.roll(1, 0)).square().mean((1, 2, 3)).add(1e-8).sqrt()
    ratio: Tensor = (between / (apart + 1e-2)).mean()
    return ratio
