"""Every registered attack works: a small model trained on the poisoned set obeys the trigger, a clean one does not.

To add an attack, add a row to `ROWS`. A registered attack without a row fails `test_every_attack_has_a_row`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from mspc_core.attacks import base
from mspc_core.attacks.labels import poisoned_labels
from mspc_core.attacks.poison import plan_poison
from tests.lab import SHAPES, shape_arrays

TARGET = 1
SEED = 0

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Row:
    """One attack at a size and strength at which a small model can learn it in seconds.

    rate: poisoned share of the training images. config: on top of the attack's defaults. epochs: of training. least:
    the attack success rate that the poisoned model must reach. gap: how far below it the clean model must stay, and the
    poisoned model without the trigger. size: of the images in pixels. each: training images of a class. why: why the
    settings are stronger than the defaults, where they are.
    """

    attack: str
    rate: float = 0.1
    config: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 8
    least: float = 0.85
    gap: float = 0.3
    size: int = 16
    each: int = 100
    why: str = ""


ROWS: dict[str, Row] = {
    "badnets": Row("badnets", least=0.9),
    "badnets, three patches": Row("badnets", rate=0.15, config={"triggers": 3}),
    "blend": Row("blend", rate=0.15, config={"alpha": 0.3}, why="400 images as noisy as these hide a fainter picture"),
    "blend, drawing": Row("blend", rate=0.15, config={"picture": "drawing"}, epochs=10, least=0.8),
    "wanet": Row(
        "wanet",
        rate=0.2,
        config={"strength": 2.0, "noise_mode": False},
        least=0.8,
        why="the published warp moves 16 px images by less than half a pixel; with its noise mode, 400 images are too "
        "few to tell one warp from others (success 0.4)",
    ),
    "sig": Row("sig", rate=0.2, config={"delta": 40.0}, why="the images' own noise has a deviation of 18"),
    "trojan": Row("trojan", least=0.9),
    "bpp": Row(
        "bpp",
        rate=0.2,
        config={"levels": 2, "covers": 0.5},
        epochs=10,
        least=0.8,
        why="squeezing to 8 levels changes less than the images' own noise; more covers cost accuracy",
    ),
    "adaptive-blend": Row(
        "adaptive-blend",
        rate=0.2,
        config={"alpha": 0.2, "test_alpha": 0.3, "covers": 0.5},
        epochs=12,
        least=0.8,
        why="with as many covers as poison, half of 160 images say that the picture means nothing",
    ),
    "adaptive-patch": Row("adaptive-patch", least=0.9),
    "object": Row("object"),
    "adaptive-scale": Row("adaptive-scale", least=0.9),
    "trojannn": Row("trojannn", config={"size": 4, "epochs": 4, "trigger_steps": 60}, least=0.9),
    "label-consistent": Row("label-consistent", rate=0.15, config={"epochs": 4, "pgd_steps": 10}, least=0.9),
    "clean-label": Row("clean-label", rate=0.15, config={"epochs": 4, "steps": 10}, least=0.9),
    "tuap": Row(
        "tuap",
        rate=0.15,
        config={"epochs": 4, "trigger_steps": 60, "epsilon": 24, "pgd_epsilon": 16, "pgd_steps": 10},
        why="the shapes lie anywhere in the picture, so that faint noise for all of them hardly moves any",
    ),
    "adaptive-mask": Row("adaptive-mask", config={"epochs": 4, "trigger_steps": 60}),
    "dfst": Row("dfst", config={"steps": 80}, least=0.9),
    "issba": Row(
        "issba",
        rate=0.15,
        config={"bits": 16, "steps": 200},
        least=0.8,
        why="fewer bits, so that a short training learns to hide them",
    ),
    "input-aware": Row(
        "input-aware",
        rate=0.2,
        config={"density": 0.1, "mask_steps": 40, "steps": 120, "cross_ratio": 0.5},
        epochs=12,
        least=0.7,
        why="with as many cross-triggers as triggers, 80 of each do not teach whose trigger it is (success 0.69)",
    ),
}


def trained(images: np.ndarray, labels: np.ndarray, epochs: int) -> Predict:
    """A small CNN trained on these images, as a function from images to predicted classes."""
    import torch

    from mspc_core.engine.forward import predict_logits
    from mspc_core.models.train import TrainConfig, resolve, train_model
    from mspc_core.models.zoo import ModelSpec, build_model

    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = build_model(ModelSpec("small-cnn", len(SHAPES), images.shape[1]))
        train_model(model, images, labels, resolve(TrainConfig(epochs=epochs, seed=SEED), len(images), "small-cnn"))
    return lambda batch: predict_logits(model, batch).argmax(1).numpy()


def poisoned(row: Row, attack: base.Attack) -> tuple[np.ndarray, np.ndarray, base.State]:
    """The training set with the attack planted as `poison_dataset` plants it, and what the attack learned."""
    images, labels = shape_arrays(row.each, size=row.size, seed=SEED)
    mode = "clean" if attack.clean_label else "all-to-one"
    everyone = np.arange(len(images))
    plan = plan_poison(
        labels,
        everyone,
        target=TARGET,
        rate=row.rate,
        cover_ratio=attack.cover_ratio,
        seed=SEED,
        from_target=False,
        mode=mode,
    )
    state = attack.learn(base.Task(images, labels, target=TARGET, classes=len(SHAPES), seed=SEED))
    generator = np.random.default_rng([SEED, 2])
    out, new = images.copy(), labels.copy()
    out[plan.poisoned] = attack.plant(images[plan.poisoned], generator, state, labels=labels[plan.poisoned])
    if len(plan.covers):
        out[plan.covers] = attack.apply_cover(images[plan.covers], generator, state)
    new[plan.poisoned] = poisoned_labels(
        labels[plan.poisoned], mode, target=TARGET, classes=len(SHAPES), generator=generator
    )
    return out, new, state


@dataclass(frozen=True)
class Victim:
    """A row's attack with what it learned, and a model trained on what it poisoned."""

    attack: base.Attack
    state: base.State
    predict: Predict


