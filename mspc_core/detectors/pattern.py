"""The pattern transplant: what sets a part of a class apart from the rest of it, and does it turn other images?

The transplant test moves a region; patterns that are spread over the image (Blend, SIG, universal perturbations), or
planted on images that keep their label, are moved by addition. For each class, learn the smallest pattern that, added
to images of other classes, turns them into it; project the class's own images on it, and where they fall into two
kinds, refine the split by the matched filter for the difference of their means (`patterns`). The difference of two
means within one class holds no object, so added to other images it does nothing, unless it is a trigger.

Learning a class's smallest universal pattern is Neural Cleanse (Wang et al., IEEE S&P 2019) with an additive pattern;
what is tested is not that pattern, which exists for honest classes too, but what the images themselves have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.opinion import shrunk
from mspc_core.detectors.patterns import Split, split_class
from mspc_core.detectors.regions import CLASSES_PER_STEP
from mspc_core.engine import distributed
from mspc_core.engine.device import gradient_batch_for
from mspc_core.engine.forward import counting, device_of, forward_pass, frozen, to_float
from mspc_core.engine.memory import in_pieces
from mspc_core.engine.pixels import Images, on_device
from mspc_core.engine.plain import plain_predictions
from mspc_core.engine.rows import blocks, pick
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

_FEWEST = 10  # samples of a class that can be split
_REFERENCE_SIDE = 32


@dataclass(frozen=True)
class PatternConfig:
    """price: of the pattern's Euclidean norm, for images of 32×32 pixels in [0, 1]. loss_cap: cross-entropy above which
    an image stops pulling. steps, images_per_step, learning_rate: of the joint optimisation by Adam. side: images are
    compared at most at this size. rounds: of the split. partners: other images that the difference is added to."""

    price: float = 1.0
    loss_cap: float = 20.0
    steps: int = 150
    images_per_step: int = 120
    learning_rate: float = 0.01
    side: int = 64
    rounds: int = 12
    partners: int = 300
    seed: int = 0


class Pattern:
    """Score: share of other images that the class's pattern turns, times the probability that the sample has it."""

    name: ClassVar[str] = "pattern"
    title: ClassVar[str] = CATALOG["pattern"].title
    citation: ClassVar[str] = CATALOG["pattern"].citation
    needs: ClassVar[Needs] = CATALOG["pattern"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: PatternConfig | None = None) -> None:
        self.config = config or PatternConfig()

    def fit(
        self,
        model: nn.Module,
        images: np.ndarray,
        *,
        labels: np.ndarray,
        clean: CleanData | None = None,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Self:
        """See `Detector.fit`. `artifacts_.masks["pattern"]` is float32 [C, H, W], the channel mean of each predicted
        class's difference (0 where none was found); `tables["classes"]`: samples, how many have the pattern, the share
        of other images it turns, its strength and how clearly it separates."""
        config = self.config
        if min(config.steps, config.rounds, config.partners) < 1:
            raise InputError("The pattern transplant needs steps, rounds and partners of at least 1.")
        scores, rows = np.zeros(len(images)), []
        with counting(model) as count:
            pixels = on_device(images, device_of(model))
            base = plain_predictions(model, pixels, should_stop=should_stop)
            predicted, classes = base.predicted, base.classes
            learned = self._learn(model, pixels, predicted, classes, progress, should_stop)
            masks = np.zeros((classes, *images.shape[1:3]), dtype=np.float32)
            small = shrunk(images, min(config.side, images.shape[1]))
            total = sum(part.reshape(len(part), -1).sum(0, dtype=np.float64) for _, part in blocks(small))
            for label in np.unique(predicted):
                stop_if(should_stop)
                own = np.flatnonzero(predicted == label)
                split = self._split(small, own, total, learned[label]) if len(own) >= _FEWEST else None
                turned, strength = 0.0, 0.0
                if split is not None:
                    difference = _difference(images, own, split.present)
                    turned = self._turned(model, pixels, predicted, int(label), difference)
                    scores[own] = turned * split.probability
                    masks[label], strength = difference.mean(2), float(np.abs(difference).max())
                rows.append(
                    {
                        "class": int(label),
                        "predicted": len(own),
                        "flagged": int((scores[own] > 0.5).sum()),
                        "with_pattern": int(split.present.sum()) if split is not None else 0,
                        "turned": turned,
                        "strength": strength,
                        "separation": split.separation if split is not None else 0.0,
                    }
                )
        self.decision_scores_ = scores
        self.threshold_ = Threshold(0.5, "natural", CATALOG["pattern"].rule)
        self.labels_ = scores > 0.5
        notes = ["The model predicts one class for every image: no pattern can turn it."] if len(rows) == 1 else []
        self.artifacts_ = Artifacts(
            masks={"pattern": masks}, tables={"classes": rows}, notes=notes, forward_equivalents=count.equivalents
        )
        return self

    def _learn(
        self,
        model: nn.Module,
        images: Images,
        predicted: np.ndarray,
        classes: int,
        progress: Progress | None,
        should_stop: ShouldStop | None,
    ) -> np.ndarray:
        """The smallest pattern of each class that turns images of other classes, float32 [C, H, W, 3]."""
        config = self.config
        found = np.zeros((classes, *images.shape[1:]), dtype=np.float32)
        used = [int(label) for label in np.unique(predicted) if (predicted != label).any()]
        groups = [used[start : start + CLASSES_PER_STEP] for start in range(0, len(used), CLASSES_PER_STEP)]
        generator = np.random.default_rng([config.seed, 31])
        side = images.shape[1]
        price = config.price * _REFERENCE_SIDE / side
        done, total = 0, config.steps * len(groups)
        with frozen(model) as device:
            for group in groups:
                patterns = torch.zeros(len(group), *images.shape[1:], device=device, requires_grad=True)
                optimizer = torch.optim.Adam([patterns], lr=config.learning_rate)
                each = max(2, config.images_per_step // len(group))
                others = [np.flatnonzero(predicted != label) for label in group]
                owners = np.repeat(np.arange(len(group)), each)
                wanted = torch.tensor(group, device=device)
                for _ in range(config.steps):
                    stop_if(should_stop)
                    drawn = np.concatenate([generator.choice(pool, each) for pool in others])
                    optimizer.zero_grad()
                    (price * (patterns.pow(2).sum((1, 2, 3)) + 1e-8).sqrt().sum()).backward()
                    rows = np.stack([drawn, owners], 1)  # [B, 2]: image, and place of its pattern in the group
                    parts = np.array_split(rows, -(-len(rows) // gradient_batch_for(device, side)))
                    add_gradient = self._gradient(model, images, patterns, wanted, each)
                    distributed.accumulate(patterns, parts, add_gradient)
                    optimizer.step()
                    done += 1
                    if progress:
                        progress(done, total, "learning one pattern a class")
                found[group] = distributed.from_leader(patterns.detach()).cpu().numpy()
        return found

    def _gradient(
        self, model: nn.Module, images: Images, patterns: Tensor, wanted: Tensor, each: int
    ) -> Callable[[np.ndarray], None]:
        """Adds the gradient of a part of a step's draw, int [B, 2] (see there). wanted: int [G], the classes."""

        def backward(part: np.ndarray) -> None:
            owner = torch.from_numpy(part[:, 1]).to(patterns.device)
            moved = _added(to_float(images[part[:, 0]], patterns.device), patterns[owner])
            losses = F.cross_entropy(model(moved).float(), wanted[owner], reduction="none")
            (losses.clamp(max=self.config.loss_cap).sum() / each).backward()

        def add(part: np.ndarray) -> None:
            in_pieces(model, len(part), lambda piece: backward(part[piece]))

        return add

    def _split(self, small: np.ndarray, own: np.ndarray, total: np.ndarray, learned: np.ndarray) -> Split | None:
        mine, rest = pick(small, own), len(small) - len(own)
        if not rest or not np.abs(learned).any():
            return None
        own_total = sum(part.reshape(len(part), -1).sum(0, dtype=np.float64) for _, part in blocks(mine))
        elsewhere = (total - own_total) / 255 / rest
        first = _resized(learned, small.shape[1])
        return split_class(
            mine, elsewhere.reshape(small.shape[1:]), first, rounds=self.config.rounds, seed=self.config.seed
        )

    def _turned(
        self, model: nn.Module, images: Images, predicted: np.ndarray, label: int, difference: np.ndarray
    ) -> float:
        """Share of other images that take the class once the difference is added to them."""
        config = self.config
        others = np.flatnonzero(predicted != label)
        drawn = np.random.default_rng([config.seed, 32, label]).permutation(others)[: config.partners]
        hits = 0
        with frozen(model) as device, torch.inference_mode():
            pattern = torch.from_numpy(difference).to(device)
            parts = np.array_split(drawn, -(-len(drawn) // (4 * gradient_batch_for(device, images.shape[1]))))
            for number in distributed.share(len(parts)):
                found = forward_pass(model, _added(to_float(images[parts[number]], device), pattern)).argmax(1)
                hits += int((found == label).sum())
        return distributed.total(hits)[0] / len(drawn)


def _added(images: Tensor, patterns: Tensor) -> Tensor:
    """clip(x + p, 0, 1). images: [B, 3, H, W]; patterns: [H, W, 3] or [B, H, W, 3]."""
    moved: Tensor = (images + patterns.movedim(-1, -3)).clamp(0.0, 1.0)
    return moved.contiguous(memory_format=torch.channels_last)


def _difference(images: np.ndarray, own: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean of the samples with the pattern minus mean of those without, float32 [H, W, 3], at full size."""
    means = []
    for rows in (own[present], own[~present]):
        total = np.zeros(images.shape[1:], dtype=np.float64)
        for start in range(0, len(rows), 256):
            total += images[rows[start : start + 256]].sum(0, dtype=np.float64)
        means.append(total / len(rows) / 255)
    return (means[0] - means[1]).astype(np.float32)


def _resized(pattern: np.ndarray, side: int) -> np.ndarray:
    if pattern.shape[0] == side:
        return pattern
    tensor = torch.from_numpy(pattern).permute(2, 0, 1)[None]
    found: np.ndarray = F.interpolate(tensor, size=(side, side), mode="area")[0].permute(1, 2, 0).numpy()
    return found
