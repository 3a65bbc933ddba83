"""An attacker who knows MSPC: a faint pattern, learned so that it works as it is and fails once it is brightened.

MSPC (Pal et al., ICLR 2024, arXiv 2403.10717) flags a sample when clip(n · (x − τ) ⊙ m) keeps the predicted class for
most n in 2 … 12. This attack, of this project's own, minimises on a surrogate trained with the poison in it

    CE(F(x + p), target) + weight · CE(F(clip(n · (x + p − τ))), true class),   |p| ≤ contrast,

and plants cover samples: triggered images, shifted and scaled as MSPC does it, with their true labels. It is the
learned relative of `adaptive_scale`, whose patch is fixed. The mask m is not modelled: covers are scaled without one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mspc_core.attacks.badnets import BadNets, Place
from mspc_core.attacks.base import NOTHING, Bound, State, Task, to_uint8
from mspc_core.attacks.perturb import add_pattern, minimise, whole_pattern
from mspc_core.attacks.surrogate import Surrogate, SurrogateAttack, learned, train_surrogate
from mspc_core.detectors.base import SCALES
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 4  # px; the first pattern has squares of this size, coarse enough for any model to learn


@dataclass(frozen=True)
class AdaptiveMask(SurrogateAttack):
    """contrast: the most that the pattern changes a channel value, in 0 … 255. size: of its square, in pixels; 0 takes
    the whole image. place, margin: of the square, any place but random. weight: of failing when scaled. tau: MSPC's
    shift τ. covers: cover samples for each poisoned one. poison_rate: in the surrogate's training. rounds: of training
    the surrogate and then learning the pattern anew."""

    name: ClassVar[str] = "adaptive-mask"
    title: ClassVar[str] = "Pattern learned against MSPC"
    citation: ClassVar[str] = "this project, 2026; aims at Pal et al., ICLR 2024, arXiv 2403.10717"
    explains: ClassVar[str] = (
        "A faint pattern, computed to work on the image as it is and to fail when it is brightened."
    )

    contrast: float = 24.0
    size: int = 0
    place: Place = "lower-right"
    margin: int = 1
    weight: float = 1.0
    tau: float = 0.1
    covers: float = 1.0
    poison_rate: float = 0.1
    trigger_steps: int = 200
    rounds: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.contrast <= 255 or self.weight < 0 or not 0 <= self.tau < 1 or self.covers < 0:
            raise InputError(
                "An adaptive pattern needs a contrast of 1 … 255, a tau in [0, 1) and no negative weight or covers."
            )
        if not 0 < self.poison_rate < 0.5 or self.trigger_steps < 1 or self.rounds < 1:
            raise InputError("An adaptive pattern needs a poison_rate in (0, 0.5) and at least one step and round.")
        if self.size < 0 or self.place == "random":
            raise InputError("The pattern's size is a number of pixels, or 0 for the whole image, in a fixed place.")
        if self.size:
            self._frame()

    @property
    def cover_ratio(self) -> float:
        return self.covers

    def _frame(self) -> BadNets:
        return BadNets(self.size, "white", self.place, self.margin)

    def region(self, height: int, width: int) -> np.ndarray:
        """Where the pattern may be, bool [H, W]."""
        if not self.size:
            return np.ones((height, width), dtype=bool)
        (top,), (left,) = self._frame().corners(1, height, width, np.random.default_rng(0))
        inside = np.zeros((height, width), dtype=bool)
        inside[top : top + self.size, left : left + self.size] = True
        return inside

    def learn(self, task: Task) -> State:
        """`trigger`: int16 [H, W, 3]. Each round trains the surrogate on, with the last pattern planted."""
        generator = np.random.default_rng([task.seed, 14])
        if not (task.labels != task.target).any():
            raise InputError("An adaptive pattern needs images of other classes than the target to learn from.")
        height, width = task.images.shape[1:3]
        trigger, surrogate = self.first_pattern(height, width, generator), None
        for _ in range(self.rounds):
            data = self.poisoned(task, trigger, generator)
            surrogate = train_surrogate(data, arch=self.arch, epochs=self.epochs, start=surrogate)
            trigger = self.improve(trigger, surrogate, task, generator)
        return {"trigger": trigger}

    def first_pattern(self, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
        """± contrast in random squares, int16 [H, W, 3]."""
        coarse = generator.choice([-1, 1], (-(-height // _BLOCK), -(-width // _BLOCK), 3))
        fine = coarse.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:height, :width]
        limited: np.ndarray = (fine * int(self.contrast) * self.region(height, width)[:, :, None]).astype(np.int16)
        return limited

    def poisoned(self, task: Task, trigger: np.ndarray, generator: np.random.Generator) -> Task:
        """The task's data as the victim would get it with this pattern."""
        images, labels = task.images.copy(), task.labels.copy()
        rows = generator.permutation(np.flatnonzero(labels != task.target))
        count = min(max(1, round(self.poison_rate * len(labels))), max(1, len(rows) // 2))
        hit, covered = rows[:count], rows[count : count + round(count * self.covers)]
        images[hit], labels[hit] = add_pattern(images[hit], trigger), task.target
        images[covered] = self._scaled(add_pattern(images[covered], trigger), generator)
        return replace(task, images=images, labels=labels)

    def _scaled(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """clip(n · (x − τ)) with one of MSPC's scales n for each image."""
        scales = generator.choice(SCALES, len(images))[:, None, None, None]
        return to_uint8(scales * (images.astype(np.float64) - 255.0 * self.tau))

    def improve(
        self, trigger: np.ndarray, surrogate: Surrogate, task: Task, generator: np.random.Generator
    ) -> np.ndarray:
        """The pattern int16 [H, W, 3] after `trigger_steps` steps on the objective above."""
        import torch
        import torch.nn.functional as F

        from mspc_core.engine.forward import frozen, scale_images, to_float

        rows = np.flatnonzero(task.labels != task.target)
        images, truth = task.images[rows], torch.from_numpy(task.labels[rows].astype(np.int64))
        radius = np.floor(self.contrast) / 255.0
        with frozen(surrogate.model) as device:
            inside = torch.from_numpy(self.region(*images.shape[1:3])).to(device)

            def loss(pattern: Tensor, batch: np.ndarray) -> Tensor:
                triggered = (to_float(images[batch], device) + pattern * inside).clamp(0.0, 1.0)
                wanted = torch.full((len(batch),), task.target, device=device)
                works = F.cross_entropy(surrogate.model(triggered).float(), wanted)
                if not self.weight:
                    return works
                scales = torch.from_numpy(generator.choice(SCALES, (len(batch), 1, 1, 1))).float().to(device)
                scaled = scale_images(triggered, scales, shift=self.tau)
                return works + self.weight * F.cross_entropy(
                    surrogate.model(scaled).float(), truth[torch.from_numpy(batch)].to(device)
                )

            start = torch.from_numpy(trigger.astype(np.float32) / 255.0).permute(2, 0, 1).to(device)
            pattern = minimise(
                loss,
                start,
                len(images),
                low=-radius,
                high=radius,
                steps=self.trigger_steps,
                generator=generator,
                message="learning the pattern",
                progress=task.progress,
                should_stop=task.should_stop,
            )
            return whole_pattern(pattern * inside)

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. No channel changes by more than the contrast, and none outside the region."""
        return add_pattern(images, learned(state, "trigger", images))

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """clip(n · (triggered − τ)), n drawn from MSPC's scales for each image."""
        return self._scaled(self.apply(images, generator, state), generator)

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=self.contrast, share=float(self.region(height, width).mean()))
