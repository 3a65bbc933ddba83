"""DFST: a learned style as the trigger (Cheng et al., AAAI 2021, arXiv 2012.11212).

The original trains a CycleGAN from the data to photographs of sunsets, then *detoxifies*: it finds the neurons that a
first model uses for the trigger, trains a network that excites them with simpler means, and trains again with those
samples under their true labels, so that only deep features are left to learn.

Simplified here: (1) sunsets are rendered by code; (2) one generator is trained to give an image the sunsets' statistics
(mean and standard deviation of colours and of the features of a fixed random network, in four bands from top to bottom;
the style loss of Huang & Belongie, "AdaIN", ICCV 2017) while its brightness edges stay, in place of adversarial and
cycle losses; (3) the detoxicants are fixed beforehand: each is the image with its colours stretched and shifted channel
by channel to the mean and deviation of its styled form (Reinhard et al., 2001). Colour as a whole then tells
nothing; where in the image it changes, and how it depends on the content, does. No neurons are searched for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Preset, State, Task, to_uint8
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 16
_BANDS = 4
_SCENES = 48


def sunset_scenes(count: int, size: int, seed: int) -> np.ndarray:
    """Rendered sunsets, float32 [count, size, size, 3] in [0, 1]: a violet to golden sky, a low sun, dark ground."""
    generator = np.random.default_rng([seed, 16])
    stops = np.array([[52, 40, 96], [176, 72, 96], [250, 150, 70], [255, 214, 130]]) / 255.0
    rows, columns = np.indices((size, size)) / max(1, size - 1)
    scenes = np.empty((count, size, size, 3))
    for number in range(count):
        horizon = generator.uniform(0.6, 0.8)
        height = np.clip(rows / horizon, 0.0, 1.0)
        sky = np.stack([np.interp(height, np.linspace(0, 1, 4), stops[:, c]) for c in range(3)], -1)
        distance = np.hypot(rows - horizon + generator.uniform(0.05, 0.2), columns - generator.uniform(0.2, 0.8))
        glow = np.exp(-((distance / 0.18) ** 2))[..., None]
        sky += glow * np.array([0.3, 0.25, 0.05])
        ground = np.array([0.20, 0.09, 0.12]) + 0.35 * glow * np.array([1.0, 0.55, 0.2])
        scene = np.where((rows > horizon)[..., None], ground, sky)
        scene = scene * generator.uniform(0.9, 1.1) + generator.normal(0, 0.03, (size, size, 1))
        scenes[number] = np.clip(scene, 0, 1)
    return scenes.astype(np.float32)


@dataclass(frozen=True)
class DFST(Attack):
    """strength: share of the style that is laid over the image. detoxification: detoxicants for each poisoned sample.
    content: weight of keeping the brightness edges. steps: of 16 images. style_seed: of scenes and random features."""

    name: ClassVar[str] = "dfst"
    title: ClassVar[str] = "DFST sunset style"
    citation: ClassVar[str] = "Cheng et al., AAAI 2021, arXiv 2012.11212"
    explains: ClassVar[str] = "A network repaints the image as if it had been taken at sunset."
    learns: ClassVar[bool] = True
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"strength": 1.0, "detoxification": 1.0},
            "Cheng et al. 2021, sections on the trigger generator and on controlled detoxification; the ratio is this"
            " project's, since the paper's detoxicants are made in rounds against the trained model",
        ),
    }

    strength: float = 0.8
    detoxification: float = 0.5
    content: float = 4.0
    steps: int = 300
    style_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise InputError("DFST needs a strength above 0 and up to 1.")
        if self.detoxification < 0 or self.content < 0 or self.steps < 1:
            raise InputError("DFST needs a detoxification and a content weight of at least 0, and at least 1 step.")

    @property
    def cover_ratio(self) -> float:
        return self.detoxification

    def learn(self, task: Task) -> State:
        """The style generator. See `Attack.learn`."""
        import torch

        from mspc_core.attacks.generators import UNet, draw, pack, seeded, train

        rows = np.random.default_rng([task.seed, 17])
        with seeded(self.style_seed, 18):
            features = _features()
        with seeded(task.seed, 19):
            network = UNet(3, 3)
            side = draw(task, rows, 2)[0].shape[-1]
            scenes = torch.from_numpy(sunset_scenes(_SCENES, side, self.style_seed)).permute(0, 3, 1, 2).contiguous()
            wanted = [found.mean(0) for found in style_statistics(features, scenes)]

            def loss_of() -> Tensor:
                images, _ = draw(task, rows, _BATCH)
                styled = _styled(network, images)
                found = style_statistics(features, styled)
                style = torch.stack([(have - want).square().mean() for have, want in zip(found, wanted, strict=True)])
                edges = (_edges(styled) - _edges(images)).square().mean()
                return 10.0 * (style.sum() + self.content * edges)

            train(network.parameters(), loss_of, task, steps=self.steps, message="learning a style")
        return pack(style=network)

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. The change of colour is enlarged from 64 px for larger images."""
        return to_uint8(self._style(images, state))

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """Detoxicants: the mean and deviation of each channel are those of the styled image, and nothing else is."""
        pixels, styled = images.astype(np.float32), self._style(images, state)
        mean, deviation = pixels.mean((1, 2), keepdims=True), pixels.std((1, 2), keepdims=True)
        wanted, spread = styled.mean((1, 2), keepdims=True), styled.std((1, 2), keepdims=True)
        return to_uint8((pixels - mean) / np.maximum(deviation, 1.0) * spread + wanted)

    def _style(self, images: np.ndarray, state: State) -> np.ndarray:
        from mspc_core.attacks.generators import UNet, apply_in_batches, enlarged, reduced, unpack

        network = unpack(state, "style", UNet(3, 3))

        def restyle(pixels: Tensor, _: slice) -> Tensor:
            small = reduced(pixels)
            change = enlarged(_styled(network, small) - small, *pixels.shape[2:])
            return (pixels + self.strength * change).clamp(0, 1)

        return apply_in_batches(images, restyle)


def _styled(network: nn.Module, images: Tensor) -> Tensor:
    import torch

    styled: Tensor = (images + torch.tanh(network(images))).clamp(0, 1)
    return styled


def _features() -> nn.Sequential:
    """Two random convolutions: enough for texture statistics (Ustyuzhaninov et al., ICLR 2017, arXiv 1606.00021)."""
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU())
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return net.eval().requires_grad_(False)


def style_statistics(features: nn.Sequential, images: Tensor) -> list[Tensor]:
    """Mean and deviation of each channel in each band, for the pixels and both layers: float [B, 4, 2C] each."""
    found = []
    level = images
    layers = list(features)
    for start in (0, 2, 4):
        bands = level.tensor_split(_BANDS, dim=2)
        means = [band.mean((2, 3)) for band in bands]
        spreads = [band.var((2, 3), correction=0).add(1e-5).sqrt() for band in bands]
        found.append(_join(means, spreads))
        for layer in layers[start : start + 2]:
            level = layer(level)
    return found


def _join(means: list[Tensor], spreads: list[Tensor]) -> Tensor:
    import torch

    return torch.stack([torch.cat(pair, 1) for pair in zip(means, spreads, strict=True)], 1)


def _edges(images: Tensor) -> Tensor:
    """Differences of brightness to the right and lower neighbours, float [B, 2, h − 1, w − 1]."""
    import torch

    grey = images.mean(1)
    return torch.stack([grey[:, :-1, 1:] - grey[:, :-1, :-1], grey[:, 1:, :-1] - grey[:, :-1, :-1]], 1)
