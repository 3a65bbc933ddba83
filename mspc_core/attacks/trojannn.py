"""TrojanNN: a patch whose pixels excite chosen neurons (Liu et al., "Trojaning attack on neural networks", NDSS 2018).

The paper takes the neuron with the largest sum of absolute weights (section IV, eq. 3), optimises the pixels inside a
mask until the neuron reaches a target value (Algorithm 1), and retrains a given model. Here the patch is planted as
poison. The paper sums the weights into a fully connected layer; in front of the features of a CNN there is a
convolution with BatchNorm, whose weights have no scale of their own, so the weights out of them are summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mspc_core.attacks.badnets import BadNets, Place, paste
from mspc_core.attacks.base import NOTHING, Bound, Preset, State, Task
from mspc_core.attacks.perturb import minimise
from mspc_core.attacks.surrogate import Surrogate, SurrogateAttack, learned
from mspc_core.errors import InputError, ShouldStop, stop_if

if TYPE_CHECKING:
    from torch import Tensor

_TARGET_VALUE = 10.0  # times the neuron's greatest activation on clean images, so that no patch ever reaches it
_SAMPLE = 512


def neuron_inputs(surrogate: Surrogate, images: Tensor) -> Tensor:
    """The features [B, F] of float images [B, 3, H, W]: what the last linear layer is given."""
    from mspc_core.models.zoo import feature_layer

    kept: list[Tensor] = []
    handle = feature_layer(surrogate.model).register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    try:
        surrogate.model(images)
    finally:
        handle.remove()
    return kept[0].float()


def activations(surrogate: Surrogate, images: np.ndarray, should_stop: ShouldStop | None = None) -> np.ndarray:
    """Features of uint8 images [N, H, W, 3], float32 [N, F]."""
    import torch

    from mspc_core.engine.device import batch_size_for
    from mspc_core.engine.forward import frozen, to_float

    found = []
    with frozen(surrogate.model) as device, torch.inference_mode():
        size = batch_size_for(device, images.shape[1])
        for first in range(0, len(images), size):
            stop_if(should_stop)
            found.append(neuron_inputs(surrogate, to_float(images[first : first + size], device)).cpu().numpy())
    return np.concatenate(found)


def connected_neurons(weights: np.ndarray, alive: np.ndarray, count: int) -> np.ndarray:
    """Indices int64 of the `count` features with the largest summed absolute weights.

    weights: [C, F] of the last layer. alive: bool [F]; a feature that is never active has no gradient to follow.
    """
    strength = np.where(alive, np.abs(weights).sum(0), -1.0)
    return np.argsort(-strength, kind="stable")[: min(count, int(alive.sum()))].astype(np.int64)


@dataclass(frozen=True)
class TrojanNN(SurrogateAttack):
    """neurons: how many are excited. trigger_steps: of the optimisation. size, place, margin: the square mask, in
    pixels; any place but random. opacity: 1 replaces the pixels; one minus the paper's transparency."""

    name: ClassVar[str] = "trojannn"
    title: ClassVar[str] = "TrojanNN patch"
    citation: ClassVar[str] = "Liu et al., Trojaning Attack on Neural Networks, NDSS 2018"
    explains: ClassVar[str] = "A patch whose colours are computed to excite single neurons of a similar model."
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"neurons": 1, "size": 8, "margin": 0, "opacity": 0.3},
            "Liu et al. 2018 compare squares of 4, 7 and 10 % of the image and transparencies up to 70 %; "
            "this is one neuron, 8×8 of 32×32 px (6 %), 70 %",
        )
    }

    neurons: int = 1
    trigger_steps: int = 200
    size: int = 6
    place: Place = "lower-right"
    margin: int = 1
    opacity: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neurons < 1 or self.trigger_steps < 1 or self.place == "random":
            raise InputError("TrojanNN needs at least one neuron, at least one step and a place that is not random.")
        self._frame()

    def _frame(self) -> BadNets:
        return BadNets(self.size, "white", self.place, self.margin, self.opacity)

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        (top,), (left,) = self._frame().corners(1, height, width, np.random.default_rng(0))
        return int(top), int(left)

    def learn_from(self, surrogate: Surrogate, task: Task) -> State:
        """`patch`: uint8 [H, W, 3], black outside the mask; `neurons`: int64, the excited features."""
        import torch

        from mspc_core.engine.forward import device_of, frozen, to_float
        from mspc_core.models.zoo import feature_layer

        generator = np.random.default_rng([task.seed, 13])
        images = task.images[np.sort(generator.permutation(len(task.images))[:_SAMPLE])]
        height, width = images.shape[1:3]
        top, left = self._corner(height, width)
        weights = feature_layer(surrogate.model).weight
        if not isinstance(weights, torch.Tensor):
            raise InputError(f"The last layer of {self.arch} has no weights to choose neurons by.")
        clean = activations(surrogate, images, task.should_stop)
        chosen = connected_neurons(weights.detach().cpu().numpy(), clean.max(0) > clean.min(0), self.neurons)
        device, columns = device_of(surrogate.model), torch.from_numpy(chosen)
        wanted = torch.from_numpy(_TARGET_VALUE * np.abs(clean[:, chosen]).max(0)).to(device)  # [neurons]
        inside = (slice(None), slice(None), slice(top, top + self.size), slice(left, left + self.size))

        def loss(patch: Tensor, rows: np.ndarray) -> Tensor:
            batch = to_float(images[rows], device)
            batch[inside] = (1.0 - self.opacity) * batch[inside] + self.opacity * patch
            excited = neuron_inputs(surrogate, batch)[:, columns.to(device)]
            return (((wanted - excited) / wanted) ** 2).mean()

        with frozen(surrogate.model):
            start = torch.from_numpy(generator.uniform(0, 1, (3, self.size, self.size)).astype(np.float32)).to(device)
            patch = minimise(
                loss,
                start,
                len(images),
                low=0.0,
                high=1.0,
                steps=self.trigger_steps,
                generator=generator,
                progress=task.progress,
                should_stop=task.should_stop,
            )
        whole = np.zeros((height, width, 3), dtype=np.uint8)
        pixels = np.rint(patch.permute(1, 2, 0).cpu().numpy() * 255.0).astype(np.uint8)
        whole[top : top + self.size, left : left + self.size] = pixels
        return {"patch": whole, "neurons": chosen}

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. Changes only the pixels of the mask."""
        top, left = self._corner(*images.shape[1:3])
        patch = learned(state, "patch", images)[top : top + self.size, left : left + self.size]
        return paste(images, patch, np.full(len(images), top), np.full(len(images), left), self.opacity)

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=255.0 * self.opacity + 0.5, share=self.size**2 / (height * width))
