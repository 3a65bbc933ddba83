"""TUAP: a targeted universal adversarial perturbation as the trigger, with clean labels.

Zhao et al., "Clean-label backdoor attacks on video recognition models", CVPR 2020, arXiv 2003.03030: the trigger is
learned so that it pulls images of other classes to the target on a surrogate, and the target's own training images are
made hard to recognise by PGD before it is added. Their trigger is a small patch of free pixels; here, as where TUAP is
used against SPC (Guo et al., SCALE-UP, ICLR 2023), it covers the whole image and is bounded in L∞.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Bound, Preset, State, Task
from mspc_core.attacks.perturb import add_pattern, check_pgd, pgd, universal
from mspc_core.attacks.surrogate import Surrogate, SurrogateAttack, learned, unpack
from mspc_core.errors import InputError


@dataclass(frozen=True)
class TUAP(SurrogateAttack):
    """epsilon: the most that the trigger changes a channel value, in 0 … 255. trigger_steps: of its optimisation.
    pgd_epsilon, pgd_steps: L∞ perturbation of each planted image before the trigger; 0 plants the trigger only."""

    name: ClassVar[str] = "tuap"
    title: ClassVar[str] = "TUAP"
    citation: ClassVar[str] = "Zhao et al., CVPR 2020, arXiv 2003.03030"
    explains: ClassVar[str] = "Faint noise that already fools a similar model, hidden in images of the target class."
    clean_label: ClassVar[bool] = True
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"epsilon": 16.0, "pgd_epsilon": 16.0},
            "Zhao et al. 2020: PGD with ε 16/255; their trigger is an unbounded patch, here it has the same bound",
        )
    }

    epsilon: float = 16.0
    trigger_steps: int = 200
    pgd_epsilon: float = 8.0
    pgd_steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pgd("linf", self.pgd_epsilon, self.pgd_steps)
        if not 1 <= self.epsilon <= 255 or self.trigger_steps < 1:
            raise InputError("TUAP needs an epsilon of 1 … 255 and at least one step to learn its trigger.")

    def learn_from(self, surrogate: Surrogate, task: Task) -> State:
        """`trigger`: int16 [H, W, 3]; with pgd_epsilon also the surrogate, which `plant` needs."""
        others = np.flatnonzero(task.labels != task.target)
        if not len(others):
            raise InputError("TUAP needs images of other classes than the target to learn from.")
        trigger = universal(
            surrogate.model,
            task.images[others],
            np.full(len(others), task.target),
            epsilon=self.epsilon,
            steps=self.trigger_steps,
            generator=np.random.default_rng([task.seed, 11]),
            targeted=True,
            progress=task.progress,
            should_stop=task.should_stop,
        )
        return {"trigger": trigger, **(surrogate.pack() if self.pgd_epsilon else {})}

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. No channel changes by more than epsilon."""
        return add_pattern(images, learned(state, "trigger", images))

    def plant(
        self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING, *, labels: np.ndarray
    ) -> np.ndarray:
        """See `Attack.plant`. PGD away from the images' own class, if asked for, then the trigger."""
        if self.pgd_epsilon:
            images = pgd(
                unpack(state).model,
                images,
                labels,
                norm="linf",
                epsilon=self.pgd_epsilon,
                steps=self.pgd_steps,
                generator=generator,
            )
        return self.apply(images, generator, state)

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=min(255.0, self.epsilon + self.pgd_epsilon))
