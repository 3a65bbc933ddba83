"""The second model: what it is shown, what it is not shown, and who judges whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors import opinion
from mspc_core.detectors.opinion import Blinding, blurred, second_opinion, shrunk, slow_to_learn
from mspc_core.errors import Cancelled, InputError
from mspc_core.models.train import History, TrainConfig

CPU = torch.device("cpu")
ROWS, CLASSES, SIDE = 48, 4, 16


def test_shrinking_by_hand() -> None:
    """Means of 2×2 pixels, channel by channel; the same size is left alone."""
    image = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    image[0, :2, :2, 0] = [[10, 20], [30, 41]]  # mean 25.25
    image[0, 2:, 2:, 1] = [[255, 255], [255, 254]]  # mean 254.75
    small = shrunk(image, 2)
    assert small.dtype == np.uint8
    assert small[0, :, :, 0].tolist() == [[25, 0], [0, 0]]
    assert small[0, :, :, 1].tolist() == [[0, 0], [0, 255]]
    assert not small[0, :, :, 2].any()
    assert shrunk(image, 4) is image


def test_shrinking_in_chunks_equals_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opinion, "_CHUNK_PIXELS", 3 * 16 * 16)
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    found = shrunk(images, 4)
    for row in range(7):
        for i in range(4):
            for j in range(4):
                mean = images[row, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].astype(float).mean((0, 1))
                assert np.abs(found[row, i, j] - mean).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(("side", "blurred_side"), [(8, 8), (12, 8), (16, 8), (32, 16), (64, 32), (224, 32)])
def test_blurred_images_have_half_the_side_between_8_and_32(side: int, blurred_side: int) -> None:
    images = np.full((2, side, side, 3), 77, dtype=np.uint8)
    found = blurred(images)
    assert found.shape == (2, blurred_side, blurred_side, 3)
    assert (found == 77).all()


def test_a_checkerboard_of_single_pixels_cannot_be_seen() -> None:
    board = np.where(np.indices((32, 32)).sum(0) % 2, 40, -40)
    flat = np.full((1, 32, 32, 3), 100, dtype=np.int64)
    assert (blurred((flat + board[None, :, :, None]).astype(np.uint8)) == blurred(flat.astype(np.uint8))).all()


def test_slow_to_learn_by_hand() -> None:
    """The first epoch does not count; of the rest, the mean does. A quarter of eight is two."""
    losses = np.array(
        [
            [0, 0, 0, 0, 9, 9, 9, 9.0],
            [4, 1, 5, 6, 7, 8, 2, 9.0],
            [4, 3, 5, 6, 7, 8, 0, 9.0],
        ]
    )  # means 4, 2, 5, 6, 7, 8, 1, 9
    kept = slow_to_learn(losses, np.tile([0, 1], 4), 0.25)
    assert np.flatnonzero(~kept).tolist() == [1, 6]
    assert np.flatnonzero(~slow_to_learn(losses[:1], np.tile([0, 1], 4), 0.5)).tolist() == [0, 1, 2, 3], (
        "only one epoch"
    )


def test_half_of_every_class_stays() -> None:
    """Class 0 is all quick: only the two quickest of its five go, not more; a class of one keeps its sample."""
    losses = np.array([[5, 4, 3, 2, 1, 0.5, 50, 60, 70, 80, 90.0]]).repeat(2, 0)
    labels = np.array([0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2])
    kept = slow_to_learn(losses, labels, 0.55)
    assert np.flatnonzero(~kept).tolist() == [3, 4]


@pytest.mark.parametrize("count", [8, 9])
def test_nobody_is_left_out_if_no_share_is(count: int) -> None:
    losses = np.arange(2.0 * count).reshape(2, count)
    assert slow_to_learn(losses, np.zeros(count, int), 0.0).all()


class Recorder:
    """Stands in for training and prediction. Every image is of one colour, its row: that survives any blurring."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trainings: list[dict[str, Any]] = []
        self.judged: dict[int, np.ndarray] = {}
        self.numbers: dict[int, int] = {}
        monkeypatch.setattr(opinion, "train_model", self.train)
        monkeypatch.setattr(opinion, "predict_logits", self.predict)

    def train(self, model: nn.Module, images: np.ndarray, labels: np.ndarray, config: TrainConfig, **_: Any) -> History:
        rows = images[:, 0, 0, 0].astype(int)
        self.numbers[id(model)] = len(self.trainings)
        self.trainings.append(
            {"rows": rows, "labels": labels, "side": images.shape[1], "config": config, "keep": model}
        )
        losses = np.stack([np.zeros(len(rows)), 10.0 + rows])  # low rows are learned first
        return History([], [], losses.astype(np.float32))

    def predict(self, model: nn.Module, images: np.ndarray, *, indices: np.ndarray, **_: Any) -> torch.Tensor:
        self.judged[self.numbers[id(model)]] = images[indices, 0, 0, 0].astype(int)
        logits = torch.zeros(len(indices), CLASSES)
        logits[:, 0] = torch.from_numpy(indices.astype(np.float32)) / ROWS
        return logits


def coloured() -> tuple[np.ndarray, np.ndarray]:
    images = np.arange(ROWS, dtype=np.uint8)[:, None, None, None].repeat(SIDE, 1).repeat(SIDE, 2).repeat(3, 3)
    return images, np.arange(ROWS) % CLASSES


