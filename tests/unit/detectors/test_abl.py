"""ABL and its short training: the updates worked out in numpy, and what is learned first on a made-up data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors import relearn
from mspc_core.detectors.abl import ABL, ABLConfig, ascent_loss
from mspc_core.detectors.relearn import Recipe, fresh_copy, train_anew
from mspc_core.errors import InputError


class Linear(nn.Module):
    def __init__(self, values: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(values, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(x.permute(0, 2, 3, 1).flatten(1))  # in the order of the stored pixels
        return out


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def slow_scores(start: nn.Linear, x: np.ndarray, y: np.ndarray, config: ABLConfig) -> np.ndarray:
    """Full-batch SGD with momentum and weight decay on sign(ℓ − γ)·ℓ, with the gradient of softmax regression."""
    weight, bias = (p.detach().double().numpy().copy() for p in (start.weight, start.bias))
    velocities = [np.zeros_like(weight), np.zeros_like(bias)]
    one_hot = np.eye(len(bias))[y]
    for _ in range(config.epochs):
        p = softmax(x @ weight.T + bias)
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        delta = np.sign(loss - config.gamma) * (p - one_hot) / len(y)
        for number, (value, gradient) in enumerate(((weight, delta.T @ x), (bias, delta.sum(0)))):
            gradient = gradient + config.weight_decay * value
            velocities[number] = config.momentum * velocities[number] + gradient
            value -= config.learning_rate * velocities[number]
    p = softmax(x @ weight.T + bias)
    scores: np.ndarray = np.log(p[np.arange(len(y)), y])
    return scores


@pytest.mark.parametrize("gamma", [0.0, 100.0])
def test_equals_the_slow_implementation(gamma: float) -> None:
    """γ = 0: plain descent. γ = 100: the loss is always below, so every step is an ascent."""
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    labels = np.arange(30) % 3
    config = ABLConfig(gamma=gamma, epochs=4, learning_rate=0.03, weight_decay=0.01, seed=7)
    model = Linear(48, 3)
    found = ABL(config).fit(model, images, labels=labels)
    start = fresh_copy(model, 7).head
    assert isinstance(start, nn.Linear)
    x = images.reshape(30, -1) / 255.0
    slow = slow_scores(start, x, labels, config)
    assert found.decision_scores_.tolist() == pytest.approx(slow.tolist(), rel=1e-3, abs=1e-4)
    untrained = slow_scores(start, x, labels, ABLConfig(epochs=0))
    assert (slow.mean() > untrained.mean()) == (gamma == 0.0), "descent lowers the loss, ascent raises it"


def test_ascent_loss() -> None:
    for value, slope in ((0.2, -1.0), (0.9, 1.0)):
        loss = torch.tensor(value, requires_grad=True)
        ascent_loss(loss, 0.5).backward()
        assert float(loss.grad) == slope  # type: ignore[arg-type]


def test_what_is_learned_first_is_isolated() -> None:
    """Noise with random labels cannot be learned in three epochs; a white square with one label can."""
    from mspc_core.models.zoo import ModelSpec, build_model

    generator = np.random.default_rng(0)
    images = generator.integers(0, 200, (240, 16, 16, 3), dtype=np.uint8)
    labels = generator.integers(0, 4, 240)
    triggered = np.arange(240) < 36
    images[triggered, 10:14, 10:14] = 255
    labels[triggered] = 2
    config = ABLConfig(epochs=3, batch_size=32, learning_rate=0.05, isolation_rate=0.1)
    found = ABL(config).fit(build_model(ModelSpec("small-cnn", 4, 16)), images, labels=labels)
    assert found.labels_.sum() == 24
    assert found.labels_[triggered].sum() >= 23
    assert found.decision_scores_[triggered].mean() > found.decision_scores_[~triggered].mean() + 0.5
    losses = [row["loss"] for row in found.artifacts_.tables["epochs"]]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


def test_forwards_are_counted(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    found = ABL(ABLConfig(epochs=3)).fit(tiny_model, random_images, labels=np.arange(40) % 4)
    assert found.artifacts_.forward_equivalents == 40 * (1 + 3 * 3 + 1)


def test_the_given_model_and_the_random_state_are_left_alone(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    state = torch.get_rng_state()
    config = ABLConfig(epochs=2, seed=3)
    first = ABL(config).fit(tiny_model, random_images, labels=np.arange(40) % 4)
    assert all(torch.equal(before[name], value) for name, value in tiny_model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    second = ABL(config).fit(tiny_model, random_images, labels=np.arange(40) % 4)
    assert first.decision_scores_.tolist() == second.decision_scores_.tolist()


def test_fresh_copy_keeps_nothing(tiny_model: nn.Module) -> None:
    copy = fresh_copy(tiny_model, 1)
    assert copy.training
    assert not tiny_model.training
    mine, theirs = dict(copy.named_parameters()), dict(tiny_model.named_parameters())
    for name, weight in mine.items():
        assert weight.requires_grad
        assert weight.data_ptr() != theirs[name].data_ptr()
        if weight.ndim > 1:
            assert abs(np.corrcoef(weight.detach().flatten(), theirs[name].detach().flatten())[0, 1]) < 0.2, name
    assert float(copy.backbone.features[0][1].running_mean.abs().max()) == 0.0  # type: ignore[union-attr,index]
    same, other = fresh_copy(tiny_model, 1), fresh_copy(tiny_model, 2)
    assert torch.equal(copy.backbone.head.weight, same.backbone.head.weight)  # type: ignore[union-attr,arg-type]
    assert not torch.equal(copy.backbone.head.weight, other.backbone.head.weight)  # type: ignore[union-attr,arg-type]


def test_weights_that_no_layer_resets_are_redrawn() -> None:
    from torchvision.models import VisionTransformer

    model = VisionTransformer(16, 8, 1, 2, 16, 32, num_classes=3)
    positions = fresh_copy(model, 0).encoder.pos_embedding  # type: ignore[union-attr]
    before = model.encoder.pos_embedding.detach()
    assert float(positions.detach().std()) == pytest.approx(float(before.std()), rel=0.4)  # type: ignore[operator]
    assert not torch.isclose(positions, before).any()  # type: ignore[arg-type]


def test_a_training_that_diverges_is_begun_again(
    tiny_model: nn.Module, random_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real = relearn._train

    def at_first_nothing(*arguments: Any) -> Any:
        rates.append(arguments[4])
        table = real(*arguments)
        return None if len(rates) == 1 else table

    monkeypatch.setattr(relearn, "_train", at_first_nothing)
    found = train_anew(tiny_model, random_images, np.arange(40) % 4, 4, Recipe(epochs=1))
    assert rates == pytest.approx([0.1, 0.01])
    assert found.equivalents == 2 * 3 * 40, "the lost attempt was paid for, too"
    assert "diverged at a learning rate of 0.1" in found.notes[0]


def test_a_training_that_always_diverges(random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="diverged at every learning rate"):
        train_anew(Linear(768, 4), random_images, np.arange(40) % 4, 4, Recipe(epochs=3, learning_rate=1e38))


def test_labels_that_are_no_class_of_the_model(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with pytest.raises(InputError, match="between 0 and 3"):
        ABL().fit(tiny_model, random_images, labels=np.arange(40))


def test_a_training_that_learned_nothing_is_told(random_images: np.ndarray) -> None:
    model = Linear(768, 4)
    labels = (np.arange(40) < 4).astype(int)  # always "0" is right in nine of ten cases, which no fresh model reaches
    found = ABL(ABLConfig(epochs=1, learning_rate=1e-9)).fit(model, random_images, labels=labels)
    assert "learned little" in found.artifacts_.notes[0]
