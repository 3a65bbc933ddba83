"""Attacks with a learned generator: what DFST, ISSBA and the input-aware attack state, measured on small pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mspc_core.attacks import base
from mspc_core.attacks.base import Task
from mspc_core.attacks.dfst import DFST, style_statistics, sunset_scenes
from mspc_core.attacks.inputaware import InputAware, _highest, _unlike
from mspc_core.attacks.issba import ISSBA
from mspc_core.errors import Cancelled, InputError
from tests.lab import shape_arrays

BRIEF: dict[str, dict[str, object]] = {  # for what does not depend on how well the generator learned
    "dfst": {"steps": 3},
    "issba": {"steps": 3, "bits": 8},
    "input-aware": {"steps": 3, "mask_steps": 3},
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def task() -> Task:
    images, labels = shape_arrays(60, size=16, seed=4)
    return Task(images, labels, target=1, classes=4, seed=0)


@pytest.fixture(scope="module")
def fresh() -> np.ndarray:
    """Images the attacks did not learn from."""
    return shape_arrays(20, size=16, seed=9)[0]


Learned = Callable[[base.Attack], base.State]


@pytest.fixture(scope="module")
def learned(task: Task) -> Learned:
    """States, each learned once for the module."""
    kept: dict[base.Attack, base.State] = {}
    return lambda attack: kept.setdefault(attack, kept.get(attack) or attack.learn(task))


def likeness(changed: np.ndarray, images: np.ndarray) -> float:
    """Median correlation between the changes of any two images."""
    moved = (changed.astype(float) - images).reshape(len(images), -1)
    return float(np.median(np.corrcoef(moved)[np.triu_indices(len(images), 1)]))


@pytest.mark.parametrize("name", list(BRIEF))
def test_repeatable_and_stored_without_pickle(name: str, task: Task, fresh: np.ndarray) -> None:
    attack = base.create(name, BRIEF[name])
    before = torch.get_rng_state()
    state = attack.learn(task)
    assert torch.equal(torch.get_rng_state(), before), "learning leaves the caller's random state alone"
    again, other = attack.learn(task), attack.learn(replace(task, seed=1))
    assert set(again) == set(state)
    assert all((again[key] == state[key]).all() for key in state)
    assert any((other[key] != state[key]).any() for key in state)
    assert sum(value.nbytes for value in state.values()) < 5_000_000
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        loaded = dict(stored)
    assert (attack.apply(fresh, rng(), loaded) == attack.apply(fresh, rng(), state)).all()
    assert (attack.apply_cover(fresh, rng(), loaded) == attack.apply_cover(fresh, rng(), state)).all()


@pytest.mark.parametrize("name", list(BRIEF))
def test_works_on_larger_images_and_single_ones(name: str) -> None:
    """The state of an 80 px task (drawn at 64 px) is applied to 80 px images, one by one or together."""
    images = rng(1).integers(0, 256, (6, 80, 80, 3), dtype=np.uint8)
    attack = base.create(name, BRIEF[name])
    state = attack.learn(Task(images, np.arange(6) % 2, target=0, classes=2))
    together = attack.apply(images, rng(), state)
    assert together.shape == images.shape
    alone = np.concatenate([attack.apply(image[None], rng(), state) for image in images])
    assert (np.abs(together.astype(int) - alone) > 1).mean() < 1e-3, "an image's trigger does not depend on the others"
    assert attack.apply_cover(images[:1], rng(), state).shape == (1, 80, 80, 3)
    share = (together != images).any(3).mean((1, 2)).max()
    assert share <= attack.bound(80, 80).share + 1e-9


@pytest.mark.parametrize("name", list(BRIEF))
def test_learning_stops_when_asked_and_reports(name: str, task: Task) -> None:
    calls: list[tuple[int, int]] = []
    asked = iter([False, False, True])
    attack = base.create(name, BRIEF[name])
    with pytest.raises(Cancelled):
        attack.learn(
            replace(task, should_stop=lambda: next(asked), progress=lambda done, total, _: calls.append((done, total)))
        )
    assert calls == [(1, 3), (2, 3)]


@pytest.mark.parametrize("name", list(BRIEF))
def test_what_cannot_be_learned_or_applied(name: str, task: Task, fresh: np.ndarray) -> None:
    attack = base.create(name, BRIEF[name])
    with pytest.raises(InputError, match="no learned generator"):
        attack.apply(fresh, rng())
    with pytest.raises(InputError, match="two or more clean images"):
        attack.learn(replace(task, images=task.images[:, :7, :7], labels=task.labels))
    with pytest.raises(InputError, match="two or more clean images"):
        attack.learn(replace(task, images=task.images[:1], labels=task.labels[:1]))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("dfst", {"strength": 0}),
        ("dfst", {"detoxification": -1}),
        ("issba", {"bits": 2}),
        ("issba", {"epsilon": 0.5}),
        ("issba", {"steps": 0}),
        ("input-aware", {"density": 0}),
        ("input-aware", {"cross_ratio": -1}),
    ],
)
def test_impossible_settings(name: str, config: dict[str, object]) -> None:
    with pytest.raises(InputError, match="needs"):
        base.create(name, config)


def test_issba_hides_what_its_decoder_reads(learned: Learned, fresh: np.ndarray) -> None:
    attack = ISSBA(bits=16, steps=200, diversity=1.0)
    state = learned(attack)
    changed = attack.apply(fresh, rng(), state)
    secret = attack.secret > 0
    assert (attack.read(changed, state) == secret).mean() > 0.85, "read in images that neither network saw"
    assert abs((attack.read(fresh, state) == secret).mean() - 0.5) < 0.2, "a clean image carries no string"
    moved = np.abs(changed.astype(int) - fresh)
    assert moved.mean() > 1
    assert moved.max() <= 16 == attack.bound(16, 16).change
    assert likeness(changed, fresh) < 0.6, "the residual depends on the image"
    other = replace(attack, secret_seed=1)
    assert (attack.secret != other.secret).any()
    assert (other.read(other.apply(fresh, rng(), state), state) == (other.secret > 0)).mean() > 0.8, "any string"


def test_issba_secret() -> None:
    assert ISSBA(bits=64).secret.shape == (64,)
    assert set(ISSBA(bits=64).secret.tolist()) == {0.0, 1.0}
    assert ISSBA().read(np.zeros((0, 16, 16, 3), np.uint8), ISSBA(steps=1).learn(tiny())).shape == (0, 32)


def tiny() -> Task:
    images, labels = shape_arrays(2, size=16, seed=4)
    return Task(images, labels, target=1, classes=4)


def test_highest_by_hand() -> None:
    scores = torch.tensor([[[[0.1, 0.9], [0.5, -1.0]]], [[[3.0, 1.0], [2.0, 4.0]]]])
    assert _highest(scores, 2).tolist() == [[[[0, 1], [1, 0]]], [[[1, 0], [0, 1]]]]


def test_diversity_loss_by_hand() -> None:
    images = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    drawn = torch.stack([torch.zeros(1, 4, 4), torch.full((1, 4, 4), 0.5)])
    assert float(_unlike(images, drawn)) == pytest.approx(1 / (0.5 + 0.01), rel=1e-3)
    assert float(_unlike(images, drawn * 0)) > 50, "the same drawing for different images costs much"


def test_input_aware_triggers_differ_and_keep_the_budget(learned: Learned, fresh: np.ndarray) -> None:
    attack = InputAware(density=0.1, mask_steps=40, steps=40)
    state = learned(attack)
    masks, patterns = attack.triggers(fresh, state)
    assert (masks.sum((1, 2)) == 26).all(), "0.1 of 256 pixels"
    assert attack.bound(16, 16).share == 26 / 256
    changed = attack.apply(fresh, rng(), state)
    assert (changed[~masks] == fresh[~masks]).all()
    assert (np.abs(changed[masks].astype(float) - patterns[masks]) <= 0.5).all()
    assert len({mask.tobytes() for mask in masks}) > 0.9 * len(fresh)
    pairs = [(masks[i] & masks[i + 1]).sum() / (masks[i] | masks[i + 1]).sum() for i in range(len(masks) - 1)]
    assert np.mean(pairs) < 0.7, "masks of different images overlap only in part"
    assert np.abs(patterns[1:] - patterns[:-1]).mean() > 10


def test_cross_triggers_were_drawn_for_another_image(learned: Learned, fresh: np.ndarray) -> None:
    attack = InputAware(density=0.1, mask_steps=40, steps=40)
    state = learned(attack)
    own, crossed = attack.triggers(fresh, state), attack.apply_cover(fresh, rng(3), state)
    pool = np.concatenate([fresh, state["donors"]])
    masks, patterns = attack.triggers(pool, state)
    for row, image in enumerate(crossed):
        pasted = np.rint(np.where(masks[..., None], patterns, fresh[row])).astype(np.uint8)
        matches = np.flatnonzero((pasted == image).all((1, 2, 3)))
        assert len(matches)
        assert row not in matches
    assert (crossed != attack.apply(fresh, rng(3), state)).any((1, 2, 3)).all()
    single = attack.apply_cover(fresh[:1], rng(), state)
    assert (single != np.where(own[0][:1, ..., None], np.rint(own[1][:1]), fresh[:1])).any()


def test_input_aware_covers_are_asked_for() -> None:
    assert InputAware().cover_ratio == 1.0
    assert InputAware(cross_ratio=0.5).cover_ratio == 0.5
    assert DFST(detoxification=0.25).cover_ratio == 0.25


def test_sunsets_are_warm_below_and_dark_on_the_ground() -> None:
    scenes = sunset_scenes(8, 32, 0)
    assert scenes.shape == (8, 32, 32, 3)
    assert (scenes.min(), scenes.max()) >= (0, 0)
    assert scenes.max() <= 1
    top, horizon, ground = (
        scenes[:, :4].mean((0, 1, 2)),
        scenes[:, 16:19].mean((0, 1, 2)),
        scenes[:, -4:].mean((0, 1, 2)),
    )
    assert top[2] > top[0], "violet sky"
    assert horizon[0] > 1.5 * horizon[2], "golden horizon"
    assert ground.mean() < top.mean() < horizon.mean()
    assert (sunset_scenes(8, 32, 0) == scenes).all()
    assert (sunset_scenes(8, 32, 1) != scenes).any()


def test_style_statistics_by_hand() -> None:
    """Two bands of four are black, two are white with red removed."""
    image = torch.zeros(1, 3, 8, 8)
    image[:, 1:, 4:] = 1.0
    found = style_statistics(torch.nn.Sequential(*[torch.nn.Identity()] * 4), image)
    assert len(found) == 3
    assert found[0].shape == (1, 4, 6)
    assert found[0][0, :, :3].tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert found[0][0, :, 3:].max() < 0.01, "no spread inside a band"


def test_dfst_moves_towards_the_style_and_keeps_the_edges(learned: Learned, fresh: np.ndarray) -> None:
    attack = DFST(steps=80)
    state = learned(attack)
    changed = attack.apply(fresh, rng(), state)
    wanted = sunset_scenes(48, 16, 0) * 255.0

    def bands(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), 4, -1, 3).mean((0, 2))

    before, after = np.abs(bands(fresh) - bands(wanted)).mean(), np.abs(bands(changed) - bands(wanted)).mean()
    assert after < 0.6 * before
    grey, styled = fresh.mean(3), changed.astype(float).mean(3)
    kept = [np.corrcoef(np.diff(a).ravel(), np.diff(b).ravel())[0, 1] for a, b in zip(grey, styled, strict=True)]
    assert np.mean(kept) > 0.5, "the content stays"
    moved = changed.astype(int) - fresh
    assert (moved[0] != moved[1]).mean() > 0.5, "the change depends on the image"
    half = replace(attack, strength=0.4).apply(fresh, rng(), state).astype(float) - fresh
    assert np.abs(half * 2 - moved).mean() < 0.25 * np.abs(moved).mean()


def test_detoxicants_have_the_colours_but_not_the_style(learned: Learned, fresh: np.ndarray) -> None:
    attack = DFST(steps=80)
    state = learned(attack)
    styled, toned = attack.apply(fresh, rng(), state), attack.apply_cover(fresh, rng(), state)
    # What is clipped at 0 and 255 moves the deviation a little.
    assert np.abs(styled.mean((1, 2)) - toned.mean((1, 2))).max() < 8, "same channel means"
    assert np.abs(styled.std((1, 2)) - toned.std((1, 2))).mean() < 6, "same deviations"
    assert np.abs(styled.std((1, 2)) - fresh.std((1, 2))).mean() > 15, "not those of the clean images"
    assert np.abs(styled.astype(int) - toned).mean() > 10
    for image, cover in zip(fresh[:10], toned[:10], strict=True):
        for channel in range(3):
            inside = (cover[..., channel] > 0) & (cover[..., channel] < 255)
            line = np.corrcoef(image[inside][:, channel], cover[inside][:, channel])[0, 1]
            assert line > 0.99, "one stretch and shift for the whole channel"
