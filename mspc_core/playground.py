"""Try a recorded trigger at test time: on one image, and on many to estimate how often the prediction turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mspc_core.attacks import base
from mspc_core.attacks.labels import attack_succeeded
from mspc_core.attacks.preview import between
from mspc_core.attacks.settings import Setting, settings_of, strength_of
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from mspc_core.attacks.base import Attack, State
    from mspc_core.attacks.recipe import Recipe
    from mspc_core.data.store import Dataset

MANY = 64
_MIX = "share of the trigger"


@dataclass(frozen=True)
class Trial:
    """One image before and after. images: uint8 [2, H, W, 3]; probabilities: float32 [2, C]."""

    images: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> tuple[int, int]:
        before, after = self.probabilities.argmax(1)
        return int(before), int(after)

    @property
    def flipped(self) -> bool:
        return self.predicted[0] != self.predicted[1]


@dataclass(frozen=True)
class Tally:
    """Many images. rows: of the data set [N]; before, after: predicted classes [N]; reached: bool [N], the prediction
    became what the attacker wants; already: bool [N], it was that without the trigger."""

    rows: np.ndarray
    before: np.ndarray
    after: np.ndarray
    reached: np.ndarray
    already: np.ndarray

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def hits(self) -> int:
        return int(self.reached.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % interval of the success rate (Clopper & Pearson 1934)."""
        from mspc_core.reviews.audit import clopper_pearson

        return clopper_pearson(self.hits, self.count)


def strength_setting(attack: Attack) -> Setting:
    """What can be turned at test time: the attack's own setting, else how much of the trigger's change is made."""
    name = strength_of(attack.name)
    if name is None:
        return Setting(
            _MIX, "number", 1.0, 0.0, 1.5, 0.05, help="1 is the trigger as it is; below, less of its change."
        )
    found = next(setting for setting in settings_of(attack.name) if setting.name == name)
    planted = getattr(attack, name)
    low, high = min(found.low or 0, planted), max(found.high or planted, planted)
    return Setting(name, found.kind, planted, low, high, found.step, help=found.help)


def apply_at(attack: Attack, images: np.ndarray, value: float | None, state: State, seed: int = 0) -> np.ndarray:
    """The trigger at one strength on uint8 [N, H, W, 3]. value: of `strength_setting`; None as it is recorded."""
    generator = np.random.default_rng([seed, 22])
    if value is None:
        return attack.apply(images, generator, state)
    setting = strength_setting(attack)
    if setting.name == _MIX:
        return between(images, attack.apply(images, generator, state), value)
    changed = base.create(attack.name, {**base.as_json(attack), setting.name: setting.value(value)})
    return changed.apply(images, generator, state)


def try_one(model: nn.Module, image: np.ndarray, attack: Attack, state: State, value: float | None = None) -> Trial:
    """One image uint8 [H, W, 3] with and without the trigger, and what the model says of both."""
    triggered = apply_at(attack, image[None], value, state)
    both = np.concatenate([image[None], triggered])
    return Trial(both, probabilities(model, both))


def try_many(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    *,
    state: State | None = None,
    value: float | None = None,
    count: int = MANY,
    seed: int = 0,
) -> Tally:
    """Random clean images that the attacker would want to turn. state: what the attack learned, read if not given.

    Raises `InputError` where there are no such images.
    """
    rows = candidates(dataset, recipe)
    if not len(rows):
        raise InputError("This data set has no clean image outside the target class to try the trigger on.")
    rows = np.sort(np.random.default_rng([seed, 23]).permutation(rows)[:count])
    images, labels = np.array(dataset.pixels[rows]), dataset.manifest["label"].to_numpy()[rows].astype(np.int64)
    triggered = apply_at(recipe.attack, images, value, dataset.trigger() if state is None else state, seed)
    before, after = (probabilities(model, batch).argmax(1) for batch in (images, triggered))
    classes = len(dataset.info.classes)

    def wanted(predicted: np.ndarray) -> np.ndarray:
        return attack_succeeded(predicted, labels, recipe.label_mode, target=recipe.target, classes=classes)

    return Tally(rows, before, after, wanted(after), wanted(before))


def candidates(dataset: Dataset, recipe: Recipe) -> np.ndarray:
    """Rows of clean images that are not of the target class already: of the test split, else of the training split
    without what was poisoned; int64, ascending."""
    from mspc_core.evaluate import load_truth

    rows = dataset.indices("test")
    labels = dataset.manifest["label"].to_numpy()
    if not len(rows):
        truth = load_truth(dataset)
        touched = np.zeros(len(labels), dtype=bool)
        if truth is not None:
            for column in ("is_backdoor", "is_cover"):
                touched |= truth[column].to_numpy(bool) if column in truth else False
        rows = np.flatnonzero(~touched)
    if recipe.label_mode in ("all-to-all", "random"):
        return rows
    return rows[labels[rows] != recipe.target]


def probabilities(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Softmax of uint8 [N, H, W, 3], float32 [N, C]."""
    from mspc_core.engine.forward import predict_logits

    found: np.ndarray = predict_logits(model, images).softmax(1).numpy()
    return found
