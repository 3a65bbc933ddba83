"""ISSBA: a secret bit string hidden in each image by a learned encoder (Li et al., ICCV 2021, arXiv 2012.03816).

The encoder and the decoder follow the idea of StegaStamp (Tancik, Mildenhall & Ng, CVPR 2020): the encoder sees the
image and a bit string and draws a residual; the decoder reads the bits back; both learn together with random strings
(Li et al., section 4.2 and figure 3). The attacker then uses one string for all images.

Simplified here: networks far smaller than the published ones and a few hundred steps; a residual that is limited by
construction, with a penalty that is lower on textured ground, in place of the LPIPS and critic losses; no
error-correcting code around the string. So small an encoder would draw nearly the same residual everywhere: a loss on
the likeness of the residuals that one string leaves in two images, which the paper does not have, makes it
sample-specific (median correlation between CIFAR-10 images 0.96 without it, about 0.2 with it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State, Task, to_uint8
from mspc_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 32
_READ_WELL = 0.35  # cross-entropy of a bit below which size and likeness of the residual cost: first read, then hide
_GRID = 16  # the string becomes 3 maps of 16×16, enlarged to the image


@dataclass(frozen=True)
class ISSBA(Attack):
    """bits: length of the secret; secret_seed: which secret. epsilon: most that a channel value changes, in 1 … 255.
    steps: of 32 images. invisibility, diversity: weights of the residual's size and of its likeness between
    images; both act only while the decoder reads well."""

    name: ClassVar[str] = "issba"
    title: ClassVar[str] = "ISSBA hidden string"
    citation: ClassVar[str] = "Li et al., ICCV 2021, arXiv 2012.03816"
    explains: ClassVar[str] = (
        "A network hides the same secret text in every image, as faint noise that looks different in each."
    )
    learns: ClassVar[bool] = True
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"bits": 100, "steps": 4000},
            "Li et al. 2021, sections 4.2 and 5.1: StegaStamp with a string of 100 bits; steps are this project's",
        ),
    }

    bits: int = 32
    secret_seed: int = 0
    epsilon: float = 16.0
    steps: int = 500
    invisibility: float = 0.3
    diversity: float = 0.5

    def __post_init__(self) -> None:
        if not 4 <= self.bits <= 192:
            raise InputError("ISSBA needs a secret of 4 to 192 bits.")
        if not 1 <= self.epsilon <= 255 or self.steps < 1 or min(self.invisibility, self.diversity) < 0:
            raise InputError("ISSBA needs an epsilon from 1 to 255, at least 1 step and no negative weights.")

    @property
    def secret(self) -> np.ndarray:
        """The attacker's string: float32 [bits] of zeros and ones."""
        drawn: np.ndarray = np.random.default_rng([self.secret_seed, 5]).integers(0, 2, self.bits).astype(np.float32)
        return drawn

    def learn(self, task: Task) -> State:
        """Encoder and decoder, trained together on random strings. See `Attack.learn`."""
        import torch
        import torch.nn.functional as F

        from mspc_core.attacks.generators import draw, pack, seeded, train

        rows = np.random.default_rng([task.seed, 11])
        with seeded(task.seed, 12):
            networks = self._networks()

            def loss_of() -> Tensor:
                images, _ = draw(task, rows, _BATCH)
                bits = torch.from_numpy(rows.integers(0, 2, (_BATCH // 2, self.bits)).astype(np.float32)).repeat(2, 1)
                residual = self._residual(networks, images, bits)
                rounding = (torch.rand_like(images) - 0.5) / 255.0
                read = _decode(networks, (images + residual + rounding).clamp(0, 1))
                # Local contrast: noise is seen on flat ground and lost in texture, so it costs more there.
                contrast = _fine(images).abs().mean(1, keepdim=True)
                seen = (residual * 255.0 / self.epsilon).square() / (0.25 + contrast)
                unread = F.binary_cross_entropy_with_logits(read, bits)
                readable = max(0.0, 1.0 - float(unread.detach()) / _READ_WELL)
                # Halves of the batch carry the same strings in other images: their residuals should not be alike.
                first, second = residual.flatten(1).chunk(2)
                alike = F.cosine_similarity(first, second).square().mean()
                return unread + readable * (self.invisibility * seen.mean() + self.diversity * alike)

            train(networks.parameters(), loss_of, task, steps=self.steps, message="learning to hide a string")
        return pack(**dict(networks.items()))

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. The residual is enlarged from 64 px for larger images."""
        import torch

        from mspc_core.attacks.generators import apply_in_batches, enlarged, reduced, restored

        networks = restored(state, self._networks())
        secret = torch.from_numpy(self.secret)

        def encode(pixels: Tensor, _: slice) -> Tensor:
            residual = self._residual(networks, reduced(pixels), secret.expand(len(pixels), -1))
            return pixels + enlarged(residual, *pixels.shape[2:])

        return to_uint8(apply_in_batches(images, encode))

    def read(self, images: np.ndarray, state: State) -> np.ndarray:
        """What the decoder reads in images uint8 [N, H, W, 3]: bool [N, bits]. Compare with `secret`."""
        import torch

        from mspc_core.attacks.generators import reduced, restored
        from mspc_core.engine.forward import to_float

        networks = restored(state, self._networks())
        with torch.inference_mode():
            found = [
                _decode(networks, reduced(to_float(images[start : start + 256], torch.device("cpu")))) > 0
                for start in range(0, len(images), 256)
            ]
        bits: np.ndarray = torch.cat(found).numpy() if found else np.zeros((0, self.bits), dtype=bool)
        return bits

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=float(np.ceil(self.epsilon)))

    def _networks(self) -> nn.ModuleDict:
        from torch import nn

        from mspc_core.attacks.generators import UNet

        return nn.ModuleDict(
            {
                "spread": nn.Linear(self.bits, 3 * _GRID**2),
                "encoder": UNet(6, 3),
                "fine": nn.Sequential(_block(3, 32), _block(32, 16)),
                "key": nn.Sequential(_block(3, 16), nn.Conv2d(16, 16, 3, padding=1)),
                "read": nn.Linear(16 * _GRID**2, self.bits),
            }
        )

    def _residual(self, networks: nn.ModuleDict, images: Tensor, bits: Tensor) -> Tensor:
        """float [B, 3, h, w] within ±epsilon/255 for strings [B, bits] of zeros and ones."""
        import torch
        import torch.nn.functional as F

        maps = networks["spread"](bits * 2 - 1).view(-1, 3, _GRID, _GRID)
        maps = F.interpolate(maps, size=images.shape[2:], mode="nearest")
        drawn: Tensor = torch.tanh(maps + networks["encoder"](torch.cat([images, maps], 1))) * (self.epsilon / 255.0)
        return drawn


def _block(inputs: int, outputs: int) -> nn.Module:
    from torch import nn

    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.LeakyReLU(0.1))


def _decode(networks: nn.ModuleDict, images: Tensor) -> Tensor:
    """Logits of the bits, float [B, bits]: fine structure, each place weighed by a key drawn from the image itself."""
    import torch.nn.functional as F

    smooth = F.avg_pool2d(images, 5, 1, 2, count_include_pad=False)
    keyed = networks["fine"](_fine(images)) * (1.0 + networks["key"](smooth * 4.0 - 2.0))
    bits: Tensor = networks["read"](F.adaptive_avg_pool2d(keyed, _GRID).flatten(1))
    return bits


def _fine(images: Tensor) -> Tensor:
    """Each pixel's difference from the mean of the 5×5 around it, times 8: float [B, 3, h, w]."""
    import torch.nn.functional as F

    return 8.0 * (images - F.avg_pool2d(images, 5, 1, 2, count_include_pad=False))
