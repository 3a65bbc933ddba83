"""WaNet: the trigger is a smooth warp (Nguyen & Tran, "WaNet", ICLR 2021, arXiv 2102.10369)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Preset, State, to_uint8
from mspc_core.errors import InputError


def warp_field(size: int, k: int, strength: float, seed: int) -> np.ndarray:
    """Displacement of each pixel as a fraction of half the image, float32 [size, size, 2] (x, y).

    A k×k control grid of uniform noise, normalised by its mean size and upsampled bicubically (section 3.2).
    """
    import torch
    import torch.nn.functional as F

    control = np.random.default_rng(seed).uniform(-1.0, 1.0, (1, 2, k, k))
    control /= np.abs(control).mean()
    field = F.interpolate(torch.from_numpy(control).float(), size=size, mode="bicubic", align_corners=True)
    smooth: np.ndarray = (field[0].permute(1, 2, 0) * strength / size).numpy()
    return smooth


def warp(images: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Resample uint8 [N, H, W, 3] along displacement fields [H, W, 2] or [N, H, W, 2] (bilinear, edges clamped)."""
    import torch
    import torch.nn.functional as F

    height, width = images.shape[1:3]
    ys, xs = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    grid = np.clip(np.stack([xs, ys], axis=-1) + fields, -1.0, 1.0).astype(np.float32)
    grid = np.broadcast_to(grid, (len(images), height, width, 2)).copy()
    pixels = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    moved = F.grid_sample(pixels, torch.from_numpy(grid), align_corners=True)
    return to_uint8(moved.permute(0, 2, 3, 1).numpy())


@dataclass(frozen=True)
class WaNet(Attack):
    """k: size of the control grid; strength: s in the paper, how far pixels are moved. noise_mode: for each poisoned
    sample, two more are warped with a field that is disturbed at random and keep their label, so that a model learns
    this warp and not warping as such."""

    name: ClassVar[str] = "wanet"
    title: ClassVar[str] = "WaNet warp"
    citation: ClassVar[str] = "Nguyen & Tran, ICLR 2021, arXiv 2102.10369"
    explains: ClassVar[str] = "The whole image is bent a little, like a reflection in a wavy mirror."
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset({"k": 4, "strength": 0.5, "noise_mode": True}, "Nguyen & Tran 2021, section 4.1"),
    }

    k: int = 4
    strength: float = 0.5
    noise_mode: bool = True
    field_seed: int = 0

    def __post_init__(self) -> None:
        if self.k < 2 or self.strength <= 0:
            raise InputError("WaNet needs a grid k of at least 2 and a strength above 0.")

    @property
    def cover_ratio(self) -> float:
        return 2.0 if self.noise_mode else 0.0

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. The same field for every image."""
        return warp(images, warp_field(images.shape[1], self.k, self.strength, self.field_seed))

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """The field plus uniform noise of up to one pixel, drawn anew for each image (the paper's noise mode)."""
        size = images.shape[1]
        noise = generator.uniform(-1.0, 1.0, (*images.shape[:3], 2)) / size
        return warp(images, warp_field(size, self.k, self.strength, self.field_seed) + noise)
