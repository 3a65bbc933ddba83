"""Architectures by name. Every model takes float [B, 3, H, W] in [0, 1]: normalisation is a layer inside it.

`small-cnn` trains in about a minute on two CPU cores; `resnet18` and any other torchvision classifier keep their
published shape, with a CIFAR stem (3×3 first convolution, no max-pool) for ResNets on images up to 64 px; `tiny-vit`
is a small vision transformer.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mspc_core.errors import InputError

OWN = ("small-cnn", "tiny-vit")
FROM_PYTHON = "python:"  # starts the `arch` of a module that the caller made: only their code can build it again
_CIFAR_STEM_UP_TO = 64
_MOST_CLASSES, _LARGEST_IMAGE = 100_000, 4096


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a model again: architecture, classes, image size, normalisation per channel."""

    arch: str
    num_classes: int
    image_size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def as_json(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> ModelSpec:
        found = cls(
            arch=str(raw["arch"]),
            num_classes=int(raw["num_classes"]),
            image_size=int(raw["image_size"]),
            mean=_triple(raw["mean"]),
            std=_triple(raw["std"]),
        )
        # A description from a stranger must not make this machine build a model that fills its memory.
        if not 1 <= found.num_classes <= _MOST_CLASSES or not 1 <= found.image_size <= _LARGEST_IMAGE:
            raise ValueError("no such number of classes or image size")
        return found


class Normalised(nn.Module):
    """`backbone((x − mean) / std)`. The statistics are buffers, so they travel with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] in [0, 1] → logits [B, C]."""
        logits: Tensor = self.backbone((images - self.mean) / self.std)
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = _block(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.block(x)
        return out


class SmallCNN(nn.Module):
    """0.54 M parameters, about 20 MMAC at 32×32: big enough to learn triggers, small enough for two cores."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(3, 24),
            nn.MaxPool2d(2),
            _block(24, 64),
            nn.MaxPool2d(2),
            _block(64, 128),
            _Residual(128),
            nn.MaxPool2d(2),
            _block(128, 256),
        )
        self.head = nn.Linear(256, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Pooled features, [B, 256]."""
        pooled: Tensor = self.features(x).mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.forward_features(x))
        return logits


def torchvision_names() -> list[str]:
    """Every torchvision classifier."""
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


def build_model(spec: ModelSpec) -> Normalised:
    """A freshly initialised model. Raises `InputError` for an unknown architecture or a size it cannot take."""
    if spec.arch.startswith(FROM_PYTHON):
        raise InputError(
            f"The model of this run, {spec.arch.removeprefix(FROM_PYTHON)}, was given from Python and only its own "
            "code can build it: resume this run from Python, or scan again naming an architecture that is known here."
        )
    if spec.arch == "small-cnn":
        backbone: nn.Module = SmallCNN(spec.num_classes)
    elif spec.arch == "tiny-vit":
        backbone = _tiny_vit(spec)
    else:
        backbone = _torchvision_model(spec)
    return Normalised(backbone, spec.mean, spec.std).to(memory_format=torch.channels_last)


def _tiny_vit(spec: ModelSpec) -> nn.Module:
    from torchvision.models import VisionTransformer

    patch = next((p for p in (spec.image_size // 8, 4, 8, 16) if p and spec.image_size % p == 0), 0)
    if not patch:
        raise InputError(f"tiny-vit cannot cut {spec.image_size} px into patches: import at a size divisible by 8.")
    return VisionTransformer(
        image_size=spec.image_size,
        patch_size=patch,
        num_layers=6,
        num_heads=4,
        hidden_dim=192,
        mlp_dim=384,
        num_classes=spec.num_classes,
    )


def _torchvision_model(spec: ModelSpec) -> nn.Module:
    import torchvision

    names = torchvision_names()
    if spec.arch not in names:
        near = difflib.get_close_matches(spec.arch, [*OWN, *names], n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else f" For example: {', '.join(OWN)}, resnet18."
        raise InputError(f"There is no architecture {spec.arch!r}.{hint}")
    extra: dict[str, Any] = {}
    if spec.arch.startswith("vit_"):
        extra["image_size"] = spec.image_size
    if spec.arch in ("googlenet", "inception_v3"):
        extra.update(aux_logits=False, init_weights=False)
    try:
        model: nn.Module = torchvision.models.get_model(spec.arch, weights=None, num_classes=spec.num_classes, **extra)
        if spec.image_size <= _CIFAR_STEM_UP_TO and isinstance(model, torchvision.models.ResNet):
            width = model.conv1.out_channels
            model.conv1 = nn.Conv2d(3, width, 3, stride=1, padding=1, bias=False)
            model.maxpool = nn.Identity()
        model.eval()
        with torch.inference_mode():
            model(torch.zeros(1, 3, spec.image_size, spec.image_size))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise InputError(
            f"{spec.arch} cannot take {spec.image_size}×{spec.image_size} images ({str(error).splitlines()[0][:120]}): "
            "import the data at a larger size or choose another architecture."
        ) from None
    return model


def feature_layer(model: nn.Module) -> nn.Linear:
    """The last linear layer: its input is what the model's features are. Raises `InputError` where there is none."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError("This architecture has no final linear layer, so its features cannot be read.")
    return layers[-1]


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
