"""The contract of an attack: a frozen config, parameters drawn once, a deterministic transform.

Split as torchvision's `transforms.v2` does it: what is random is drawn first and recorded, and the same parameters give
the same pixels ever after. Images are uint8 [N, H, W, 3]; arithmetic is done in float and rounded, so bright pixels
saturate and never wrap around.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from importlib import import_module
from typing import Any, ClassVar, Protocol

import numpy as np

from mspc_core.errors import InputError


class Attack(Protocol):
    """A dirty-label trigger. `cover_ratio`: cover samples (weaker trigger, label kept) for each poisoned one."""

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]

    @property
    def cover_ratio(self) -> float: ...

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The trigger as the attacker plants and later uses it: uint8 [N, H, W, 3] → the same shape."""
        ...

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The form that cover samples get; attacks without cover samples return the images unchanged."""
        ...


REGISTRY: dict[str, str] = {
    "badnets": "mspc_core.attacks.badnets:BadNets",
    "blend": "mspc_core.attacks.blend:Blend",
    "wanet": "mspc_core.attacks.wanet:WaNet",
}


_KIND_WORDS: dict[type, str] = {int: "whole number (seeds from 0)", float: "number", str: "word", bool: "true or false"}


def attack_class(name: str) -> Any:
    """The class behind a registered name. Raises `InputError` for an unknown one."""
    if name not in REGISTRY:
        raise InputError(f"There is no attack {name!r}: choose from {', '.join(REGISTRY)}.")
    module, _, attribute = REGISTRY[name].partition(":")
    return getattr(import_module(module), attribute)


def create(name: str, config: dict[str, Any] | None = None) -> Attack:
    """An attack from its name and JSON configuration. Raises `InputError` for unknown or impossible settings."""
    cls = attack_class(name)
    kinds = {field.name: type(field.default) for field in fields(cls)}
    for key, value in (config or {}).items():
        kind = kinds.get(key)
        fits = type(value) is kind or (kind is float and type(value) is int)
        if kind and (not fits or (key.endswith("seed") and value < 0)):
            raise InputError(f"{name}: {key} must be a {_KIND_WORDS[kind]}, not {value!r}.")
    try:
        attack: Attack = cls(**(config or {}))
    except TypeError as error:
        raise InputError(f"{name} does not take these settings ({error}).") from None
    return attack


def as_json(attack: Attack) -> dict[str, Any]:
    """The attack's settings as plain JSON values; `create(attack.name, …)` rebuilds it."""
    return asdict(attack)  # type: ignore[call-overload]


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Round and saturate float values in [0, 255]."""
    clipped: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped
