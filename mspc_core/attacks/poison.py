"""Put an attack into a stored data set: writes a new one with truth and the recipe; the source is never touched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.attacks import base
from mspc_core.attacks.labels import LABEL_MODES, poisoned_labels
from mspc_core.data.store import Dataset, sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

if TYPE_CHECKING:
    from mspc_core.attacks.base import Attack

_CHUNK = 1024


@dataclass(frozen=True)
class Plan:
    """Which rows of the data set become what. Rows are int64 and ascending."""

    poisoned: np.ndarray
    covers: np.ndarray


@dataclass(frozen=True)
class Amount:
    """How many training images a poison rate means. available: those that may be poisoned; most: the highest rate."""

    poisoned: int
    covers: int
    available: int
    training: int
    most: float


def resolve_class(classes: tuple[str, ...], wanted: str) -> int:
    """Index of a class given by name or number. Raises `InputError`."""
    if wanted in classes:
        return classes.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(classes):
        return int(wanted)
    shown = ", ".join(name[:30] for name in classes[:12]) + (", …" if len(classes) > 12 else "")
    raise InputError(f"There is no class {wanted!r}: the classes are {shown}.")


def plan_poison(
    labels: np.ndarray,
    train: np.ndarray,
    *,
    target: int,
    rate: float,
    cover_ratio: float,
    seed: int,
    from_target: bool,
    mode: str = "all-to-one",
) -> Plan:
    """Choose `rate` of the training rows: for all-to-one from other classes than the target (unless `from_target`), for
    clean labels from the target class, else from all.

    Poison drawn from the target class keeps its label and is no backdoor sample in any useful sense, so all-to-one
    leaves it out unless asked for. Cover samples come from all classes where the attack is clean-label.
    """
    own = labels[train]
    planned = amount_of(own, target=target, rate=rate, cover_ratio=cover_ratio, from_target=from_target, mode=mode)
    count, covers = planned.poisoned, planned.covers
    pool = train[_usable(own, target, from_target, mode)]
    generator = np.random.default_rng([seed, 1])
    chosen = generator.permutation(pool)
    poisoned = chosen[:count]
    rest = generator.permutation(np.setdiff1d(train, poisoned)) if mode == "clean" else chosen[count:]
    return Plan(np.sort(poisoned), np.sort(rest[:covers]))


def amount_of(
    labels: np.ndarray, *, target: int, rate: float, cover_ratio: float, from_target: bool = False, mode: str
) -> Amount:
    """What a rate means for training images with these labels, int64 [N]. Raises `InputError` for an impossible one."""
    if not 0 < rate < 1:
        raise InputError(f"A poison rate must lie between 0 and 1, not {rate}.")
    total = len(labels)
    if not total:
        raise InputError("The data set has no training images to poison.")
    count = round(rate * total)
    covers = round(count * cover_ratio)
    available = int(_usable(labels, target, from_target, mode).sum())
    if not available:
        raise InputError(
            "The target class has no training images, so that nothing can be poisoned with its label kept."
            if mode == "clean"
            else "All training images have the target class already, so that there is nothing to poison."
        )
    most = min(available / total, 1 / (1 + cover_ratio)) if mode == "clean" else available / total / (1 + cover_ratio)
    if count < 1:
        raise InputError(f"A rate of {rate:g} is less than one of {total:,} training images: choose a higher one.")
    if count > available or covers > (total if mode == "clean" else available) - count:
        extra = f" and {covers:,} as covers" if covers else ""
        raise InputError(
            f"A rate of {rate:g} asks for {count:,} images to poison{extra}, but only {available:,} of {total:,} "
            f"training images can be used: at most {math.floor(1e4 * most) / 1e4:g} is possible here."
        )
    return Amount(count, covers, available, total, most)


def _usable(labels: np.ndarray, target: int, from_target: bool, mode: str) -> np.ndarray:
    """Which images may be poisoned, bool [N]."""
    if mode == "clean":
        return np.asarray(labels == target)
    if mode == "all-to-one" and not from_target:
        return np.asarray(labels != target)
    return np.ones(len(labels), dtype=bool)


def poison_dataset(
    dataset: Dataset,
    attack: Attack,
    *,
    rate: float,
    target: int,
    name: str,
    seed: int = 0,
    from_target: bool = False,
    label_mode: str = "",
    state: base.State | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Dataset:
    """A new data set `name` in which `rate` of the training samples carry the trigger and another label.

    label_mode: one of `labels.LABEL_MODES`; empty takes the attack's own (clean, or all-to-one). state: what the attack
    learned from `learning_task` of the same data, target and seed; None learns it now. Other splits stay as they are.
    Truth goes to `truth.parquet`, the settings to `recipe.json`, what the attack learned to `trigger.npz`.
    """
    import pandas as pd

    check_clean(dataset)
    manifest, info = dataset.manifest, dataset.info
    mode = check_mode(attack, label_mode, len(info.classes))
    labels = manifest["label"].to_numpy().astype(np.int64)
    train = dataset.indices("train")
    plan = plan_poison(
        labels,
        train,
        target=target,
        rate=rate,
        cover_ratio=attack.cover_ratio,
        seed=seed,
        from_target=from_target,
        mode=mode,
    )
    poisoned, covers = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    poisoned[plan.poisoned], covers[plan.covers] = True, True
    planted = labels.copy()
    planted[plan.poisoned] = poisoned_labels(
        labels[plan.poisoned],
        mode,
        target=target,
        classes=len(info.classes),
        generator=np.random.default_rng([seed, 4]),
    )
    if state is None:
        state = attack.learn(learning_task(dataset, target, seed, progress, should_stop))
    generator = np.random.default_rng([seed, 2])
    recipe = make_recipe(
        attack, rate=rate, target=target, seed=seed, source=info.name, mode=mode, from_target=from_target
    )
    identities: list[str] = []
    with DatasetWriter(name, size=info.size, classes=info.classes, kind="lab", source=info.name) as writer:
        for start in range(0, len(labels), _CHUNK):
            stop_if(should_stop)
            rows = np.arange(start, min(start + _CHUNK, len(labels)))
            images = np.array(dataset.pixels[rows])
            hits, covered = poisoned[rows], covers[rows]
            if hits.any():
                images[hits] = attack.plant(images[hits], generator, state, labels=labels[rows][hits])
            if covered.any():
                images[covered] = attack.apply_cover(images[covered], generator, state)
            for image, row in zip(images, manifest.iloc[rows].to_dict("records"), strict=True):
                # A neutral path: one like "stop/17.png" under another label would give the truth away.
                path = f"{row['split']}/{len(identities):06d}"
                identities.append(
                    writer.add(
                        image,
                        identity=sample_id(path, image.tobytes()),
                        path=path,
                        label=int(planted[len(identities)]),
                        split=row["split"],
                        width=row["width"],
                        height=row["height"],
                        mode=row["mode"],
                    )
                )
            if progress:
                progress(len(identities), len(labels), f"applying {attack.title}")
        truth = pd.DataFrame({"sample_id": identities, "is_backdoor": poisoned, "original_label": labels})
        truth["source_path"] = manifest["path"].to_numpy()
        truth["is_cover"] = covers
        return writer.commit(source_key=source_key(info.content_key, recipe), truth=truth, recipe=recipe, trigger=state)


def check_clean(dataset: Dataset) -> None:
    """Raises `InputError` for a data set that was poisoned in the lab already."""
    if dataset.has_truth:
        raise InputError(f"{dataset.info.name!r} is a poisoned data set already: poison a clean one.")


def learning_task(
    dataset: Dataset, target: int, seed: int, progress: Progress | None = None, should_stop: ShouldStop | None = None
) -> base.Task:
    """What an attack may learn from when this data set is poisoned: its training images."""
    train = dataset.indices("train")
    return base.Task(
        images=dataset.pixels[train],
        labels=dataset.manifest["label"].to_numpy().astype(np.int64)[train],
        target=target,
        classes=len(dataset.info.classes),
        seed=seed,
        progress=progress,
        should_stop=should_stop,
    )


def check_mode(attack: Attack, label_mode: str, classes: int = 2) -> str:
    """The label mode of a poisoning; empty takes the attack's own. Raises `InputError` for one that does not fit."""
    mode = label_mode or ("clean" if attack.clean_label else "all-to-one")
    if mode not in LABEL_MODES:
        raise InputError(f"Label modes are {', '.join(LABEL_MODES)}; not {mode!r}.")
    if attack.clean_label and mode != "clean":
        raise InputError(f"{attack.title} keeps the labels: it cannot be planted with the label mode {mode}.")
    if classes < 2:
        raise InputError("The data set has a single class: a backdoor needs at least two.")
    return mode


def make_recipe(
    attack: Attack,
    *,
    rate: float,
    target: int,
    seed: int,
    source: str,
    mode: str = "all-to-one",
    from_target: bool = False,
) -> dict[str, Any]:
    """Everything needed to plant or use the trigger again."""
    return {
        "attack": attack.name,
        "config": base.as_json(attack),
        "rate": rate,
        "target_class": target,
        "label_mode": mode,
        "seed": seed,
        "from_target": from_target,
        "source": source,
    }


def source_key(content_key: str, recipe: dict[str, Any]) -> str:
    """Names a poisoned data set by the pixels it was made of and by what was done to them."""
    return f"lab:{content_key}:{recipe['attack']}:{recipe}"


def trigger_from(recipe: dict[str, Any]) -> Attack:
    """The attack of a recipe."""
    return base.create(str(recipe["attack"]), dict(recipe["config"]))