@pytest.fixture(scope="module")
def victims() -> Callable[[str], Victim]:
    """The victim of a row; each is trained once."""
    made: dict[str, Victim] = {}

    def of(name: str) -> Victim:
        if name not in made:
            row = ROWS[name]
            attack = base.create(row.attack, row.config)
            images, labels, state = poisoned(row, attack)
            made[name] = Victim(attack, state, trained(images, labels, row.epochs))
        return made[name]

    return of


@pytest.fixture(scope="module")
def clean_models() -> Callable[[int], Predict]:
    """A model trained on clean images of a size; each is trained once."""
    made: dict[int, Predict] = {}

    def of(size: int) -> Predict:
        if size not in made:
            made[size] = trained(*shape_arrays(100, size=size, seed=SEED), epochs=8)
        return made[size]

    return of


def test_every_attack_has_a_row() -> None:
    missing = set(base.REGISTRY) - {row.attack for row in ROWS.values()}
    assert not missing, f"add a row to ROWS for {', '.join(sorted(missing))}"


@pytest.mark.parametrize("name", list(ROWS))
def test_success(name: str, victims: Callable[[str], Victim], clean_models: Callable[[int], Predict]) -> None:
    """On fresh images of other classes: with the trigger they go to the target, for the poisoned model only."""
    row, victim = ROWS[name], victims(name)
    predict = victim.predict
    fresh, truth = shape_arrays(60, size=row.size, seed=SEED + 1)
    others = fresh[truth != TARGET]
    triggered = victim.attack.apply(others, np.random.default_rng(SEED), victim.state)
    success = (predict(triggered) == TARGET).mean()
    innocent = (clean_models(row.size)(triggered) == TARGET).mean()
    untriggered = (predict(others) == TARGET).mean()
    accuracy = (predict(fresh) == truth).mean()
    figures = f"success {success:.3f}, clean model {innocent:.3f}, no trigger {untriggered:.3f}, right {accuracy:.3f}"
    assert success >= row.least, figures
    assert innocent <= success - row.gap, figures
    assert untriggered <= success - row.gap, figures
    assert accuracy >= 0.8, figures


def test_adaptive_scale_is_less_consistent_than_badnets(victims: Callable[[str], Victim]) -> None:
    """What the attack is for: multiplied by 2 … 12, fewer of its triggered images keep the target class."""
    fresh, truth = shape_arrays(60, seed=SEED + 1)
    others = fresh[truth != TARGET]
    kept = {}
    for name in ("badnets", "adaptive-scale"):
        victim = victims(name)
        triggered = victim.attack.apply(others, np.random.default_rng(SEED), victim.state)
        scaled = [np.minimum(triggered.astype(int) * scale, 255).astype(np.uint8) for scale in range(2, 13)]
        kept[name] = np.mean([(victim.predict(batch) == TARGET).mean() for batch in scaled])
    assert kept["adaptive-scale"] <= kept["badnets"] - 0.3, kept
