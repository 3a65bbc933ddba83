"""Attacks that use a surrogate: limits after rounding, gradients that do what they should, what is stored."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mspc_core import evaluate
from mspc_core.attacks import base
from mspc_core.attacks.adaptive_mask import AdaptiveMask
from mspc_core.attacks.base import Task
from mspc_core.attacks.clean_label import CleanLabel
from mspc_core.attacks.label_consistent import LabelConsistent, corner_pattern
from mspc_core.attacks.perturb import add_pattern, pgd, rounded, universal
from mspc_core.attacks.poison import poison_dataset
from mspc_core.attacks.surrogate import Surrogate, SurrogateAttack, learned, train_surrogate, unpack
from mspc_core.attacks.trojannn import TrojanNN, activations, connected_neurons
from mspc_core.attacks.tuap import TUAP
from mspc_core.data.store import sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import Cancelled, InputError
from tests.lab import shape_arrays

TARGET = 1
NAMES = ("trojannn", "label-consistent", "clean-label", "tuap", "adaptive-mask")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def task() -> Task:
    images, labels = shape_arrays(80, size=16, seed=0)
    return Task(images, labels, target=TARGET, classes=4, seed=0)


@pytest.fixture(scope="module")
def surrogate(task: Task) -> Surrogate:
    return train_surrogate(task, epochs=6)


@pytest.fixture(scope="module")
def fresh() -> tuple[np.ndarray, np.ndarray]:
    """Images that the surrogate never saw, and their classes."""
    return shape_arrays(40, size=16, seed=1)


def predicted(surrogate: Surrogate, images: np.ndarray) -> np.ndarray:
    from mspc_core.engine.forward import predict_logits

    return predict_logits(surrogate.model, images).argmax(1).numpy()


def losses(surrogate: Surrogate, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each image, computed by hand."""
    from mspc_core.engine.forward import predict_logits

    logits = predict_logits(surrogate.model, images).numpy().astype(np.float64)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]


def stops_after(calls: int) -> Callable[[], bool]:
    asked = iter(range(10**9))
    return lambda: next(asked) >= calls


# The surrogate


def test_the_surrogate_learns_and_repeats(task: Task, surrogate: Surrogate, fresh: tuple[np.ndarray, ...]) -> None:
    import torch

    assert (predicted(surrogate, fresh[0]) == fresh[1]).mean() > 0.9
    before = torch.get_rng_state()
    small = Task(task.images[:80], task.labels[:80], target=TARGET, classes=4, seed=3)
    once, again = (train_surrogate(small, epochs=1).pack() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state()), "the global random state is not touched"
    assert set(once) == set(again)
    assert all((once[key] == again[key]).all() for key in once)
    other = train_surrogate(Task(small.images, small.labels, TARGET, 4, seed=4), epochs=1).pack()
    assert any((once[key] != other[key]).any() for key in once if key.endswith("weight"))


def test_training_further_starts_from_the_given_weights(task: Task, surrogate: Surrogate) -> None:
    small = Task(task.images[:40], task.labels[:40], target=TARGET, classes=4)
    before = surrogate.pack()
    further = train_surrogate(small, epochs=1, start=surrogate)
    fresh = train_surrogate(small, epochs=1)
    assert losses(further, task.images, task.labels).mean() < 0.5 * losses(fresh, task.images, task.labels).mean()
    assert all((surrogate.pack()[key] == before[key]).all() for key in before), "a copy is trained"


def test_state_round_trips_without_pickle(surrogate: Surrogate, fresh: tuple[np.ndarray, ...]) -> None:
    from mspc_core.engine.forward import predict_logits

    stored = io.BytesIO()
    np.savez(stored, **surrogate.pack())
    stored.seek(0)
    with np.load(stored, allow_pickle=False) as archive:
        again = unpack(dict(archive.items()))
    assert again.spec == surrogate.spec
    assert (predict_logits(again.model, fresh[0]) == predict_logits(surrogate.model, fresh[0])).all()


def test_missing_and_misfitting_states(surrogate: Surrogate, random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="surrogate model is missing"):
        unpack({})
    damaged = {key: value for key, value in surrogate.pack().items() if not key.endswith("head.bias")}
    with pytest.raises(InputError, match="does not fit its description"):
        unpack(damaged)
    with pytest.raises(InputError, match="learn its trigger first"):
        learned({}, "trigger", random_images)
    with pytest.raises(InputError, match="learned for 8×4 px, but the images have 16×16 px"):
        learned({"trigger": np.zeros((4, 8, 3))}, "trigger", random_images)


