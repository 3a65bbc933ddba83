"""How a lab data set was poisoned, read back: its recipe checked before anything is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mspc_core.attacks.labels import LABEL_MODES
from mspc_core.attacks.poison import trigger_from
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from mspc_core.attacks.base import Attack
    from mspc_core.data.store import Dataset


@dataclass(frozen=True)
class Recipe:
    """attack: with its settings. rate: share of the training images. source: name of the clean data set."""

    attack: Attack
    rate: float
    target: int
    label_mode: str
    seed: int
    source: str


def has_recipe(dataset: Dataset) -> bool:
    """Was this data set poisoned in the lab, with an attack that is known?"""
    return (dataset.root / "recipe.json").is_file()


def read_recipe(dataset: Dataset) -> Recipe:
    """The recipe of a lab data set. Raises `InputError` where there is none, or where it is damaged or unknown here."""
    name = dataset.info.name
    try:
        raw = dataset.recipe()
    except (OSError, ValueError):  # JSON errors and bad UTF-8 are ValueErrors
        raise InputError(_damaged(name, "is not readable")) from None
    if raw is None:
        raise InputError(
            f"It is not recorded how {name!r} was poisoned: only data sets made in the lab have a trigger."
        )
    try:
        attack = trigger_from(raw)
        found = Recipe(
            attack,
            float(raw["rate"]),
            int(raw["target_class"]),
            str(raw.get("label_mode", "all-to-one")),
            int(raw["seed"]),
            str(raw.get("source", "")),
        )
    except InputError as error:
        raise InputError(_damaged(name, f"cannot be used ({error})")) from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise InputError(_damaged(name, "is incomplete")) from None
    if not 0 <= found.target < len(dataset.info.classes) or found.label_mode not in LABEL_MODES:
        raise InputError(_damaged(name, "names a class or label mode that does not exist"))
    return found


def _damaged(name: str, what: str) -> str:
    return f"The recipe of {name!r} {what}: make the data set again in the Poison lab."