def test_nobody_judges_what_it_was_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    images, labels = coloured()
    found = second_opinion(images, labels, CLASSES, Blinding(first_epochs=2, epochs=3), seed=0, device=CPU)
    first, *halves = recorder.trainings
    assert first["rows"].tolist() == list(range(ROWS))
    assert first["side"] == SIDE
    assert not first["config"].augment
    assert first["config"].epochs == 2
    assert np.flatnonzero(~found.kept).tolist() == list(range(12)), "a quarter, which is what was learned first"
    assert len(halves) == 2
    for number, training in enumerate(halves, 1):
        judged = recorder.judged[number]
        assert not set(training["rows"]) & set(judged)
        assert set(training["rows"]) == (set(range(ROWS)) - set(judged)) & set(np.flatnonzero(found.kept))
        assert (training["labels"] == labels[training["rows"]]).all()
        assert training["side"] == SIDE // 2
        assert training["config"].augment
        assert training["config"].epochs == 3
    assert sorted([*recorder.judged[1], *recorder.judged[2]]) == list(range(ROWS))
    assert len(recorder.judged[1]) == len(recorder.judged[2]) == ROWS // 2
    seeds = [training["config"].seed for training in recorder.trainings]
    assert len(set(seeds)) == 3
    logits = np.zeros((ROWS, CLASSES))
    logits[:, 0] = np.arange(ROWS) / ROWS
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6, err_msg="each opinion in its sample's row")


def test_what_is_known_already_needs_no_first_training(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    images, labels = coloured()
    shown = np.arange(ROWS) % 3 > 0
    config = Blinding(first_epochs=2, epochs=4)
    found = second_opinion(images, labels, CLASSES, config, seed=0, device=CPU, shown=shown)
    assert len(recorder.trainings) == 2
    assert sorted(row for training in recorder.trainings for row in training["rows"]) == np.flatnonzero(shown).tolist()
    assert (found.kept == shown).all()
    assert sorted([*recorder.judged[0], *recorder.judged[1]]) == list(range(ROWS)), "everybody is judged"
    assert found.equivalents == 3 * 4 * shown.sum() / 4 + ROWS / 4


def test_forward_equivalents_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step is three forwards, and an image of half the side a quarter of one."""
    Recorder(monkeypatch)
    images, labels = coloured()
    found = second_opinion(images, labels, CLASSES, Blinding(first_epochs=2, epochs=4), seed=0, device=CPU)
    first = 3 * 2 * ROWS
    halves = 3 * 4 * int(found.kept.sum()) / 4
    assert found.equivalents == first + halves + ROWS / 4


def test_the_first_training_sees_at_most_64_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    images, labels = coloured()
    large = images.repeat(6, 1).repeat(6, 2)  # 96 pixels
    found = second_opinion(large, labels, CLASSES, Blinding(first_epochs=1, epochs=1), seed=0, device=CPU)
    assert [training["side"] for training in recorder.trainings] == [64, 32, 32]
    spent = 3 * ROWS * 64**2 + 3 * int(found.kept.sum()) * 32**2 + ROWS * 32**2
    assert found.equivalents == round(spent / 96**2)


@pytest.mark.parametrize(("count", "epochs"), [(48, 40), (10_000, 20), (100_000, 8)])
def test_epochs_follow_the_size_of_the_data(count: int, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    images = np.zeros((count, 1, 1, 3), dtype=np.uint8)
    monkeypatch.setattr(opinion, "_SMALLEST", 1)
    second_opinion(images, np.arange(count) % CLASSES, CLASSES, Blinding(), seed=0, device=CPU)
    assert [training["config"].epochs for training in recorder.trainings] == [4, epochs, epochs]


def test_an_own_label_does_not_reach_the_own_opinion() -> None:
    """Real trainings. With nobody left out, one other label changes the opinion on the other half, not on its own."""
    generator = np.random.default_rng(5)
    images = generator.integers(0, 256, (ROWS, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(ROWS) % CLASSES
    config = Blinding(first_epochs=1, quickest=0.0, epochs=2)
    before = second_opinion(images, labels, CLASSES, config, seed=0, device=CPU).probabilities
    labels[5] = 2
    after = second_opinion(images, labels, CLASSES, config, seed=0, device=CPU).probabilities
    assert (after[5] == before[5]).all()
    changed = (after != before).any(1)
    assert changed.sum() == ROWS // 2, "those that the model judges which was trained on the changed label"


def test_progress_seed_and_global_generator() -> None:
    images, labels = coloured()
    reports: list[tuple[int, int]] = []
    state = torch.random.get_rng_state()
    config = Blinding(first_epochs=2, epochs=2)
    found = [
        second_opinion(
            images,
            labels,
            CLASSES,
            config,
            seed=seed,
            device=CPU,
            progress=lambda done, total, _: reports.append((done, total)),
        ).probabilities
        for seed in (3, 3, 4)
    ]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()
    np.testing.assert_allclose(found[0].sum(1), 1.0, atol=1e-5)
    first = [done for done, _ in reports[: len(reports) // 3]]
    assert all(0 <= done <= total for done, total in reports)
    assert first == sorted(first)
    assert first[-1] > first[0]


@pytest.mark.parametrize("settings", [{"first_epochs": 0}, {"quickest": 1.0}, {"quickest": -0.1}, {"epochs": -1}])
def test_impossible_settings_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="at least one first epoch"):
        Blinding(**settings)


def test_stopping_within_a_training() -> None:
    images, labels = coloured()
    calls = iter(range(100))
    with pytest.raises(Cancelled):
        second_opinion(images, labels, CLASSES, Blinding(), seed=0, device=CPU, should_stop=lambda: next(calls) >= 3)
    assert next(calls) <= 5, "it was asked again after it had said stop"