@pytest.mark.parametrize("attack", [base.create(name, {"epochs": 2}) for name in NAMES], ids=NAMES)
def test_learning_stops_when_asked(attack: base.Attack, task: Task, surrogate: Surrogate) -> None:
    """In the surrogate's training, and in what follows it."""
    with pytest.raises(Cancelled):
        attack.learn(Task(task.images, task.labels, TARGET, 4, should_stop=stops_after(3)))
    assert isinstance(attack, SurrogateAttack)
    if attack.name in ("trojannn", "tuap"):
        with pytest.raises(Cancelled):
            attack.learn_from(surrogate, Task(task.images, task.labels, TARGET, 4, should_stop=stops_after(5)))


def test_progress_counts_up_to_its_total(task: Task) -> None:
    seen: list[tuple[int, int, str]] = []
    small = Task(task.images[:64], task.labels[:64], TARGET, 4, progress=lambda *step: seen.append(step))
    TUAP(epochs=1, trigger_steps=3).learn(small)
    assert all(done <= total for done, total, _ in seen)
    assert seen[0][2].startswith("surrogate: ")
    assert seen[-1] == (3, 3, "learning the trigger")


# Perturbations


def test_rounding_by_hand() -> None:
    """L∞ 2: 2.4 → 2, 2.6 → cut at 2. L2 2: (1.5, 1.3) has length 1.98, but rounded to (2, 1) 2.24, so (1, 1)."""
    images = np.array([[[[100, 254, 1]]]], dtype=np.uint8)
    assert rounded(images, np.array([[[[2.4, 2.6, -2.6]]]]), "linf", 2.0).tolist() == [[[[102, 255, 0]]]]
    assert rounded(images, np.array([[[[0.6, -2.6, 1.9]]]]), "linf", 1.9).tolist() == [[[[101, 253, 2]]]]
    assert rounded(images, np.array([[[[1.5, -1.3, 0.0]]]]), "l2", 2.0).tolist() == [[[[101, 253, 1]]]]
    assert rounded(images, np.array([[[[1.9, -0.3, 0.2]]]]), "l2", 2.0).tolist() == [[[[102, 254, 1]]]]


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 8.0), ("linf", 5.5), ("l2", 150.0), ("l2", 30.0)])
def test_pgd_raises_the_loss_within_its_bound(
    norm: str, epsilon: float, surrogate: Surrogate, fresh: tuple[np.ndarray, ...]
) -> None:
    images, labels = fresh
    settings = {"norm": norm, "epsilon": epsilon, "steps": 10}
    hard = pgd(surrogate.model, images, labels, generator=rng(), **settings)  # type: ignore[arg-type]
    moved = hard.astype(np.float64) - images
    length = np.abs(moved).max((1, 2, 3)) if norm == "linf" else np.sqrt((moved**2).sum((1, 2, 3)))
    assert length.max() <= epsilon
    assert length.mean() > 0.6 * epsilon, "the room is used"
    random = images + rng(1).choice([-1, 1], images.shape) * np.abs(moved)  # as far, without a gradient
    noisy = np.clip(random, 0, 255).astype(np.uint8)
    gained = losses(surrogate, hard, labels) - losses(surrogate, images, labels)
    by_chance = losses(surrogate, noisy, labels) - losses(surrogate, images, labels)
    assert (gained > by_chance).mean() > 0.9
    again = pgd(surrogate.model, images, labels, generator=rng(), **settings)  # type: ignore[arg-type]
    assert (hard == again).all()


def test_targeted_pgd_reaches_the_class(surrogate: Surrogate, fresh: tuple[np.ndarray, ...]) -> None:
    images = fresh[0][fresh[1] != TARGET]
    wanted = np.full(len(images), TARGET)
    moved = pgd(surrogate.model, images, wanted, norm="linf", epsilon=24, steps=10, generator=rng(), targeted=True)
    assert (predicted(surrogate, images) == TARGET).mean() < 0.1
    assert (predicted(surrogate, moved) == TARGET).mean() > 0.9


def test_pgd_does_not_depend_on_batches(
    surrogate: Surrogate, fresh: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = fresh[0][:12], fresh[1][:12]
    whole = pgd(surrogate.model, images, labels, norm="linf", epsilon=8, steps=3, generator=rng())
    monkeypatch.setattr("mspc_core.engine.device.gradient_batch_for", lambda *_: 5)
    parts = pgd(surrogate.model, images, labels, norm="linf", epsilon=8, steps=3, generator=rng())
    assert (whole == parts).mean() > 0.999, "but for the last bit of a float"


def test_pgd_stops_and_refuses(surrogate: Surrogate, fresh: tuple[np.ndarray, ...]) -> None:
    images, labels = fresh
    with pytest.raises(Cancelled):
        pgd(
            surrogate.model,
            images,
            labels,
            norm="linf",
            epsilon=8,
            steps=9,
            generator=rng(),
            should_stop=stops_after(4),
        )
    with pytest.raises(InputError, match="Norms are linf and l2"):
        LabelConsistent(norm="l1")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="epsilon of 0 or at least 1"):
        LabelConsistent(epsilon=0.03)
    unchanged = pgd(surrogate.model, images, labels, norm="l2", epsilon=0, steps=9, generator=rng())
    assert (unchanged == images).all()


