"""Architectures by name, the training loop, and that a killed training goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mspc_core.errors import Cancelled, InputError
from mspc_core.models.train import TrainConfig, resolve, train_model
from mspc_core.models.zoo import ModelSpec, Normalised, build_model, feature_layer


def two_kinds(count: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Dark and bright noise, [N, 16, 16, 3], with labels: learnable in a few steps."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = generator.integers(0, 120, (count, 16, 16, 3)) + 130 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


def small(classes: int = 2) -> Normalised:
    torch.manual_seed(0)
    return build_model(ModelSpec("small-cnn", classes, 16))


@pytest.mark.parametrize(
    ("arch", "size"),
    [("small-cnn", 32), ("small-cnn", 50), ("tiny-vit", 32), ("resnet18", 32), ("mobilenet_v3_small", 64)],
)
def test_every_kind_of_model_gives_logits_and_has_features(arch: str, size: int) -> None:
    model = build_model(ModelSpec(arch, 7, size)).eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 3, size, size)).shape == (2, 7)
    assert feature_layer(model).out_features == 7


def test_small_cnn_is_as_small_as_promised() -> None:
    assert 0.4e6 < sum(p.numel() for p in small(10).parameters()) < 0.6e6


def test_cifar_stem_only_on_small_images() -> None:
    assert build_model(ModelSpec("resnet18", 10, 32)).backbone.conv1.kernel_size == (3, 3)
    assert build_model(ModelSpec("resnet18", 10, 96)).backbone.conv1.kernel_size == (7, 7)


def test_normalisation_is_inside() -> None:
    spec = ModelSpec("small-cnn", 3, 16, (0.2, 0.3, 0.4), (0.5, 0.6, 0.7))
    model, x = build_model(spec).eval(), torch.rand(2, 3, 16, 16)
    by_hand = (x - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(spec.std).view(1, 3, 1, 1)
    torch.testing.assert_close(model(x), model.backbone(by_hand))
    assert ModelSpec.from_json(spec.as_json()) == spec


def test_unknown_and_impossible_architectures() -> None:
    with pytest.raises(InputError, match="Did you mean resnet18"):
        build_model(ModelSpec("resnet-18", 10, 32))
    with pytest.raises(InputError, match="cannot take 32×32"):
        build_model(ModelSpec("inception_v3", 10, 32))


def test_training_learns_and_keeps_early_losses() -> None:
    images, labels = two_kinds()
    config = resolve(TrainConfig(epochs=4, batch_size=32), len(images), "small-cnn")
    history = train_model(small(), images, labels, config)
    assert history.train_accuracy[-1] > 0.95
    assert history.early_losses.shape == (4, 96)
    assert history.early_losses[-1].mean() < history.early_losses[0].mean()
    assert (history.early_losses > 0).all(), "every sample was met in every epoch"


def test_epochs_follow_the_size_of_the_data() -> None:
    assert resolve(TrainConfig(), 10_000, "small-cnn").epochs == 16
    assert resolve(TrainConfig(), 500, "small-cnn").epochs == 40
    assert resolve(TrainConfig(), 10**6, "small-cnn").epochs == 8


def test_recipes_follow_the_architecture_and_the_memory() -> None:
    for arch in ("tiny-vit", "vit_b_16", "swin_t", "convnext_tiny"):
        assert resolve(TrainConfig(augment=True), 10_000, arch).optimizer == "adamw"
    assert resolve(TrainConfig(), 10_000, "vgg11").peak_lr < resolve(TrainConfig(), 10_000, "vgg11_bn").peak_lr
    assert resolve(TrainConfig(peak_lr=0.3), 10_000, "vgg11").peak_lr == 0.3
    assert resolve(TrainConfig(), 10_000, "small-cnn", largest_batch=16).batch_size == 16


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_interrupted_training_ends_like_an_undisturbed_one(tmp_path: Path, optimizer: str) -> None:
    images, labels = two_kinds()
    config = TrainConfig(epochs=3, batch_size=32, optimizer=optimizer, peak_lr=0.01)  # type: ignore[arg-type]
    whole = small()
    expected = train_model(whole, images, labels, config)
    calls = iter(range(100))
    with pytest.raises(Cancelled):  # stops in the middle of the second epoch (three steps each)
        train_model(
            small(), images, labels, config, checkpoint=tmp_path / "t.safetensors", should_stop=lambda: next(calls) >= 4
        )
    torch.manual_seed(99)
    resumed = build_model(ModelSpec("small-cnn", 2, 16))  # other weights, which the checkpoint must replace
    history = train_model(resumed, images, labels, config, checkpoint=tmp_path / "t.safetensors")
    assert history.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
    assert history.early_losses.shape == expected.early_losses.shape
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_divergence_is_one_sentence() -> None:
    images, labels = two_kinds()
    with pytest.raises(InputError, match="diverged"):
        train_model(small(), images, labels, TrainConfig(epochs=3, batch_size=32, peak_lr=1e12))


def test_a_last_batch_of_one_does_not_break_batch_norm() -> None:
    images, labels = two_kinds(33)
    history = train_model(small(), images, labels, TrainConfig(epochs=1, batch_size=32))
    assert len(history.train_loss) == 1


def test_augmentation_trains() -> None:
    images, labels = two_kinds()
    history = train_model(small(), images, labels, TrainConfig(epochs=3, batch_size=32, augment=True))
    assert history.train_accuracy[-1] > 0.9
