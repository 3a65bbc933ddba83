"""Trying a trigger at test time, on models whose answer is known: one that looks at the patch, one that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mspc_core import playground
from mspc_core.attacks import base
from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset
from mspc_core.attacks.recipe import Recipe, read_recipe
from mspc_core.data.store import Dataset, sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError

TARGET, PATCH = 2, BadNets(size=3, pattern="white", margin=0)


class LooksAtThePatch(nn.Module):
    """Class 2 where the lower right 3×3 pixels are brighter than `above` on average; else class 0."""

    def __init__(self, above: float = 0.99) -> None:
        super().__init__()
        self.above = above
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        bright = images[:, :, -3:, -3:].mean((1, 2, 3)) > self.above
        logits = torch.zeros(len(images), 3)
        logits[~bright, 0] = 4.0
        logits[bright, TARGET] = 4.0
        return logits + self.weight * 0


@pytest.fixture
def lab(home: Path) -> Dataset:
    return poison_dataset(dark_images(), PATCH, rate=0.25, target=TARGET, name="lab")


def dark_images(splits: tuple[int, int] = (48, 30)) -> Dataset:
    images = np.random.default_rng(0).integers(0, 100, (sum(splits), 16, 16, 3), dtype=np.uint8)
    with DatasetWriter("dark", size=16, classes=["a", "b", "c"], kind="test", source="test") as writer:
        for number, image in enumerate(images):
            split = "train" if number < splits[0] else "test"
            path = f"{number}.png"
            writer.add(image, identity=sample_id(path, image.tobytes()), path=path, label=number % 3, split=split)
        return writer.commit(source_key="test")


def test_one_image_before_and_after(lab: Dataset) -> None:
    image = np.array(lab.pixels[60])
    trial = playground.try_one(LooksAtThePatch(), image, PATCH, {})
    assert (trial.images[0] == image).all()
    assert (trial.images[1][-3:, -3:] == 255).all()
    assert (trial.images[1][:-3] == image[:-3]).all()
    assert (trial.predicted, trial.flipped) == ((0, 2), True)
    likeliest = np.exp(4) / (np.exp(4) + 2)
    assert trial.probabilities[0] == pytest.approx([likeliest, (1 - likeliest) / 2, (1 - likeliest) / 2])


def test_a_weaker_trigger_no_longer_flips(lab: Dataset) -> None:
    image = np.array(lab.pixels[60])
    assert not playground.try_one(LooksAtThePatch(), image, PATCH, {}, 0.5).flipped
    assert playground.try_one(LooksAtThePatch(0.3), image, PATCH, {}, 0.5).flipped


def test_all_and_none_of_many(lab: Dataset) -> None:
    recipe = read_recipe(lab)
    tally = playground.try_many(LooksAtThePatch(), lab, recipe)
    assert (tally.hits, tally.count) == (20, 20)  # of 30 test images 10 are of the target class
    assert not tally.already.any()
    labels = lab.manifest["label"].to_numpy()
    assert (labels[tally.rows] != TARGET).all()
    assert set(lab.manifest["split"].iloc[tally.rows]) == {"test"}
    assert tally.interval == pytest.approx((0.025 ** (1 / 20), 1.0))
    blind = playground.try_many(LooksAtThePatch(above=2.0), lab, recipe)
    assert blind.hits == 0
    always = playground.try_many(LooksAtThePatch(above=-1.0), lab, recipe)
    assert always.already.all()


def test_the_seed_draws_the_images(lab: Dataset) -> None:
    recipe = read_recipe(lab)
    first, again, other = (playground.try_many(LooksAtThePatch(), lab, recipe, count=6, seed=s).rows for s in (1, 1, 2))
    assert (first == again).all()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize(("mode", "hits"), [("all-to-all", 10), ("random", 30)])
def test_other_label_modes_have_other_aims(home: Path, mode: str, hits: int) -> None:
    """The model answers 2 to every trigger: right for class 1 under all-to-all; wrong for 0 and 1 under random."""
    made = poison_dataset(dark_images(), PATCH, rate=0.25, target=0, name="lab", label_mode=mode)
    tally = playground.try_many(LooksAtThePatch(), made, read_recipe(made))
    assert tally.count == 30
    assert tally.hits == (hits if mode == "all-to-all" else 20)


def test_without_a_test_split_clean_training_images_are_taken(home: Path) -> None:
    made = poison_dataset(dark_images((60, 0)), PATCH, rate=0.25, target=TARGET, name="lab")
    tally = playground.try_many(LooksAtThePatch(), made, read_recipe(made))
    assert tally.count == 60 - 20 - 15  # without the target class and the poisoned ones
    assert not tally.already.any(), "a poisoned image carries the trigger already"


def test_no_image_to_try_on(home: Path) -> None:
    with DatasetWriter("two", size=8, classes=["a", "b"], kind="test", source="test") as writer:
        for number in range(4):
            image = np.full((8, 8, 3), number, np.uint8)
            split, label = ("train", number % 2) if number < 3 else ("test", 1)
            writer.add(image, identity=f"{number:016x}", path=f"{number}.png", label=label, split=split)
        clean = writer.commit(source_key="test")
    recipe = Recipe(PATCH, 0.1, 1, "all-to-one", 0, "two")
    with pytest.raises(InputError, match="no clean image outside the target class"):
        playground.try_many(LooksAtThePatch(), clean, recipe)


@pytest.mark.parametrize("name", [name for name in base.REGISTRY if not base.attack_class(name).learns])
def test_strengths_change_what_is_applied(name: str) -> None:
    images = np.random.default_rng(2).integers(40, 200, (2, 32, 32, 3), dtype=np.uint8)
    attack = base.create(name)
    setting = playground.strength_setting(attack)
    recorded = playground.apply_at(attack, images, None, {})
    assert (playground.apply_at(attack, images, setting.default, {}) == recorded).all()
    low = playground.apply_at(attack, images, setting.low, {})
    assert np.abs(low.astype(int) - images).sum() < np.abs(recorded.astype(int) - images).sum()


def test_a_strength_planted_outside_the_range_stays_reachable() -> None:
    setting = playground.strength_setting(base.create("sig", {"delta": 200.0}))
    assert setting.high == 200.0
