"""IBD-PSC, FLARE and Beatrix: against slow versions of their formulas and on samples whose place is known."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors.base import CleanData
from mspc_core.detectors.beatrix import Bands, Beatrix, BeatrixConfig, grams, last_map
from mspc_core.detectors.features import batch_norms
from mspc_core.detectors.flare import Flare, FlareConfig, normalised_extremes
from mspc_core.detectors.ibd_psc import IBDPSC, IBDPSCConfig, affine_batch_norms, amplified
from mspc_core.engine.forward import predict_logits
from mspc_core.errors import InputError
from tests.unit.detectors.pixel_features import PixelFeatures


def slow_psc(model: nn.Module, images: np.ndarray, numbers: range, factor: float) -> np.ndarray:
    predicted = predict_logits(model, images).argmax(1)
    total = torch.zeros(len(images))
    for number in numbers:
        changed = copy.deepcopy(model)
        for layer in list(batch_norms(changed).values())[-number:]:
            layer.weight.data *= factor
            layer.bias.data *= factor
        shares = torch.softmax(predict_logits(changed, images), 1)
        total += torch.stack([shares[row, predicted[row]] for row in range(len(images))])
    return (total / len(numbers)).numpy()


def test_ibd_psc_equals_the_slow_version(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    labels = predict_logits(tiny_model, random_images).argmax(1).numpy()
    config = IBDPSCConfig(error=0.05, versions=3, search_samples=30)
    found = IBDPSC(config).fit(tiny_model, random_images, labels=labels)
    search = found.artifacts_.tables["search"]
    assert [row["layers"] for row in search] == list(range(1, len(search) + 1))
    assert search[-1]["error"] > 0.05
    assert all(row["error"] <= 0.05 for row in search[:-1])
    first = search[-1]["layers"]
    numbers = range(first, min(first + 3, 6))
    expected = slow_psc(tiny_model, random_images, numbers, 1.5)
    np.testing.assert_allclose(found.decision_scores_, expected, atol=1e-4)
    assert np.std(expected) > 0.01
    assert found.artifacts_.forward_equivalents == 40 * (1 + len(numbers)) + 30 * len(search)


def test_ibd_psc_says_when_no_layer_is_enough(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    labels = predict_logits(tiny_model, random_images).argmax(1).numpy()
    found = IBDPSC(IBDPSCConfig(error=1.0)).fit(tiny_model, random_images, labels=labels)
    assert any("No number of amplified layers" in note for note in found.artifacts_.notes)
    expected = slow_psc(tiny_model, random_images, range(1, 6), 1.5)
    np.testing.assert_allclose(found.decision_scores_, expected, atol=1e-4)


def test_amplification_is_undone_even_after_an_error(tiny_model: nn.Module) -> None:
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    layers = affine_batch_norms(tiny_model)

    def fail_inside() -> None:
        with amplified(layers[-2:], 1.5):
            torch.testing.assert_close(layers[-1].weight, 1.5 * before["backbone.features.7.1.weight"])
            assert torch.equal(layers[0].weight, before["backbone.features.0.1.weight"])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_inside()
    assert all(torch.equal(before[name], value) for name, value in tiny_model.state_dict().items())


def test_batch_norms_are_needed(random_images: np.ndarray) -> None:
    for detector in (IBDPSC(), Flare()):
        with pytest.raises(InputError, match="no BatchNorm layers"):
            detector.fit(PixelFeatures(), random_images[:, :4, :4], labels=np.zeros(40, int))


class Spikes(nn.Module):
    """Two BatchNorm layers that see the pixels: a single bright pixel is an extreme value for both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 2)
        for layer in (self.first, self.second):
            layer.running_mean.fill_(0.4)
            layer.running_var.fill_(0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.second(1 - x)
        logits: torch.Tensor = self.head(self.first(x).mean((2, 3)))
        return logits


def noisy(count: int, spiked: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    images = np.clip(100 + 12 * generator.standard_normal((count, 8, 8, 3)), 0, 255).astype(np.uint8)
    images[:spiked, 3, 3] = 235 + generator.integers(0, 20, (spiked, 3))
    return images, np.arange(count) < spiked


def test_normalised_extremes_by_hand() -> None:
    layer = nn.BatchNorm2d(2, eps=0.0)
    layer.running_mean.copy_(torch.tensor([1.0, 10.0]))
    layer.running_var.copy_(torch.tensor([4.0, 100.0]))
    inputs = torch.tensor([[[[1.0, 9.0]], [[10.0, -30.0]]]])  # channel 0: 0 and 4; channel 1: 0 and −4 … in σ
    assert normalised_extremes(layer, inputs, inputs).tolist() == [[-4.0, 4.0]]


def test_flare_finds_the_spiked_images_and_counts() -> None:
    images, spiked = noisy(300, 30)
    found = Flare().fit(Spikes(), images, labels=np.zeros(300, int))
    assert found.labels_.tolist() == spiked.tolist()
    assert found.artifacts_.forward_equivalents == 300
    assert found.artifacts_.tables["spaces"][0]["largest_share"] > 0.5


def test_flare_assigns_what_it_did_not_cluster() -> None:
    images, spiked = noisy(400, 60)
    found = Flare(FlareConfig(clustered=200)).fit(Spikes(), images, labels=np.zeros(400, int))
    assert found.labels_.tolist() == spiked.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_flare_leaves_clean_images_alone(seed: int) -> None:
    images, _ = noisy(300, 0, seed)
    found = Flare().fit(Spikes(), images, labels=np.zeros(300, int))
    assert found.labels_.mean() <= 0.05


def test_flare_with_one_image_many_times() -> None:
    images = np.repeat(noisy(1, 0)[0], 50, axis=0)
    found = Flare().fit(Spikes(), images, labels=np.zeros(50, int))
    assert not found.labels_.any()
    assert "nothing was flagged" in found.artifacts_.notes[0]


def test_gram_vectors_equal_loops() -> None:
    maps = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    found = grams(maps, (1, 3)).numpy()
    expected = []
    for v in maps.double().numpy():
        row = []
        for p in (1, 3):
            for a in range(3):
                for b in range(a, 3):
                    entry = sum(v[a, k] ** p * v[b, k] ** p for k in range(5))
                    row.append(np.sign(entry) * abs(entry) ** (1 / p))
        expected.append(row)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_bands_by_hand() -> None:
    # first entry: median 2, MAD 1 → [−8, 12]; second: median 5, MAD 0 → [5, 5]
    bands = Bands(torch.tensor([[1.0, 5], [2, 5], [3, 5]]), 10.0)
    found = bands.deviations(torch.tensor([[12.0, 5], [18, 5], [-12, 6]]))
    assert found.tolist() == pytest.approx([0, (6 / 12) / 2, (4 / 8 + 1 / 5) / 2], rel=1e-4)


class Channels(nn.Module):
    """The map is the picture itself, three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, 3, 1, bias=False)
        self.head = nn.Linear(3, 4)
        with torch.no_grad():
            self.map.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.relu(self.map(x)).mean((2, 3)))
        return logits


def test_beatrix_finds_a_class_with_other_correlations() -> None:
    images, _ = noisy(300, 0)
    labels = np.arange(300) % 10
    poison = (labels == 2) & (np.arange(300) < 150)
    images[poison, :, :, 0], images[poison, :, :, 2] = 215, 20
    trusted, _ = noisy(300, 0, seed=1)
    model = Channels()
    found = Beatrix(BeatrixConfig(orders=(1, 2, 3))).fit(
        model, images, labels=labels, clean=CleanData(trusted, np.arange(300) % 10)
    )
    assert found.labels_[poison].all()
    assert found.labels_[~poison].mean() <= 0.05
    assert last_map(model, images[:1]) is model.map
    assert found.artifacts_.forward_equivalents == 2 * 300 + 1 + 300


def test_beatrix_says_which_classes_it_could_not_judge(random_images: np.ndarray) -> None:
    clean = CleanData(random_images[:10], np.zeros(10, int))
    found = Beatrix(BeatrixConfig(orders=(1,))).fit(Channels(), random_images, labels=np.arange(40) % 4, clean=clean)
    assert not found.labels_.any()
    assert any("trusted samples of 3 classes" in note for note in found.artifacts_.notes)
    with pytest.raises(InputError, match="needs clean data"):
        Beatrix().fit(Channels(), random_images, labels=np.arange(40) % 4)
