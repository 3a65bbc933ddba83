"""What attacks with a learned generator share: the network, the working size, packed weights, seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mspc_core.attacks.base import Task
from mspc_core.attacks.generators import UNet, draw, enlarged, pack, positions, reduced, seeded, train, unpack
from mspc_core.errors import InputError


@pytest.mark.parametrize("side", [8, 15, 16, 33])
def test_unet_keeps_the_size(side: int) -> None:
    assert UNet(4, 2, width=4)(torch.rand(2, 4, side, side + 1)).shape == (2, 2, side, side + 1)


def test_positions_by_hand() -> None:
    found = positions(torch.zeros(1, 3, 3, 2))[0]
    assert found[0].tolist() == [[-1, -1], [0, 0], [1, 1]]
    assert found[1].tolist() == [[-1, 1]] * 3


def test_large_images_are_reduced_by_averaging_and_enlarged_again() -> None:
    image = torch.arange(128.0).view(1, 1, 1, 128).expand(1, 1, 64, 128)
    small = reduced(image)
    assert small.shape == (1, 1, 64, 64)
    assert small[0, 0, 5, :3].tolist() == [0.5, 2.5, 4.5], "pairs of columns"
    assert enlarged(small, 64, 128).shape == image.shape
    assert (enlarged(small, 64, 128) - image)[..., 1:-1].abs().max() < 1e-4, "a ramp survives bilinear enlargement"
    assert reduced(image[..., :40]) is not image
    assert torch.equal(reduced(image[..., :40]), image[..., :40])


def test_weights_round_trip_and_wrong_ones_are_refused() -> None:
    with seeded(1):
        first = UNet(3, 1, width=4)
    state = pack(net=first)
    image = torch.rand(1, 3, 16, 16)
    with seeded(2):
        other = UNet(3, 1, width=4)
    assert not torch.equal(first(image), other(image))
    assert torch.equal(unpack(state, "net", other)(image), first(image))
    with pytest.raises(InputError, match="no learned generator"):
        unpack(state, "net", UNet(3, 1, width=8))


def test_seeded_restores_the_random_state() -> None:
    before = torch.get_rng_state()
    with seeded(3, 1):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3, 1):
        assert torch.equal(torch.rand(4), first)
    with seeded(3, 2):
        assert not torch.equal(torch.rand(4), first)


def test_a_batch_keeps_images_and_rows_together() -> None:
    images = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1).repeat(8, 1).repeat(8, 2).repeat(3, 3)
    task = Task(images, np.zeros(50, np.int64), target=0, classes=2)
    pixels, rows = draw(task, np.random.default_rng(0), 40)
    assert pixels.shape == (40, 3, 8, 8)
    assert (np.rint(pixels[:, 0, 0, 0].numpy() * 255) == rows).all()
    assert (np.diff(rows) < 0).any(), "in random order"


def test_training_minimises_and_refuses_a_loss_that_is_no_number() -> None:
    task = Task(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, np.int64), target=0, classes=2)
    value = torch.nn.Parameter(torch.tensor([0.1]))
    train([value], lambda: (value - 0.2).square().sum(), task, steps=200, message="")
    assert float(value.detach()) == pytest.approx(0.2, abs=0.01)
    with pytest.raises(InputError, match="diverged in step 1"):
        train([value], lambda: value.sum() * float("nan"), task, steps=5, message="")
