"""Clean-label attack with one patch: the CleanLabel baseline of Pal et al., ICLR 2024, arXiv 2403.10717.

The plain form of Turner et al. 2019 (see `label_consistent`): target-class images are perturbed so that they are hard
to recognise, and one patch is put on them; labels stay true. It differs from the label-consistent attack in the trigger
(one BadNets patch instead of four in the corners) and in that the perturbation may be a universal one, shared by all
planted images, instead of one for each image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mspc_core.attacks.badnets import BadNets, Pattern, Place
from mspc_core.attacks.base import NOTHING, Bound, Preset, State, Task
from mspc_core.attacks.perturb import add_pattern, check_pgd, pgd, universal
from mspc_core.attacks.surrogate import Surrogate, SurrogateAttack, learned, unpack
from mspc_core.errors import InputError

Perturbation = Literal["pgd", "universal"]
PERTURBATIONS: tuple[Perturbation, ...] = ("pgd", "universal")


@dataclass(frozen=True)
class CleanLabel(SurrogateAttack):
    """perturbation: pgd (one for each image) or universal (one for all). epsilon: its L∞ bound in 0 … 255. steps: of
    PGD or, times ten, of the universal one. size, pattern, place, margin, opacity: of the patch, as for `badnets`."""

    name: ClassVar[str] = "clean-label"
    title: ClassVar[str] = "Clean-label patch"
    citation: ClassVar[str] = "CleanLabel in Pal et al., ICLR 2024, arXiv 2403.10717, after Turner et al. 2019"
    explains: ClassVar[str] = "Correctly labelled images are made hard to recognise and get one small patch."
    clean_label: ClassVar[bool] = True
    applies_unlearned: ClassVar[bool] = True
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"epsilon": 8.0, "size": 3, "margin": 0},
            "Turner et al. 2019: L∞ bound 8 (of 8, 16, 32) and a 3×3 black-and-white patch in the lower right corner",
        )
    }

    perturbation: Perturbation = "pgd"
    epsilon: float = 16.0
    steps: int = 20
    size: int = 4
    pattern: Pattern = "checkerboard"
    place: Place = "lower-right"
    margin: int = 1
    opacity: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pgd("linf", self.epsilon, self.steps)
        if self.perturbation not in PERTURBATIONS or self.epsilon < 1:
            raise InputError(f"Perturbations are {' and '.join(PERTURBATIONS)}, with an epsilon of at least 1.")
        self._patch()

    def _patch(self) -> BadNets:
        return BadNets(self.size, self.pattern, self.place, self.margin, self.opacity)

    def learn_from(self, surrogate: Surrogate, task: Task) -> State:
        """The surrogate for PGD, or `perturbation`: int16 [H, W, 3], drives target-class images from their class."""
        if self.perturbation == "pgd":
            return surrogate.pack()
        rows = np.flatnonzero(task.labels == task.target)
        if not len(rows):
            raise InputError("A clean-label attack needs training images of the target class.")
        delta = universal(
            surrogate.model,
            task.images[rows],
            task.labels[rows],
            epsilon=self.epsilon,
            steps=10 * self.steps,
            generator=np.random.default_rng([task.seed, 12]),
            targeted=False,
            progress=task.progress,
            should_stop=task.should_stop,
        )
        return {"perturbation": delta}

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. Changes only the patch's pixels."""
        return self._patch().apply(images, generator)

    def plant(
        self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING, *, labels: np.ndarray
    ) -> np.ndarray:
        """See `Attack.plant`. The perturbation, then the patch."""
        if self.perturbation == "pgd":
            model = unpack(state).model
            hard = pgd(model, images, labels, norm="linf", epsilon=self.epsilon, steps=self.steps, generator=generator)
        else:
            hard = add_pattern(images, learned(state, "perturbation", images))
        return self.apply(hard, generator, state)

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=min(255.0, 255.0 * self.opacity + self.epsilon + 0.5))
