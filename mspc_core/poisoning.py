"""Making a lab data set: one way for the command line and for background jobs, so that both give the same bytes.

    triggers/<key>.npz   what an attack learned from some data, kept: a preview and the data set then share it

The key names the clean pixels, the attack's settings, the target and the seed; the same learning gives the same arrays
on one machine, so whether they were kept or learned anew makes no difference.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import atomic, home
from mspc_core.attacks import base
from mspc_core.attacks.poison import (
    Amount,
    amount_of,
    check_clean,
    check_mode,
    learning_task,
    make_recipe,
    poison_dataset,
    resolve_class,
    source_key,
)
from mspc_core.data.store import Dataset, free_name, open_dataset
from mspc_core.errors import InputError, Progress, ShouldStop
from mspc_core.files import read_arrays

if TYPE_CHECKING:
    from mspc_core.attacks.base import Attack, State

_KEPT_TRIGGERS = 12
_SPARE = 2**20  # bytes beside the pixels: manifest, truth, recipe


@dataclass(frozen=True)
class PoisonConfig:
    """What to make. dataset: name of a stored clean one. settings: of the attack, on top of its defaults. target: a
    class by name, or by number. label_mode "": the attack's own. out "": a free name. scan: train and scan the result
    as soon as it is there. kind: "poison", or "trigger" for a job that only learns."""

    dataset: str
    attack: str = "badnets"
    settings: dict[str, Any] = field(default_factory=dict)
    preset: str = ""
    rate: float = 0.1
    target: int | str = 0
    seed: int = 0
    label_mode: str = ""
    from_target: bool = False
    out: str = ""
    scan: bool = False
    kind: str = "poison"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def _check_types(self) -> None:
        texts = (self.dataset, self.attack, self.preset, self.label_mode, self.out, self.kind)
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.settings, dict):
            raise TypeError("a name or the settings have the wrong type")
        if not isinstance(self.rate, int | float) or not isinstance(self.target, int | str):
            raise TypeError("the rate or the target has the wrong type")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise TypeError("the seed is no whole number from 0")

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> PoisonConfig:
        try:
            config = cls(**raw)
            config._check_types()
            return config
        except TypeError as error:
            raise InputError(f"What this job was to make is not readable ({error}): start a new one.") from None


@dataclass(frozen=True)
class Prepared:
    """A checked configuration with what it names opened."""

    config: PoisonConfig
    dataset: Dataset
    attack: Attack
    target: int
    mode: str

    @property
    def key(self) -> str:
        """Names what the attack learns here."""
        parts = (self.dataset.info.content_key, self.attack.name, base.as_json(self.attack))
        text = json.dumps([*parts, self.target, self.config.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def source_key(self) -> str:
        """The `source_key` of the data set that comes out."""
        recipe = make_recipe(
            self.attack,
            rate=self.config.rate,
            target=self.target,
            seed=self.config.seed,
            source=self.dataset.info.name,
            mode=self.mode,
            from_target=self.config.from_target,
        )
        return source_key(self.dataset.info.content_key, recipe)


def prepare(config: PoisonConfig, dataset: Dataset | None = None) -> Prepared:
    """Open what the configuration names; dataset: where it is open already. Raises `InputError` for what is gone,
    unknown or poisoned already."""
    dataset = open_dataset(config.dataset) if dataset is None else dataset
    check_clean(dataset)
    attack = base.create(config.attack, config.settings, preset=config.preset)
    classes = dataset.info.classes
    if isinstance(config.target, str):
        target = resolve_class(classes, config.target)
    elif 0 <= config.target < len(classes):
        target = config.target
    else:
        raise InputError(f"There is no class number {config.target}: the data set has {len(classes)} classes.")
    return Prepared(config, dataset, attack, target, check_mode(attack, config.label_mode, len(classes)))


def amount(prepared: Prepared) -> Amount:
    """How many images the rate means. Raises `InputError` for an impossible rate or target."""
    labels = prepared.dataset.manifest["label"].to_numpy()[prepared.dataset.indices("train")]
    return amount_of(
        labels,
        target=prepared.target,
        rate=prepared.config.rate,
        cover_ratio=prepared.attack.cover_ratio,
        from_target=prepared.config.from_target,
        mode=prepared.mode,
    )


def check(prepared: Prepared) -> Amount:
    """What can be seen to fail before anything is learned or written. Raises `InputError`."""
    planned = amount(prepared)
    name, info = prepared.config.out, prepared.dataset.info
    if name and (home.datasets_folder() / home.check_name(name)).exists():
        raise InputError(f"A data set named {name!r} exists already: choose another name.")
    needed, free = info.count * info.size**2 * 3 + _SPARE, shutil.disk_usage(home.home()).free
    if needed > free:
        raise InputError(
            f"The new data set needs {needed / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB are free on the disk."
        )
    return planned


def kept_trigger(prepared: Prepared) -> State | None:
    """What the attack learned earlier from the same data with the same settings; None where it has to learn."""
    if not prepared.attack.learns:
        return base.NOTHING
    try:
        return read_arrays(_trigger_file(prepared))
    except (OSError, ValueError):  # absent or damaged: it is learned again
        return None


def learn(prepared: Prepared, progress: Progress | None = None, should_stop: ShouldStop | None = None) -> State:
    """What the attack learns, kept for the next time. Raises `Cancelled`, `InputError`."""
    known = kept_trigger(prepared)
    if known is not None:
        return known
    task = learning_task(prepared.dataset, prepared.target, prepared.config.seed, progress, should_stop)
    arrays: dict[str, Any] = dict(prepared.attack.learn(task))
    path = _trigger_file(prepared)
    path.parent.mkdir(exist_ok=True)
    atomic.write_with(path, lambda handle: np.savez(handle, **arrays))
    _drop_oldest(path.parent)
    return arrays


def write(
    prepared: Prepared, state: State, progress: Progress | None = None, should_stop: ShouldStop | None = None
) -> Dataset:
    """Write the new data set. Raises `Cancelled`, `InputError`; nothing is left behind then."""
    config = prepared.config
    return poison_dataset(
        prepared.dataset,
        prepared.attack,
        rate=config.rate,
        target=prepared.target,
        name=config.out or default_name(config),
        seed=config.seed,
        from_target=config.from_target,
        label_mode=prepared.mode,
        state=state,
        progress=progress,
        should_stop=should_stop,
    )


def default_name(config: PoisonConfig) -> str:
    """A free name made of the data set's and the attack's."""
    return free_name(f"{config.dataset}-{config.attack}"[:70])


def _trigger_file(prepared: Prepared) -> Path:
    return home.home() / "triggers" / f"{prepared.key}.npz"


def _drop_oldest(folder: Path) -> None:
    """Surrogates and generators take up to some megabytes each: a dozen are kept."""
    files = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[_KEPT_TRIGGERS:]:
        path.unlink(missing_ok=True)