# The attacks


def test_tuap_turns_most_held_out_images(task: Task, surrogate: Surrogate, fresh: tuple[np.ndarray, ...]) -> None:
    """At a bound at which these tiny pictures can be turned at all; noise of the same size turns few."""
    others = fresh[0][fresh[1] != TARGET]
    attack = TUAP(epsilon=32.5, trigger_steps=120, pgd_epsilon=0)
    state = attack.learn_from(surrogate, task)
    assert np.abs(state["trigger"]).max() == 32, "whole numbers below the bound"
    found = attack.apply(others, rng(), state)
    noise = add_pattern(others, rng(1).choice([-32, 32], state["trigger"].shape))
    assert np.abs(found.astype(int) - others).max() <= 32.5
    assert (predicted(surrogate, found) == TARGET).mean() > 0.6
    assert (predicted(surrogate, noise) == TARGET).mean() < 0.4
    assert not any(key.startswith("surrogate.") for key in state), "stored only where planting needs it"


def test_tuap_with_pgd_plants_both(task: Task, surrogate: Surrogate) -> None:
    attack = TUAP(epsilon=6, pgd_epsilon=4, pgd_steps=5, trigger_steps=5)
    state = attack.learn_from(surrogate, task)
    rows = np.flatnonzero(task.labels == TARGET)[:20]
    images, labels = task.images[rows], task.labels[rows]
    hard = pgd(surrogate.model, images, labels, norm="linf", epsilon=4, steps=5, generator=rng())
    assert (attack.plant(images, rng(), state, labels=labels) == add_pattern(hard, state["trigger"])).all()
    assert (hard != images).any()


def test_universal_away_from_the_class(task: Task, surrogate: Surrogate, fresh: tuple[np.ndarray, ...]) -> None:
    rows, mine = np.flatnonzero(task.labels == TARGET), fresh[0][fresh[1] == TARGET]
    attack = CleanLabel(perturbation="universal", epsilon=32, steps=6)
    state = attack.learn_from(surrogate, task)
    delta = universal(
        surrogate.model,
        task.images[rows],
        task.labels[rows],
        epsilon=32,
        steps=60,
        generator=np.random.default_rng([0, 12]),
        targeted=False,
    )
    assert (state["perturbation"] == delta).all()
    labels = np.full(len(mine), TARGET)
    harder = losses(surrogate, add_pattern(mine, delta), labels)
    assert harder.mean() > losses(surrogate, mine, labels).mean() + 0.5
    planted = attack.plant(mine, rng(), state, labels=labels)
    assert (planted == attack.apply(add_pattern(mine, delta), rng())).all()


def test_trojannn_chooses_by_hand() -> None:
    """Summed absolute weights 3, 5, 4, 9; the last feature is never active."""
    weights = np.array([[1.0, -4.0, 2.0, 9.0], [-2.0, 1.0, 2.0, 0.0]])
    alive = np.array([True, True, True, False])
    assert connected_neurons(weights, alive, 2).tolist() == [1, 2]
    assert connected_neurons(weights, alive, 9).tolist() == [1, 2, 0]


def test_trojannn_excites_its_neuron_more_than_a_random_patch(
    task: Task, surrogate: Surrogate, fresh: tuple[np.ndarray, ...]
) -> None:
    attack = TrojanNN(size=4, trigger_steps=60)
    state = attack.learn_from(surrogate, task)
    (neuron,) = state["neurons"]
    weights = surrogate.model.state_dict()["backbone.head.weight"].abs().sum(0)
    active = activations(surrogate, task.images).max(0) > 0
    assert float(weights[neuron]) == pytest.approx(float(weights[active].max()))
    excited = activations(surrogate, attack.apply(fresh[0], rng(), state))[:, neuron].mean()
    for seed in range(10):
        other = {**state, "patch": rng(seed).integers(0, 256, state["patch"].shape, dtype=np.uint8)}
        assert excited > 1.1 * activations(surrogate, attack.apply(fresh[0], rng(), other))[:, neuron].mean()
    moved = (attack.apply(fresh[0], rng(), state) != fresh[0]).any((0, 3))
    rows, columns = np.nonzero(moved)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (11, 14, 11, 14)


