"""Which pixels speak for a class: three attributions of captum, brought to one shape and one meaning.

They are a second witness beside the learned masks: they look at one image and know nothing of the others, and they were
made to explain models, not to find triggers. All explain the logit of one class, in float32 and evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Method:
    """What a page says of an attribution."""

    title: str
    citation: str
    about: str


METHODS: dict[str, Method] = {
    "integrated_gradients": Method(
        "Integrated Gradients",
        "Sundararajan et al., ICML 2017",
        "The gradient, added up on the way from a plain image to this one; mean of a black and a white start.",
    ),
    "grad_cam": Method(
        "Grad-CAM",
        "Selvaraju et al., ICCV 2017",
        "Where the last convolutional block is active in a way that raises the class; coarse by nature.",
    ),
    "occlusion": Method(
        "Occlusion",
        "Zeiler and Fergus, ECCV 2014",
        "How much the class loses when a grey square hides the place.",
    ),
}
STEPS = 32  # of Integrated Gradients from each of its two starts
GREY = 0.5  # hides a place in Occlusion: black and white may themselves be part of a trigger
_WINDOWS = 8  # squares that fit along a side in Occlusion; they move by half their width


@dataclass(frozen=True)
class Attribution:
    """values: float32 [H, W], above 0 where a pixel speaks for the class and below where it speaks against it (never
    below with Grad-CAM); channels are added up. cells: the resolution the method has, as (rows, columns)."""

    values: np.ndarray
    cells: tuple[int, int]


def attribute(model: nn.Module, image: np.ndarray, target: int, method: str) -> Attribution:
    """One method's answer to: which pixels of this image speak for class `target`?

    image: uint8 [H, W, 3]; the model takes float [B, 3, H, W] in [0, 1]. The model's mode, gradient flags and hooks are
    left as they were. Raises `InputError` for an unknown method, and for Grad-CAM without a convolutional block.
    """
    ways = {"integrated_gradients": _integrated_gradients, "grad_cam": _grad_cam, "occlusion": _occlusion}
    if method not in ways:
        raise InputError(f"There is no attribution {method!r}: choose one of {', '.join(METHODS)}.")
    with _exact(model) as device:
        from mspc_core.engine.forward import to_float

        values, cells = ways[method](model, to_float(image[None], device).contiguous(), target)
        found = values.detach().float().cpu().numpy()
    if not np.isfinite(found).all():
        raise InputError(f"{METHODS[method].title} gave NaN or infinite values: the model's weights may be damaged.")
    return Attribution(found, cells)


def last_block(model: nn.Module, batch: Tensor) -> nn.Module | None:
    """The outermost module around the last convolution whose output still has places (more than one pixel), or None.

    batch: float [1, 3, H, W]. A convolution that only cuts the image into patches for a transformer is none: what comes
    after it does not keep one place apart from another.
    """
    import torch
    from torch import nn

    done: list[tuple[nn.Module, tuple[int, ...]]] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        done.append((module, tuple(output.shape) if isinstance(output, torch.Tensor) else ()))

    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.no_grad():
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    attention = max((place for place, (module, _) in enumerate(done) if _attends(module)), default=-1)
    with_places = [
        (place, module) for place, (module, shape) in enumerate(done) if len(shape) == 4 and shape[2] * shape[3] > 1
    ]
    convolutions = [
        module
        for place, module in with_places
        if isinstance(module, nn.Conv2d) and not _cuts_patches(module) and place > attention
    ]
    if not convolutions:
        return None
    around = [module for _, module in with_places if any(part is convolutions[-1] for part in module.modules())]
    return around[-1]


def _attends(module: nn.Module) -> bool:
    from torch import nn

    return isinstance(module, nn.MultiheadAttention)


def _cuts_patches(module: nn.Conv2d) -> bool:
    return module.kernel_size == module.stride and max(module.kernel_size) > 1


@contextmanager
def _exact(model: nn.Module) -> Iterator[torch.device]:
    """`frozen`, but in full precision: differences between pixels are small."""
    import torch

    from mspc_core.engine.forward import frozen

    with frozen(model) as device, torch.autocast(device.type, enabled=False):
        yield device


def _integrated_gradients(model: nn.Module, batch: Tensor, target: int) -> tuple[Tensor, tuple[int, int]]:
    """Mean over a black and a white start: from black alone, black pixels of a trigger could not count (as in XRAI,
    Kapishnikov et al., ICCV 2019). The values add up to F(x) minus the mean of F(black) and F(white)."""
    import torch
    from captum.attr import IntegratedGradients

    from mspc_core.engine.device import gradient_batch_for

    explain, size = IntegratedGradients(model), gradient_batch_for(batch.device, batch.shape[-1])
    found = [
        explain.attribute(batch, baselines=start, target=target, n_steps=STEPS, internal_batch_size=size)
        for start in (0.0, 1.0)
    ]
    return torch.stack(found).mean(0)[0].sum(0), (batch.shape[2], batch.shape[3])


def _grad_cam(model: nn.Module, batch: Tensor, target: int) -> tuple[Tensor, tuple[int, int]]:
    from captum.attr import LayerAttribution, LayerGradCam

    block = last_block(model, batch)
    if block is None:
        raise InputError(
            "This architecture has no convolutional block that keeps places apart, so Grad-CAM says nothing."
        )
    found = LayerGradCam(model, block).attribute(batch, target=target, relu_attributions=True)  # [1, 1, h, w]
    size = (batch.shape[2], batch.shape[3])
    return LayerAttribution.interpolate(found, size, "bilinear")[0, 0], (found.shape[2], found.shape[3])


def _occlusion(model: nn.Module, batch: Tensor, target: int) -> tuple[Tensor, tuple[int, int]]:
    import torch
    from captum.attr import Occlusion

    from mspc_core.engine.device import batch_size_for

    height, width = batch.shape[2:]
    window = tuple(max(1, side // _WINDOWS) for side in (height, width))
    step = tuple(max(1, side // 2) for side in window)
    with torch.no_grad():
        found = Occlusion(model).attribute(
            batch,
            sliding_window_shapes=(3, *window),
            strides=(3, *step),
            baselines=GREY,
            target=target,
            perturbations_per_eval=batch_size_for(batch.device, width),
        )
    cells = tuple(-(-(side - over) // by) + 1 for side, over, by in zip((height, width), window, step, strict=True))
    return found[0].mean(0), (cells[0], cells[1])
