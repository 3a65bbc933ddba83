"""What every registered attack keeps to. A new attack is one more line in the registry, and is tested here."""

from __future__ import annotations

import numpy as np
import pytest

from mspc_core.attacks import base
from mspc_core.attacks.base import Task

# Settings that make an attack which learns quick enough for tests.
QUICK: dict[str, dict[str, object]] = {
    "trojannn": {"epochs": 2, "trigger_steps": 10},
    "label-consistent": {"epochs": 2, "pgd_steps": 3},
    "clean-label": {"epochs": 2, "steps": 3},
    "tuap": {"epochs": 2, "trigger_steps": 10, "pgd_steps": 3},
    "adaptive-mask": {"epochs": 2, "trigger_steps": 10},
    "dfst": {"steps": 10},
    "issba": {"steps": 10, "bits": 8},
    "input-aware": {"steps": 10, "mask_steps": 10},
}


@pytest.fixture(scope="module")
def task() -> Task:
    from tests.lab import shape_arrays

    images, labels = shape_arrays(60, size=16, seed=4)
    return Task(images, labels, target=1, classes=4, seed=0)


@pytest.mark.parametrize("name", list(base.REGISTRY))
def test_contract(name: str, task: Task) -> None:
    """Shape and type kept, the input left alone, repeatable, rebuilt from JSON, within the stated bound."""
    images = task.images[::6]
    before = images.copy()
    attack = base.create(name, QUICK.get(name))
    rebuilt = base.create(name, base.as_json(attack))
    assert rebuilt == attack
    state = attack.learn(task)
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in state.values())
    bound = attack.bound(*images.shape[1:3])
    labels = np.full(len(images), task.target) if attack.clean_label else task.labels[::6]

    def planted(of: base.Attack) -> np.ndarray:
        return of.plant(images, np.random.default_rng(5), state, labels=labels)

    for first, again in (
        (attack.apply(images, np.random.default_rng(5), state), rebuilt.apply(images, np.random.default_rng(5), state)),
        (planted(attack), planted(rebuilt)),
    ):
        assert first.dtype == np.uint8
        assert first.shape == images.shape
        assert (first == again).all()
        assert (first != images).any((1, 2, 3)).mean() > 0.9
        moved = np.abs(first.astype(int) - images)
        assert moved.max() <= bound.change
        assert (moved.max(3) > 0).mean((1, 2)).max() <= bound.share + 1e-9
    covers = attack.apply_cover(images, np.random.default_rng(5), state)
    assert (covers.shape, covers.dtype) == (images.shape, np.uint8)
    assert (images == before).all()


@pytest.mark.parametrize("name", list(base.REGISTRY))
def test_what_people_read(name: str) -> None:
    cls = base.attack_class(name)
    assert cls.name == name
    assert cls.title
    assert cls.explains.endswith(".")
    assert any(character.isdigit() for character in cls.citation), "a citation has a year"
    for preset in cls.presets:
        assert cls.presets[preset].citation
        assert isinstance(base.create(name, preset=preset), cls)


@pytest.mark.parametrize("name", list(base.REGISTRY))
def test_larger_and_oblong_images(name: str) -> None:
    """A trigger that needs no learning works on any image of reasonable size."""
    attack = base.create(name)
    if attack.learns:
        pytest.skip("learns for one size")
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    assert attack.apply(images, np.random.default_rng(0)).shape == images.shape
