"""What attacks with a learned generator share: a small U-Net, its training loop, and its weights as plain arrays.

Ronneberger, Fischer & Brox, "U-Net", MICCAI 2015, with two levels and without normalisation layers. The networks work
at up to 64 px: larger images are reduced first and what the network draws is enlarged again, so that 224 px cost no
more than 64 px. All runs on the CPU, in float32, so that a seed gives the same trigger on every machine.

This module imports torch: attack modules import it inside their functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mspc_core.attacks.base import State, Task
from mspc_core.engine.forward import to_float
from mspc_core.errors import InputError, stop_if

WORKING_SIZE = 64
SMALLEST = 8
_APPLY_BATCH = 128


class UNet(nn.Module):
    """float [B, inputs, h, w] → [B, outputs, h, w], any h and w from 8 on; 0.10 M parameters at width 16.

    Two more inputs, the position (row and column in [−1, 1]), are added inside. The output is unbounded.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 16) -> None:
        super().__init__()
        self.enter = _layers(inputs + 2, width, stride=1)
        self.down = _layers(width, 2 * width, stride=2)
        self.bottom = nn.Sequential(_layers(2 * width, 4 * width, stride=2), _layers(4 * width, 4 * width, stride=1))
        self.up = _layers(6 * width, 2 * width, stride=1)
        self.leave = _layers(3 * width, width, stride=1)
        self.last = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        first = self.enter(torch.cat([images, positions(images)], 1))
        second = self.down(first)
        deep = self.bottom(second)
        middle = self.up(torch.cat([_like(deep, second), second], 1))
        drawn: Tensor = self.last(self.leave(torch.cat([_like(middle, first), first], 1)))
        return drawn


def _layers(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.LeakyReLU(0.1))


def _like(small: Tensor, large: Tensor) -> Tensor:
    return F.interpolate(small, size=large.shape[2:], mode="nearest")


def positions(images: Tensor) -> Tensor:
    """Row and column of each pixel in [−1, 1], float [B, 2, h, w] for images [B, C, h, w]."""
    height, width = images.shape[2:]
    rows = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(len(images), 1, height, width)
    columns = torch.linspace(-1, 1, width).view(1, 1, 1, width).expand(len(images), 1, height, width)
    return torch.cat([rows, columns], 1)


def reduced(images: Tensor) -> Tensor:
    """float [B, C, H, W] at the working size: each side at most 64 px, by averaging."""
    height, width = (min(side, WORKING_SIZE) for side in images.shape[2:])
    return images if (height, width) == tuple(images.shape[2:]) else F.adaptive_avg_pool2d(images, (height, width))


def enlarged(drawn: Tensor, height: int, width: int) -> Tensor:
    """float [B, C, h, w] at the images' own size, bilinear; unchanged where it has that size already."""
    if tuple(drawn.shape[2:]) == (height, width):
        return drawn
    return F.interpolate(drawn, size=(height, width), mode="bilinear", align_corners=False)


def pack(**networks: nn.Module) -> State:
    """The weights of named networks as float32 arrays with keys such as `encoder.last.bias`."""
    return {
        f"{name}.{key}": value.detach().cpu().numpy().copy()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


def unpack(state: State, name: str, network: nn.Module) -> nn.Module:
    """Put packed weights into a network of the same shape, for inference. Raises `InputError` where they do not fit."""
    weights = {}
    for key, value in network.state_dict().items():
        stored = state.get(f"{name}.{key}")
        if stored is None or tuple(stored.shape) != tuple(value.shape):
            raise InputError(
                "This attack has no learned generator with these settings: let it learn from clean images first."
            )
        weights[key] = torch.from_numpy(np.array(stored))
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def restored(state: State, networks: nn.ModuleDict) -> nn.ModuleDict:
    """`unpack` for each of several networks under its own name."""
    for name, network in networks.items():
        unpack(state, name, network)
    return networks


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """torch's CPU randomness (initial weights, dropout) from a seed inside the block; restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(np.random.default_rng(seed).integers(2**62)))
        yield


def draw(task: Task, generator: np.random.Generator, count: int) -> tuple[Tensor, np.ndarray]:
    """A random batch of the clean images at the working size, float [count, 3, h, w] in [0, 1], and its rows int64.

    With replacement. Raises `InputError` when there is nothing to learn from or the images are below 8 px.
    """
    if len(task.images) < 2 or min(task.images.shape[1:3]) < SMALLEST:
        raise InputError(f"This attack learns from two or more clean images of at least {SMALLEST} px a side.")
    rows, order = np.sort(generator.integers(0, len(task.images), count)), np.arange(count)
    generator.shuffle(order)  # read in the order of the file, used in a random one
    images = reduced(to_float(task.images[rows], torch.device("cpu")))
    return images[torch.from_numpy(order)].contiguous(), rows[order]


def train(
    parameters: Iterable[nn.Parameter], loss_of: Callable[[], Tensor], task: Task, *, steps: int, message: str
) -> None:
    """Minimise `loss_of()` by Adam at 2e-3 with cosine decay and clipped gradients, in place.

    Raises `Cancelled`, and `InputError` when the loss diverges.
    """
    weights = list(parameters)
    optimizer = torch.optim.Adam(weights, lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        stop_if(task.should_stop)
        loss = loss_of()
        if not math.isfinite(float(loss.detach())):
            raise InputError(f"Learning the trigger diverged in step {step + 1}: use another seed or fewer steps.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if task.progress:
            task.progress(step + 1, steps, message)


def apply_in_batches(images: np.ndarray, change: Callable[[Tensor, slice], Tensor]) -> np.ndarray:
    """`change(pixels, rows)` on float [b, 3, H, W] in [0, 1], batch by batch: float32 [N, H, W, 3] in [0, 255]."""
    found = np.empty(images.shape, dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(images), _APPLY_BATCH):
            rows = slice(start, min(start + _APPLY_BATCH, len(images)))
            pixels = to_float(images[rows], torch.device("cpu")).contiguous()
            found[rows] = change(pixels, rows).permute(0, 2, 3, 1).numpy() * 255.0
    return found
