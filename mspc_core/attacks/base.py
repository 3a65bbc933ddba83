"""The contract of an attack: a frozen config, what it learns once, parameters drawn once, a deterministic transform.

Split as torchvision's `transforms.v2` does it: what is random is drawn first and recorded, and the same parameters give
the same pixels ever after. Images are uint8 [N, H, W, 3]; arithmetic is done in float and rounded, so bright pixels
saturate and never wrap around.

An attack has up to four forms: what it *learns* from the clean data before anything is planted (a generator, a
universal perturbation, a surrogate model), the form it is *planted* in, the form that *cover* samples get, and the
trigger the attacker *applies* at test time. Most attacks learn nothing and plant what they apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from mspc_core.errors import InputError, Progress, ShouldStop

State = Mapping[str, np.ndarray]  # what an attack learned, as plain arrays: stored with the poisoned data set
NOTHING: State = {}


@dataclass(frozen=True)
class Task:
    """What the attacker has to learn from: clean training images uint8 [N, H, W, 3], labels int64 [N], the target."""

    images: np.ndarray
    labels: np.ndarray
    target: int
    classes: int
    seed: int = 0
    progress: Progress | None = None
    should_stop: ShouldStop | None = None


@dataclass(frozen=True)
class Bound:
    """What an attack may change. change: of a channel value, in 0 … 255. share: of the pixels of an image, in 0 … 1.
    Warps and styles are bounded by share 1 and change 255: their limits are in the attack's docstring and test."""

    change: float = 255.0
    share: float = 1.0


@dataclass(frozen=True)
class Preset:
    """Settings as somebody published them. The registry's defaults are this project's choice for 32×32 images."""

    settings: Mapping[str, Any]
    citation: str


class Attack:
    """Base of all attacks: a frozen dataclass of its settings. Override what differs from these defaults.

    clean_label: poison is drawn from the target class and keeps its label. learns: `learn` takes noticeable time.
    applies_unlearned: `apply` needs nothing of what was learned.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]
    explains: ClassVar[str]  # one sentence for people who never heard of it
    clean_label: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    applies_unlearned: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Preset]] = {}

    @property
    def cover_ratio(self) -> float:
        """Cover samples (a weaker or disturbed trigger, label kept) for each poisoned one."""
        return 0.0

    def learn(self, task: Task) -> State:
        """What has to be computed once from the clean data. Raises `Cancelled`, `InputError`."""
        return NOTHING

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """The trigger as the attacker uses it at test time: uint8 [N, H, W, 3] → the same shape, a new array."""
        raise NotImplementedError

    def plant(
        self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING, *, labels: np.ndarray
    ) -> np.ndarray:
        """The form that poisoned training samples get. labels: int64 [N], the true classes of these images."""
        return self.apply(images, generator, state)

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """The form that cover samples get; attacks without cover samples return the images unchanged."""
        return images

    def bound(self, height: int, width: int) -> Bound:
        """The most that `apply` and `plant` change in an image of this size."""
        return Bound()


REGISTRY: dict[str, str] = {
    "badnets": "mspc_core.attacks.badnets:BadNets",
    "blend": "mspc_core.attacks.blend:Blend",
    "wanet": "mspc_core.attacks.wanet:WaNet",
    "sig": "mspc_core.attacks.sig:Sig",
    "trojan": "mspc_core.attacks.trojan:Trojan",
    "bpp": "mspc_core.attacks.bpp:Bpp",
    "adaptive-blend": "mspc_core.attacks.adaptive_blend:AdaptiveBlend",
    "adaptive-patch": "mspc_core.attacks.adaptive_patch:AdaptivePatch",
    "object": "mspc_core.attacks.object_patch:ObjectPatch",
    "adaptive-scale": "mspc_core.attacks.adaptive_scale:AdaptiveScale",
    "trojannn": "mspc_core.attacks.trojannn:TrojanNN",
    "label-consistent": "mspc_core.attacks.label_consistent:LabelConsistent",
    "clean-label": "mspc_core.attacks.clean_label:CleanLabel",
    "tuap": "mspc_core.attacks.tuap:TUAP",
    "adaptive-mask": "mspc_core.attacks.adaptive_mask:AdaptiveMask",
    "dfst": "mspc_core.attacks.dfst:DFST",
    "issba": "mspc_core.attacks.issba:ISSBA",
    "input-aware": "mspc_core.attacks.inputaware:InputAware",
}


_KIND_WORDS: dict[type, str] = {int: "whole number (seeds from 0)", float: "number", str: "word", bool: "true or false"}


def attack_class(name: str) -> type[Attack]:
    """The class behind a registered name. Raises `InputError` for an unknown one."""
    if name not in REGISTRY:
        raise InputError(f"There is no attack {name!r}: choose from {', '.join(REGISTRY)}.")
    module, _, attribute = REGISTRY[name].partition(":")
    found: type[Attack] = getattr(import_module(module), attribute)
    return found


def create(name: str, config: Mapping[str, Any] | None = None, *, preset: str = "") -> Attack:
    """An attack from its name and JSON configuration, on top of a preset's settings if one is named.

    Raises `InputError` for unknown or impossible settings.
    """
    cls = attack_class(name)
    if preset and preset not in cls.presets:
        known = ", ".join(cls.presets) or "none"
        raise InputError(f"{name} has no preset {preset!r}: it has {known}.")
    config = {**(cls.presets[preset].settings if preset else {}), **(config or {})}
    kinds = {field.name: type(field.default) for field in fields(cls)}  # type: ignore[arg-type]
    for key, value in config.items():
        kind = kinds.get(key)
        fits = type(value) is kind or (kind is float and type(value) is int)
        if kind and (not fits or (key.endswith("seed") and value < 0)):
            raise InputError(f"{name}: {key} must be a {_KIND_WORDS[kind]}, not {value!r}.")
    try:
        return cls(**config)
    except TypeError as error:
        raise InputError(f"{name} does not take these settings ({error}).") from None


def as_json(attack: Attack) -> dict[str, Any]:
    """The attack's settings as plain JSON values; `create(attack.name, …)` rebuilds it."""
    return asdict(attack)  # type: ignore[call-overload]


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Round and saturate float values in [0, 255]."""
    clipped: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped
