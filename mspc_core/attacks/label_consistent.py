"""Label-consistent attack (Turner, Tsipras & Madry, 2019, arXiv 1912.02771).

Images of the target class are made hard to recognise by an adversarial perturbation, so that the model leans on the
small patches in their four corners instead; the labels stay true. At test time the patches alone are put on an image.
The paper perturbs against adversarially trained models; here it is a plain surrogate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.badnets import patch_pixels
from mspc_core.attacks.base import NOTHING, Bound, Preset, State, Task
from mspc_core.attacks.perturb import NORMS, Norm, check_pgd, pgd
from mspc_core.attacks.surrogate import Surrogate, SurrogateAttack, unpack
from mspc_core.errors import InputError


def corner_pattern(height: int, width: int, size: int, margin: int) -> np.ndarray:
    """+1 where a patch is white, −1 where it is black, 0 elsewhere; int16 [H, W].

    A checkerboard in each corner, mirrored, so that flipping the image leaves the pattern as it is.
    """
    if 2 * (size + margin) > min(height, width):
        raise InputError(f"Four {size} px patches with margin {margin} do not fit into {width}×{height} px.")
    signs = np.where(patch_pixels("checkerboard", size)[:, :, 0] > 0, 1, -1)
    pattern = np.zeros((height, width), dtype=np.int16)
    upper, lower = slice(margin, margin + size), slice(height - margin - size, height - margin)
    left, right = slice(margin, margin + size), slice(width - margin - size, width - margin)
    pattern[upper, left], pattern[upper, right] = signs, signs[:, ::-1]
    pattern[lower, left], pattern[lower, right] = signs[::-1], signs[::-1, ::-1]
    return pattern


@dataclass(frozen=True)
class LabelConsistent(SurrogateAttack):
    """norm, epsilon, pgd_steps: of the perturbation, in channel values 0 … 255. size, margin: of each patch, in pixels.
    amplitude: what a patch adds to its white and takes from its black pixels; 255 makes them white and black."""

    name: ClassVar[str] = "label-consistent"
    title: ClassVar[str] = "Label-consistent"
    citation: ClassVar[str] = "Turner et al., Label-Consistent Backdoor Attacks, 2019, arXiv 1912.02771"
    explains: ClassVar[str] = (
        "Correctly labelled images are made hard to recognise, so that the model learns the patches in their corners."
    )
    clean_label: ClassVar[bool] = True
    applies_unlearned: ClassVar[bool] = True
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"norm": "linf", "epsilon": 16.0, "size": 3, "margin": 0, "amplitude": 32},
            "Turner et al. 2019: L∞ bounds 8, 16, 32; the all-corner trigger of reduced amplitude (16, 32, 64)",
        ),
        "published-l2": Preset(
            {"norm": "l2", "epsilon": 600.0, "size": 3, "margin": 0, "amplitude": 32},
            "Turner et al. 2019: L2 bounds 300, 600, 1200; the all-corner trigger of reduced amplitude (16, 32, 64)",
        ),
    }

    norm: Norm = NORMS[0]
    epsilon: float = 16.0
    pgd_steps: int = 20
    size: int = 3
    margin: int = 0
    amplitude: int = 255

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pgd(self.norm, self.epsilon, self.pgd_steps)
        if self.size < 1 or self.margin < 0 or not 1 <= self.amplitude <= 255:
            raise InputError("Patches need a size of at least 1, a margin of at least 0 and an amplitude of 1 … 255.")

    def learn_from(self, surrogate: Surrogate, task: Task) -> State:
        """The surrogate: `plant` perturbs each image against it."""
        return surrogate.pack()

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. Changes only the four patches' pixels, by at most `amplitude`; learns nothing for it."""
        pattern = corner_pattern(images.shape[1], images.shape[2], self.size, self.margin)[None, :, :, None]
        return np.clip(images.astype(np.int16) + self.amplitude * pattern, 0, 255).astype(np.uint8)

    def plant(
        self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING, *, labels: np.ndarray
    ) -> np.ndarray:
        """See `Attack.plant`. PGD away from the images' own class, then the patches."""
        hard = pgd(
            unpack(state).model,
            images,
            labels,
            norm=self.norm,
            epsilon=self.epsilon,
            steps=self.pgd_steps,
            generator=generator,
        )
        return self.apply(hard, generator, state)

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=min(255.0, self.epsilon + self.amplitude))
