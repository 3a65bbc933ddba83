"""Attributions: against values known by hand, and that the model is left as it was."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mspc_core.attribution import GREY, METHODS, attribute, last_block
from mspc_core.errors import InputError
from mspc_core.models.zoo import ModelSpec, build_model
from mspc_core.pasting import paste, paste_and_ask

SIZE = 16


class Linear(nn.Module):
    """Logits W · x + b, so that every attribution is known exactly."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(classes, 3, SIZE, SIZE, generator=generator))
        self.bias = nn.Parameter(torch.randn(classes, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", images, self.weight) + self.bias


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def model_named(arch: str, size: int = SIZE) -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSpec(arch, 4, size)).eval()


def as_batch(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def test_integrated_gradients_of_a_linear_model_are_weight_times_distance(image: np.ndarray) -> None:
    model = Linear()
    found = attribute(model, image, 1, "integrated_gradients")
    pixels = image.transpose(2, 0, 1) / 255
    by_hand = (
        model.weight[1].detach().numpy() * ((pixels - 0) + (pixels - 1)) / 2
    )  # mean of the black and the white start
    assert found.values == pytest.approx(by_hand.sum(0), abs=1e-4)
    assert found.cells == (SIZE, SIZE)


def test_integrated_gradients_add_up_to_the_difference_of_the_logits(image: np.ndarray) -> None:
    """Completeness (Sundararajan et al., 2017, proposition 1), for each of the architectures."""
    for arch in ("small-cnn", "tiny-vit"):
        model = model_named(arch)
        with torch.no_grad():
            said, black, white = model(
                torch.cat([as_batch(image), torch.zeros(1, 3, SIZE, SIZE), torch.ones(1, 3, SIZE, SIZE)])
            )
        difference = float(said[2] - (black[2] + white[2]) / 2)
        found = attribute(model, image, 2, "integrated_gradients")
        assert float(found.values.sum()) == pytest.approx(difference, abs=0.05 * abs(difference) + 0.01)


def test_occlusion_of_a_linear_model_is_what_each_square_adds(image: np.ndarray) -> None:
    """Squares of 2 pixels that move by 1 here: the mean, over the squares that hide it, of what the pixel loses."""
    model = Linear()
    found = attribute(model, image, 0, "occlusion")
    pixels = image.transpose(2, 0, 1) / 255
    own = (model.weight[0].detach().numpy() * (pixels - GREY)).sum(0)  # [H, W]
    total, times = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    for top in range(SIZE - 1):
        for left in range(SIZE - 1):
            square = np.s_[top : top + 2, left : left + 2]
            total[square] += own[square].sum()
            times[square] += 1
    assert found.values == pytest.approx(total / times, abs=1e-3)
    assert found.cells == (15, 15)


def test_grad_cam_is_the_weighted_sum_of_the_last_block(image: np.ndarray) -> None:
    model = model_named("small-cnn", 32)
    picture = image.repeat(2, 0).repeat(2, 1)
    kept: list[Tensor] = []
    handle = model.backbone.features.register_forward_hook(lambda *_: kept.append(_[2]))
    logits = model(as_batch(picture).requires_grad_())
    handle.remove()
    slopes = torch.autograd.grad(logits[0, 3], kept[0])[0].mean((2, 3), keepdim=True)
    coarse = (slopes * kept[0]).sum(1, keepdim=True).relu()
    by_hand = nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")[0, 0].detach().numpy()
    found = attribute(model, picture, 3, "grad_cam")
    assert found.cells == (4, 4)
    assert found.values == pytest.approx(by_hand, abs=1e-6)
    assert found.values.min() >= 0


@pytest.mark.parametrize("arch", ["small-cnn", "resnet18", "vgg11", "mobilenet_v3_small"])
def test_convolutional_models_have_a_last_block(arch: str, image: np.ndarray) -> None:
    picture = image.repeat(2, 0).repeat(2, 1)
    found = attribute(model_named(arch, 32), picture, 0, "grad_cam")
    assert found.values.shape == (32, 32)
    assert found.cells[0] * found.cells[1] > 1


def test_the_last_block_of_a_resnet_is_its_fourth_stage() -> None:
    model = model_named("resnet18", 32)
    assert last_block(model, torch.zeros(1, 3, 32, 32)) is model.backbone.layer4


@pytest.mark.parametrize("arch", ["tiny-vit", "swin_t"])
def test_transformers_have_no_convolutional_block(arch: str, image: np.ndarray) -> None:
    size = 16 if arch == "tiny-vit" else 64
    picture = image.repeat(size // 16, 0).repeat(size // 16, 1)
    with pytest.raises(InputError, match="no convolutional block"):
        attribute(model_named(arch, size), picture, 0, "grad_cam")


@pytest.mark.parametrize("method", list(METHODS))
def test_the_model_is_left_as_it_was(method: str, image: np.ndarray) -> None:
    model = model_named("small-cnn").train()
    first = next(model.parameters())
    first.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [value.requires_grad for value in model.parameters()]
    again = [attribute(model, image, 1, method).values for _ in range(2)]
    assert (again[0] == again[1]).all()
    assert model.training
    assert [value.requires_grad for value in model.parameters()] == flags
    assert all(value.grad is None for value in model.parameters())
    assert not any(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks) for part in model.modules()
    )
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(InputError, match="no attribution 'magic'"):
        attribute(Linear(), np.zeros((SIZE, SIZE, 3), np.uint8), 0, "magic")


def test_damaged_weights_are_said() -> None:
    model = Linear()
    model.weight.data[:] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        attribute(model, np.zeros((SIZE, SIZE, 3), np.uint8), 0, "integrated_gradients")


class ByCorner(nn.Module):
    """Class 1 where the first pixel is bright, else class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        bright = images[:, 0, 0, 0] - 0.5
        return self.gain * torch.stack([-bright, bright], 1)


class TestPasting:
    def test_takes_the_region_from_the_donor_and_the_rest_from_the_receiver(self) -> None:
        donor, receivers = np.full((2, 2, 3), 9, np.uint8), np.zeros((3, 2, 2, 3), np.uint8)
        region = np.array([[True, False], [False, False]])
        found = paste(donor, region, receivers)
        assert found[:, 0, 0].tolist() == [[9, 9, 9]] * 3
        assert found.sum() == 81

    def test_counts_only_images_that_could_turn(self) -> None:
        donor = np.full((2, 2, 3), 255, np.uint8)
        receivers = np.zeros((3, 2, 2, 3), np.uint8)
        receivers[2] = 255  # has the donor's class already
        corner = np.array([[True, False], [False, False]])
        found = paste_and_ask(ByCorner(), donor, corner, receivers)
        assert found.target == 1
        assert found.eligible.tolist() == [True, True, False]
        assert found.turned.tolist() == [True, True, False]
        assert found.before[0] == pytest.approx([1 / (1 + np.exp(-10)), 1 / (1 + np.exp(10))])
        elsewhere = paste_and_ask(ByCorner(), donor, ~corner, receivers)
        assert not elsewhere.turned.any()
