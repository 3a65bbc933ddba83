"""An attack's settings as a form needs them: kind, range, choices and the words of the attack's own docstring.

Kinds and choices come from the fields of the dataclass, so that a new attack has its controls at once. Ranges are this
module's: what is worth trying, not what is possible; the attack itself refuses what it cannot do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mspc_core.attacks.base import Attack, attack_class, create
from mspc_core.errors import InputError

Kind = Literal["whole", "number", "choice", "switch"]
LARGEST_SEED = 2**31 - 1

# Name of a setting → lowest, highest, step. `attack.name` wins over `name`.
_RANGES: dict[str, tuple[float, float, float]] = {
    "alpha": (0.02, 1.0, 0.01),
    "amplitude": (1, 255, 1),
    "bits": (4, 192, 1),
    "content": (0.0, 20.0, 0.5),
    "contrast": (1.0, 128.0, 1.0),
    "covers": (0.0, 4.0, 0.25),
    "cross_ratio": (0.0, 4.0, 0.25),
    "delta": (1.0, 128.0, 1.0),
    "density": (0.01, 0.5, 0.01),
    "detoxification": (0.0, 4.0, 0.25),
    "diversity": (0.0, 4.0, 0.1),
    "epochs": (0, 200, 1),
    "epsilon": (1.0, 64.0, 1.0),
    "frequency": (1, 32, 1),
    "hidden": (0.0, 0.9, 0.05),
    "invisibility": (0.0, 4.0, 0.1),
    "k": (2, 12, 1),
    "label-consistent.epsilon": (0.0, 1200.0, 1.0),  # L2 bounds are that large
    "largest_scale": (2, 20, 1),
    "levels": (2, 64, 1),
    "margin": (0, 16, 1),
    "mask_steps": (1, 1000, 1),
    "neurons": (1, 16, 1),
    "object.size": (3, 24, 1),
    "opacity": (0.05, 1.0, 0.05),
    "adaptive-mask.size": (0, 24, 1),
    "pgd_epsilon": (0.0, 64.0, 1.0),
    "pgd_steps": (1, 100, 1),
    "pieces": (1, 8, 1),
    "planted": (1, 4, 1),
    "poison_rate": (0.01, 0.49, 0.01),
    "rounds": (1, 6, 1),
    "share": (0.01, 0.5, 0.01),
    "shift": (0.0, 0.5, 0.05),
    "shown": (1, 4, 1),
    "size": (1, 24, 1),
    "steps": (1, 10_000, 1),
    "clean-label.steps": (1, 200, 1),
    "strength": (0.05, 1.0, 0.05),
    "wanet.strength": (0.1, 3.0, 0.1),
    "tau": (0.0, 0.5, 0.05),
    "test_alpha": (0.02, 1.0, 0.01),
    "test_opacity": (0.05, 1.0, 0.05),
    "trigger_steps": (1, 2000, 1),
    "triggers": (1, 5, 1),
    "weight": (0.0, 8.0, 0.25),
}
_IN_PIXELS = ("size", "margin")
_ARCHITECTURES = ("small-cnn", "tiny-vit", "resnet18")
_WORDS = {
    "pattern": "What the patch shows.",
    "place": "Where the patch is put.",
    "field_seed": "Draws the warp.",
    "largest_scale": "The most that a cover sample is multiplied by.",
    "trigger_steps": "Of learning the pattern.",
}
# The setting that makes a trigger stronger or weaker at test time, without learning anything anew.
_STRENGTHS = {
    "badnets": "opacity",
    "blend": "alpha",
    "wanet": "strength",
    "sig": "delta",
    "trojan": "opacity",
    "adaptive-blend": "test_alpha",
    "adaptive-patch": "test_opacity",
    "object": "opacity",
    "trojannn": "opacity",
    "label-consistent": "amplitude",
    "clean-label": "opacity",
    "dfst": "strength",
    "issba": "epsilon",
}


@dataclass(frozen=True)
class Setting:
    """One setting. low, high, step: of numbers; None where nothing is known. choices: of words. help: plain text."""

    name: str
    kind: Kind
    default: Any
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    help: str = ""

    @property
    def title(self) -> str:
        """The name in words: `pattern_seed` → Pattern seed."""
        return self.name.replace("_", " ").capitalize()

    @property
    def drags(self) -> bool:
        """Few enough steps for a slider."""
        if self.low is None or self.high is None or not self.step:
            return False
        return (self.high - self.low) / self.step <= 256

    def value(self, given: Any) -> Any:
        """What a form gave as the type and inside the range that the setting has."""
        if self.kind == "switch":
            return bool(given)
        if self.kind == "choice":
            return given if given in self.choices else self.default
        number = float(given)
        if self.low is not None:
            number = max(float(self.low), number)
        if self.high is not None:
            number = min(float(self.high), number)
        return int(number) if self.kind == "whole" else number


def settings_of(name: str, side: int = 0) -> list[Setting]:
    """The settings of a registered attack, in the order of its fields. side: of the images; patches end there."""
    cls = attack_class(name)
    hints, explained = get_type_hints(cls), explanations(cls)
    found = []
    for field in fields(cls):  # type: ignore[arg-type]
        words = explained.get(field.name) or _WORDS.get(field.name, "")
        found.append(_setting(name, field.name, field.default, hints[field.name], words, side))
    return found


def strength_of(name: str) -> str | None:
    """The setting that says how strong the trigger is at test time; None for attacks without one."""
    return _STRENGTHS.get(name)


def explanations(cls: type[Attack]) -> dict[str, str]:
    """Setting → what the docstrings of an attack and its bases say of it (`name: words.`, several names share them)."""
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for paragraph in (base.__dict__.get("__doc__") or "").split("\n\n"):
            found |= _explained(" ".join(paragraph.split()), known)
    return found


def _explained(text: str, known: set[str]) -> dict[str, str]:
    starts = [
        (match, names)
        for match in re.finditer(r"(?:(?<=^)|(?<=[.;] ))((?:\w+, )*\w+): ", text)
        if known.issuperset(names := match[1].split(", "))
    ]
    ends = [*(match.start() for match, _ in starts), len(text)][1:]
    found: dict[str, str] = {}
    for (match, names), end in zip(starts, ends, strict=True):
        words = text[match.end() : end].strip().rstrip(";").rstrip(".")
        found |= dict.fromkeys(names, words[:1].upper() + words[1:] + ".")
    return found


def _accepted(attack: str, name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    """Some attacks share a type of choices and refuse one of them, such as a random place."""
    kept = []
    for choice in choices:
        try:
            create(attack, {name: choice})
            kept.append(choice)
        except InputError:
            continue
    return tuple(kept)


def _setting(attack: str, name: str, default: Any, hint: Any, words: str, side: int) -> Setting:
    if get_origin(hint) is Literal:
        return Setting(name, "choice", default, choices=_accepted(attack, name, get_args(hint)), help=words)
    if isinstance(default, bool):
        return Setting(name, "switch", default, help=words)
    if isinstance(default, str):
        choices = _ARCHITECTURES if name == "arch" else ()
        return Setting(name, "choice", default, choices=choices or (default,), help=words)
    kind: Kind = "whole" if isinstance(default, int) else "number"
    if name.endswith("seed"):
        return Setting(name, kind, default, 0, LARGEST_SEED, 1, help=words)
    low, high, step = _RANGES.get(f"{attack}.{name}") or _RANGES.get(name) or (None, None, None)
    if high is not None and side and name in _IN_PIXELS:
        high = max(default, min(high, side // (2 if name == "margin" else 1)))
    return Setting(name, kind, default, low, high, step, help=words)
