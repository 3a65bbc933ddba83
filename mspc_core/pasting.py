"""The transplant on images that somebody chose: cut a region from one image, paste it on others, ask the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Pasted:
    """images: the receiving images with the region on them, uint8 [K, H, W, 3]; before, after: probabilities, float32
    [K, C]; donor: probabilities of the image the region was cut from, float32 [C]."""

    images: np.ndarray
    before: np.ndarray
    after: np.ndarray
    donor: np.ndarray

    @property
    def target(self) -> int:
        """The class that the model gives the donor, which the region may carry along."""
        return int(self.donor.argmax())

    @property
    def eligible(self) -> np.ndarray:
        """Receiving images that had another class before, bool [K]: only these can turn."""
        found: np.ndarray = self.before.argmax(1) != self.target
        return found

    @property
    def turned(self) -> np.ndarray:
        """Had another class and have the donor's now, bool [K]."""
        found: np.ndarray = self.eligible & (self.after.argmax(1) == self.target)
        return found


def paste(donor: np.ndarray, region: np.ndarray, receivers: np.ndarray) -> np.ndarray:
    """The donor's pixels inside the region, the receivers' outside: uint8 [K, H, W, 3].

    donor: uint8 [H, W, 3]; region: bool [H, W]; receivers: uint8 [K, H, W, 3].
    """
    return np.where(region[None, ..., None], donor[None], receivers)


def paste_and_ask(model: nn.Module, donor: np.ndarray, region: np.ndarray, receivers: np.ndarray) -> Pasted:
    """Paste, and what the model says of the donor, of the receivers, and of the receivers with the region."""
    mixed = paste(donor, region, receivers)
    said = probabilities(model, np.concatenate([donor[None], receivers, mixed]))
    count = len(receivers)
    return Pasted(mixed, said[1 : 1 + count], said[1 + count :], said[0])


def probabilities(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """What the model says of uint8 [N, H, W, 3]: float32 [N, C]. Raises `InputError` where it gives NaN."""
    from mspc_core.engine.forward import predict_logits

    found: np.ndarray = predict_logits(model, images).softmax(1).numpy()
    return found
