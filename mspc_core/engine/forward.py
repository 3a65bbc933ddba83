"""Forward passes over stored uint8 images: plain, scaled, and counted.

Images are uint8 [N, H, W, 3] (usually a memory map); models take float [B, 3, H, W] in [0, 1] and normalise inside, so
scaling happens in pixel space as SPC demands (Guo et al., SCALE-UP, ICLR 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.engine import distributed
from mspc_core.engine.device import autocast, batch_size_for
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if


@dataclass
class ForwardCount:
    """Images that went through the model. A backward pass to the input counts as one more forward-equivalent."""

    forwards: int = 0
    backwards: int = 0

    @property
    def equivalents(self) -> int:
        return self.forwards + self.backwards


@contextmanager
def counting(model: nn.Module) -> Iterator[ForwardCount]:
    """Count every image that passes through `model` inside the block, in all processes that share the work."""
    count = ForwardCount()

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        count.forwards += len(inputs[0])
        if inputs[0].requires_grad and torch.is_grad_enabled():
            count.backwards += len(inputs[0])

    handle = model.register_forward_pre_hook(hook)
    try:
        yield count
    finally:
        handle.remove()
    count.forwards, count.backwards = distributed.total(count.forwards, count.backwards)


@contextmanager
def frozen(model: nn.Module) -> Iterator[torch.device]:
    """Evaluation mode without parameter gradients inside the block, in mixed precision where that pays; all is
    restored. Yields the model's device."""
    training = model.training
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    device = device_of(model)
    try:
        with autocast(device, True):
            yield device
    finally:
        model.train(training)
        for parameter, value in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(value)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def to_float(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] → float32 [B, 3, H, W] in [0, 1] on `device`, channels-last in memory (no copy of layout)."""
    # A slice of a read-only map would be shared with torch, which cannot promise not to write: copy just those.
    pixels = torch.from_numpy(np.array(images) if not images.flags.writeable else np.ascontiguousarray(images))
    if device.type == "cuda":
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2).to(device, torch.float32).div_(255.0)


def scale_images(images: Tensor, scale: Tensor | float, mask: Tensor | None = None, shift: float = 0.0) -> Tensor:
    """clip(scale · (images − shift) ⊙ mask, 0, 1), MSPC's masked, shifted scaling (Pal et al. 2024, eq. 2).

    images: float [B, 3, H, W] in [0, 1]. scale: number, or tensor that broadcasts, such as [B, 1, 1, 1].
    mask: [H, W] or anything that broadcasts against images; None is all ones. shift: τ.
    """
    moved = images - shift if shift else images
    if mask is not None:
        moved = moved * mask
    return (moved * scale).clamp(0.0, 1.0)


def predict_logits(
    model: nn.Module,
    images: np.ndarray,
    *,
    indices: np.ndarray | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Tensor:
    """Logits of every image (or of `indices`, in their order), float32 [N, C] on the CPU.

    Raises `InputError` when the model gives NaN or infinity, which would make every later number meaningless.
    """
    rows = np.arange(len(images)) if indices is None else indices
    found = []
    with frozen(model) as device, torch.inference_mode():
        step = batch_size or batch_size_for(device, images.shape[1])
        for start in distributed.batches(len(rows), step):
            stop_if(should_stop)
            batch = to_float(images[rows[start : start + step]], device)
            found.append(model(batch).float().cpu())
            if progress:
                progress(min(start + step, len(rows)), len(rows), "predicting")
    logits = distributed.gather_rows(torch.cat(found) if found else torch.empty(0, 0))  # [N, C]
    check_finite(logits)
    return logits


def check_finite(logits: Tensor) -> None:
    """Raises `InputError` where a model gives NaN or infinity. logits: [N, C]."""
    if not torch.isfinite(logits).all():
        broken = int((~torch.isfinite(logits).all(1)).sum())
        raise InputError(
            f"The model gives NaN or infinite outputs on {broken} of {len(logits)} images: "
            "its weights or its normalisation are damaged; train or load another model."
        )


def scaled_agreement(
    model: nn.Module,
    images: np.ndarray,
    predicted: np.ndarray,
    scales: Sequence[float],
    *,
    mask: Tensor | None = None,
    shift: float = 0.0,
    indices: np.ndarray | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> np.ndarray:
    """For each image and scale: does the scaled image keep the predicted class? bool [len(indices), S].

    predicted: int [N], the model's class for each unscaled image. A batch is read once for all scales; nothing is
    dropped at the end.
    """
    rows = np.arange(len(images)) if indices is None else indices
    agreement = np.zeros((len(rows), len(scales)), dtype=bool)
    with frozen(model) as device, torch.inference_mode():
        step = batch_size or batch_size_for(device, images.shape[1])
        own = distributed.batches(len(rows), step)
        for start in own:
            chunk = rows[start : start + step]
            batch = to_float(images[chunk], device)
            wanted = torch.from_numpy(np.asarray(predicted)[chunk]).to(device)
            for column, scale in enumerate(scales):
                stop_if(should_stop)
                found = model(scale_images(batch, float(scale), mask, shift)).argmax(1)
                agreement[start : start + len(chunk), column] = (found == wanted).cpu().numpy()
            if progress:
                progress(min(start + step, len(rows)), len(rows), "comparing scaled predictions")
    return distributed.gather_array(agreement[own.start : own.stop])


def scaled_majority(
    model: nn.Module,
    images: np.ndarray,
    predicted: np.ndarray,
    scales: Sequence[float],
    *,
    mask: Tensor | None = None,
    shift: float = 0.0,
    batch_size: int | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> np.ndarray:
    """Does a strict majority of the scales keep the predicted class? bool [N].

    Exactly `scaled_agreement(...).mean(1) > 0.5`, but an image leaves as soon as its majority is decided, so it needs
    between half and all of the scales.
    """
    needed = len(scales) // 2 + 1
    kept = np.zeros(len(images), dtype=np.int64)
    open_rows = np.arange(len(images))
    for done, scale in enumerate(scales, start=1):
        kept[open_rows] += scaled_agreement(
            model,
            images,
            predicted,
            [scale],
            mask=mask,
            shift=shift,
            indices=open_rows,
            batch_size=batch_size,
            should_stop=should_stop,
        )[:, 0]
        left = len(scales) - done
        undecided = (kept[open_rows] < needed) & (kept[open_rows] + left >= needed)
        open_rows = open_rows[undecided]
        if progress:
            progress(done, len(scales), "comparing scaled predictions")
        if not len(open_rows):
            break
    return kept >= needed