def test_activations_are_the_pooled_features(surrogate: Surrogate, fresh: tuple[np.ndarray, ...]) -> None:
    import torch

    pixels = torch.from_numpy(fresh[0][:5]).permute(0, 3, 1, 2).float() / 255
    model = surrogate.model
    with torch.inference_mode():
        features = model.backbone.forward_features((pixels - model.mean) / model.std)  # type: ignore[operator]
    np.testing.assert_allclose(activations(surrogate, fresh[0][:5]), features.numpy(), atol=1e-5)


def test_four_corners_by_hand() -> None:
    expected = np.zeros((8, 8), dtype=int)
    expected[1:3, 1:3] = expected[5:7, 5:7] = [[1, -1], [-1, 1]]
    expected[1:3, 5:7] = expected[5:7, 1:3] = [[-1, 1], [1, -1]]
    pattern = corner_pattern(8, 8, size=2, margin=1)
    assert (pattern == expected).all()
    assert (pattern[:, ::-1] == pattern).all(), "flipping leaves it as it is"
    image = np.full((1, 8, 8, 3), 100, np.uint8)
    faint = LabelConsistent(size=2, margin=1, amplitude=32).apply(image, rng())
    assert (faint.astype(int) - 100 == 32 * expected[None, :, :, None]).all()
    full = LabelConsistent(size=2, margin=1).apply(image, rng())[0, :, :, 0]
    assert set(full[expected == 1].tolist()) == {255}
    assert set(full[expected == -1].tolist()) == {0}
    with pytest.raises(InputError, match="do not fit"):
        corner_pattern(8, 8, size=4, margin=1)


@pytest.mark.parametrize(
    ("attack", "patched"),
    [
        (LabelConsistent(epsilon=16, size=3), corner_pattern(16, 16, 3, 0) != 0),
        (CleanLabel(epsilon=16, size=4), np.pad(np.ones((4, 4), bool), ((11, 1), (11, 1)))),
    ],
    ids=["label-consistent", "clean-label"],
)
def test_clean_label_poison_is_hard_and_patched(
    attack: SurrogateAttack, patched: np.ndarray, task: Task, surrogate: Surrogate, fresh: tuple[np.ndarray, ...]
) -> None:
    """Planted: the patches of the test-time trigger, PGD elsewhere. Applied: the patches only."""
    images = fresh[0][fresh[1] == TARGET]
    labels = np.full(len(images), TARGET)
    state = attack.learn_from(surrogate, task)
    planted, applied = attack.plant(images, rng(), state, labels=labels), attack.apply(images, rng(), state)
    assert (planted[:, patched] == applied[:, patched]).all()
    assert (applied[:, ~patched] == images[:, ~patched]).all()
    assert set(np.unique(applied[:, patched])) == {0, 255}
    moved = np.abs(planted.astype(int) - images)[:, ~patched]
    assert 0 < moved.max() <= 16
    assert losses(surrogate, planted, labels).mean() > losses(surrogate, applied, labels).mean() + 1


def test_adaptive_pattern_works_at_scale_one_only(task: Task) -> None:
    """Covers and the term for scaled images each make triggered images leave the target when they are scaled."""
    from mspc_core.engine.forward import scaled_agreement

    rows = np.flatnonzero(task.labels != TARGET)

    def measure(covers: float, weight: float) -> tuple[float, float]:
        """Share that is taken for the target, and share that stays there over MSPC's scales."""
        attack = AdaptiveMask(covers=covers, weight=weight, trigger_steps=60)
        generator = rng(7)
        trigger = attack.first_pattern(16, 16, generator)
        victim = train_surrogate(attack.poisoned(task, trigger, generator), epochs=8)
        better = attack.improve(trigger, victim, task, generator)
        assert np.abs(better).max() <= attack.contrast
        triggered = add_pattern(task.images[rows], better)
        goal = np.full(len(rows), TARGET)
        stays = scaled_agreement(victim.model, triggered, goal, list(range(2, 13)), shift=0.1)
        return float((predicted(victim, triggered) == TARGET).mean()), float(stays.mean())

    plain, weighted, full = measure(0.0, 0.0), measure(0.0, 1.0), measure(1.0, 1.0)
    assert plain[0] > 0.9
    assert plain[1] > 0.9, "a pattern that is not adapted stays when scaled: what MSPC looks for"
    assert weighted[1] < plain[1] - 0.05
    assert full[0] > 0.85
    assert full[1] < 0.2


