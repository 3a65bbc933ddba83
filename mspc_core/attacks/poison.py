"""Put an attack into a stored data set: writes a new one with truth and the recipe; the source is never touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.attacks import base
from mspc_core.data.store import Dataset, DatasetWriter, sample_id
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

if TYPE_CHECKING:
    from mspc_core.attacks.base import Attack

_CHUNK = 1024


@dataclass(frozen=True)
class Plan:
    """Which rows of the data set become what. Rows are int64 and ascending."""

    poisoned: np.ndarray
    covers: np.ndarray


def resolve_class(classes: tuple[str, ...], wanted: str) -> int:
    """Index of a class given by name or number. Raises `InputError`."""
    if wanted in classes:
        return classes.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(classes):
        return int(wanted)
    shown = ", ".join(name[:30] for name in classes[:12]) + (", …" if len(classes) > 12 else "")
    raise InputError(f"There is no class {wanted!r}: the classes are {shown}.")


def plan_poison(
    labels: np.ndarray, train: np.ndarray, *, target: int, rate: float, cover_ratio: float, seed: int, from_target: bool
) -> Plan:
    """Choose `rate` of the training rows, from other classes than the target unless `from_target`.

    Poison drawn from the target class keeps its label and is no backdoor sample in any useful sense, so it is left out
    unless asked for.
    """
    if not 0 < rate < 1:
        raise InputError(f"A poison rate must lie between 0 and 1, not {rate}.")
    count = round(rate * len(train))
    pool = train if from_target else train[labels[train] != target]
    wanted = count + round(count * cover_ratio)
    if count < 1 or wanted > len(pool):
        raise InputError(
            f"A rate of {rate:g} asks for {wanted} samples, but only {len(pool)} of {len(train)} can be used."
        )
    chosen = np.random.default_rng([seed, 1]).permutation(pool)[:wanted]
    return Plan(np.sort(chosen[:count]), np.sort(chosen[count:]))


def poison_dataset(
    dataset: Dataset,
    attack: Attack,
    *,
    rate: float,
    target: int,
    name: str,
    seed: int = 0,
    from_target: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Dataset:
    """A new data set `name` in which `rate` of the training samples carry the trigger and the target's label.

    Other splits stay as they are. Truth goes to `truth.parquet`, the settings to `recipe.json`.
    """
    import pandas as pd

    if dataset.has_truth:
        raise InputError(f"{dataset.info.name!r} is a poisoned data set already: poison a clean one.")
    manifest, info = dataset.manifest, dataset.info
    labels = manifest["label"].to_numpy().astype(np.int64)
    train = dataset.indices("train")
    plan = plan_poison(
        labels, train, target=target, rate=rate, cover_ratio=attack.cover_ratio, seed=seed, from_target=from_target
    )
    poisoned, covers = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    poisoned[plan.poisoned], covers[plan.covers] = True, True
    generator = np.random.default_rng([seed, 2])
    recipe = make_recipe(attack, rate=rate, target=target, seed=seed, source=info.name)
    identities: list[str] = []
    with DatasetWriter(name, size=info.size, classes=info.classes, kind="lab", source=info.name) as writer:
        for start in range(0, len(labels), _CHUNK):
            stop_if(should_stop)
            rows = np.arange(start, min(start + _CHUNK, len(labels)))
            images = np.array(dataset.pixels[rows])
            if poisoned[rows].any():
                images[poisoned[rows]] = attack.apply(images[poisoned[rows]], generator)
            if covers[rows].any():
                images[covers[rows]] = attack.apply_cover(images[covers[rows]], generator)
            for image, row in zip(images, manifest.iloc[rows].to_dict("records"), strict=True):
                hit = poisoned[len(identities)]
                # A neutral path: one like "stop/17.png" under another label would give the truth away.
                path = f"{row['split']}/{len(identities):06d}"
                identities.append(
                    writer.add(
                        image,
                        identity=sample_id(path, image.tobytes()),
                        path=path,
                        label=target if hit else row["label"],
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
        key = f"lab:{info.content_key}:{attack.name}:{recipe}"
        return writer.commit(source_key=key, truth=truth, recipe=recipe)


def make_recipe(attack: Attack, *, rate: float, target: int, seed: int, source: str) -> dict[str, Any]:
    """Everything needed to plant or use the trigger again."""
    return {
        "attack": attack.name,
        "config": base.as_json(attack),
        "rate": rate,
        "target_class": target,
        "seed": seed,
        "source": source,
    }


def trigger_from(recipe: dict[str, Any]) -> Attack:
    """The attack of a recipe."""
    return base.create(str(recipe["attack"]), dict(recipe["config"]))
