"""The attacker's own model: trained on the clean data before anything is planted, and stored with the trigger.

Attacks that need gradients (adversarial perturbations, excited neurons) take them from this surrogate and rely on what
it learned being much like what the victim will learn (Turner et al. 2019, arXiv 1912.02771).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mspc_core.attacks.base import Attack, State, Task
from mspc_core.errors import InputError, Progress

if TYPE_CHECKING:
    import torch

    from mspc_core.models.zoo import ModelSpec, Normalised

_SPEC = "surrogate.spec"
_WEIGHTS = "surrogate.weights."
_SMALLEST = 8  # px; the small CNN halves the image three times


@dataclass(frozen=True)
class Surrogate:
    """A trained model in evaluation mode and what is needed to build it again."""

    model: Normalised
    spec: ModelSpec

    def pack(self) -> dict[str, np.ndarray]:
        """Plain arrays: `surrogate.spec` (JSON text) and `surrogate.weights.<name>` for each parameter and buffer."""
        arrays = {f"{_WEIGHTS}{name}": value.cpu().numpy() for name, value in self.model.state_dict().items()}
        return {_SPEC: np.array(json.dumps(self.spec.as_json())), **arrays}


@dataclass(frozen=True)
class SurrogateAttack(Attack):
    """Base of attacks that learn from a surrogate. Override `learn_from`.

    arch: the surrogate's architecture, as `models.zoo` names it. epochs: of its training; 0 chooses by the number of
    images, as for any model.
    """

    learns: ClassVar[bool] = True

    arch: str = "small-cnn"
    epochs: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise InputError("A surrogate is trained for 1 or more epochs; 0 lets the number of images decide.")

    def learn(self, task: Task) -> State:
        """Train the surrogate, then `learn_from` it. Raises `Cancelled`, `InputError`."""
        return self.learn_from(train_surrogate(task, arch=self.arch, epochs=self.epochs), task)

    def learn_from(self, surrogate: Surrogate, task: Task) -> State:
        """What this attack takes from the trained surrogate. Raises `Cancelled`, `InputError`."""
        raise NotImplementedError


def train_surrogate(
    task: Task, *, arch: str = "small-cnn", epochs: int = 0, start: Surrogate | None = None
) -> Surrogate:
    """A model of `task.classes` classes trained on the task's images and labels.

    epochs: 0 chooses as `models.train.resolve` does. start: train a copy of this one further instead of a new one. The
    same seed gives the same weights on the same machine, and torch's global random state is left as it was. Raises
    `Cancelled`, `InputError`.
    """
    import torch

    from mspc_core.engine.device import largest_training_batch, resolve_device
    from mspc_core.models.normalise import pixel_statistics
    from mspc_core.models.train import TrainConfig, resolve, train_model
    from mspc_core.models.zoo import ModelSpec, build_model

    height, width = task.images.shape[1:3]
    if min(height, width) < _SMALLEST:
        raise InputError(f"A surrogate needs images of at least {_SMALLEST} px, not {width}×{height} px.")
    if len(np.unique(task.labels)) < 2:
        raise InputError("A surrogate needs training images of at least two classes.")
    device = resolve_device()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(task.seed)
        spec = start.spec if start else ModelSpec(arch, task.classes, height, *pixel_statistics(task.images))
        model = build_model(spec)
        if start:
            model.load_state_dict(start.model.state_dict())
        model = model.to(device)
        config = resolve(
            TrainConfig(epochs=epochs or None, seed=task.seed),
            len(task.images),
            spec.arch,
            largest_training_batch(device, height),
        )
        train_model(
            model,
            task.images,
            task.labels,
            config,
            progress=_named(task.progress, "surrogate"),
            should_stop=task.should_stop,
        )
    return Surrogate(model.eval(), spec)


def unpack(state: State, device: torch.device | None = None) -> Surrogate:
    """The surrogate of `Surrogate.pack`, in evaluation mode. device: None takes the best there is.

    Raises `InputError` when the state holds none.
    """
    import torch

    from mspc_core.engine.device import resolve_device
    from mspc_core.models.zoo import ModelSpec, build_model

    if _SPEC not in state:
        raise InputError("This attack's surrogate model is missing from what it learned: poison the data again.")
    spec = ModelSpec.from_json(json.loads(str(state[_SPEC])))
    with torch.random.fork_rng(devices=[]):  # the fresh weights are overwritten, so what they are does not matter
        model = build_model(spec)
    weights = {
        key[len(_WEIGHTS) :]: torch.from_numpy(np.array(state[key])) for key in state if key.startswith(_WEIGHTS)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise InputError("The stored surrogate model does not fit its description: poison the data again.") from None
    return Surrogate(model.to(device or resolve_device()).eval(), spec)


def learned(state: State, name: str, images: np.ndarray) -> np.ndarray:
    """The array [H, W, …] that an attack learned for images [N, H, W, 3].

    Raises `InputError` when it was not learned, or for another size.
    """
    if name not in state:
        raise InputError(f"This attack has to learn its {name} first: poison a data set with it.")
    array = np.asarray(state[name])
    if array.shape[:2] != images.shape[1:3]:
        size, given = (f"{width}×{height} px" for height, width in (array.shape[:2], images.shape[1:3]))
        raise InputError(f"This trigger was learned for {size}, but the images have {given}: poison the data again.")
    return array


def _named(progress: Progress | None, name: str) -> Progress | None:
    """The same progress, with the stage's name in front of each message."""
    if progress is None:
        return None
    return lambda done, total, message: progress(done, total, f"{name}: {message}")