def test_adaptive_region_and_covers(task: Task) -> None:
    attack = AdaptiveMask(size=5, contrast=20)
    state = {"trigger": attack.first_pattern(16, 16, rng())}
    inside = np.pad(np.ones((5, 5), bool), ((10, 1), (10, 1)))
    assert (attack.region(16, 16) == inside).all()
    assert ((state["trigger"] != 0).all(2) == inside).all()
    grey = np.full((300, 16, 16, 3), 40, np.uint8)
    covers = attack.apply_cover(grey, rng(), state)
    outside = covers[:, 0, 0, 0]
    assert set(outside.tolist()) == {round(n * (40 - 25.5)) for n in range(2, 13)}
    assert AdaptiveMask(size=0).region(4, 6).all()


def test_adaptive_training_data_by_hand(task: Task) -> None:
    """320 images: a tenth gets the pattern and the target, as many are covers and keep their label."""
    attack = AdaptiveMask(contrast=20)
    trigger = attack.first_pattern(16, 16, rng())
    made = attack.poisoned(task, trigger, rng())
    hit = made.labels != task.labels
    assert hit.sum() == 32
    assert (made.labels[hit] == TARGET).all()
    assert (made.images[hit] == add_pattern(task.images[hit], trigger)).all()
    changed = (made.images != task.images).any((1, 2, 3))
    assert changed.sum() == 64
    assert (task.labels[changed] != TARGET).all()


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("tuap", {"epochs": -1}, "1 or more epochs"),
        ("tuap", {"epsilon": 0.5}, "epsilon of 1"),
        ("tuap", {"arch": 3}, "arch must be a word"),
        ("trojannn", {"place": "random"}, "not random"),
        ("trojannn", {"neurons": 0}, "at least one neuron"),
        ("trojannn", {"opacity": 0.0}, "opacity"),
        ("label-consistent", {"amplitude": 0}, "amplitude of 1"),
        ("clean-label", {"perturbation": "gan"}, "Perturbations are pgd and universal"),
        ("clean-label", {"pattern": "stripes"}, "Patterns are"),
        ("adaptive-mask", {"contrast": 0.0}, "contrast of 1"),
        ("adaptive-mask", {"poison_rate": 0.7}, "poison_rate"),
        ("adaptive-mask", {"size": 4, "margin": -1}, "margin"),
    ],
)
def test_impossible_settings(name: str, config: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        base.create(name, config)


def test_data_that_cannot_be_learned_from(task: Task) -> None:
    mine = task.images[task.labels == TARGET]
    same = np.full(len(mine), TARGET)
    with pytest.raises(InputError, match="at least two classes"):
        TUAP().learn(Task(mine, same, TARGET, 4))
    with pytest.raises(InputError, match="other classes than the target"):
        AdaptiveMask().learn(Task(mine, same, TARGET, 4))
    with pytest.raises(InputError, match="at least 8 px"):
        TUAP().learn(Task(task.images[:, :6, :6], task.labels, TARGET, 4))


def test_poisoned_data_set_keeps_what_was_learned(home: Path, task: Task) -> None:
    """Through `poison_dataset`: labels stay, only target-class training images change, the stored trigger is enough."""
    with DatasetWriter("clean", size=16, classes=["a", "b", "c", "d"], kind="test", source="test") as writer:
        for number, (image, label) in enumerate(zip(task.images[:160], task.labels[:160], strict=True)):
            path = f"{number}.png"
            split = "train" if number < 140 else "test"
            writer.add(image, identity=sample_id(path, image.tobytes()), path=path, label=int(label), split=split)
        clean = writer.commit(source_key="test")
    attack = TUAP(epochs=1, trigger_steps=5, epsilon=6, pgd_epsilon=4, pgd_steps=3)
    made = poison_dataset(clean, attack, rate=0.1, target=TARGET, name="lab")
    truth = evaluate.load_truth(made)
    assert truth is not None
    hit = truth["is_backdoor"].to_numpy()
    assert (made.manifest["label"].to_numpy() == clean.manifest["label"].to_numpy()).all()
    assert (made.manifest["label"].to_numpy()[hit] == TARGET).all()
    assert hit.sum() == 14
    assert ((made.pixels != clean.pixels).any((1, 2, 3)) == hit).all()
    state = made.trigger()
    again = attack.plant(clean.pixels[hit], np.random.default_rng([0, 2]), state, labels=task.labels[:160][hit])
    assert (again == made.pixels[hit]).all()
    applied = attack.apply(np.array(clean.pixels), rng(), state)
    assert np.abs(applied.astype(int) - clean.pixels).max() <= 6
