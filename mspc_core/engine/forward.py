"""Forward passes over stored uint8 images: plain, scaled, and counted.

Images are uint8 [N, H, W, 3] (usually a memory map); models take float [B, 3, H, W] in [0, 1] and normalise inside, so
scaling happens in pixel space as SPC demands (Guo et al., SCALE-UP, ICLR 2023).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.engine import distributed
from mspc_core.engine.device import autocast, batch_size_for
from mspc_core.engine.memory import in_pieces
from mspc_core.engine.pixels import Images, batches, staged
from mspc_core.engine.rows import Collected
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

_HALF_ALLOWED = "half_precision_allowed"  # attribute of a model, so that deep copies keep it


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
        with autocast(device, half_allowed(model)):
            yield device
    finally:
        model.train(training)
        for parameter, value in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(value)


def allow_half(model: nn.Module, allowed: bool) -> None:
    """Say whether passes of this model (and copies of it) may use mixed precision where the device has it."""
    setattr(model, _HALF_ALLOWED, allowed)


def half_allowed(model: nn.Module) -> bool:
    """May passes of this model use mixed precision where the device has it?"""
    return bool(getattr(model, _HALF_ALLOWED, True))


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def to_float(images: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] → float32 [B, 3, H, W] in [0, 1] on `device`, channels-last in memory (no copy of layout)."""
    pixels = images if isinstance(images, Tensor) else staged(images, device)
    return pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def scale_images(images: Tensor, scale: Tensor | float, mask: Tensor | None = None, shift: float = 0.0) -> Tensor:
    """clip(scale · (images − shift) ⊙ mask, 0, 1), MSPC's masked, shifted scaling (Pal et al. 2024, eq. 2).

    images: float [B, 3, H, W] in [0, 1]. scale: number, or tensor that broadcasts, such as [B, 1, 1, 1].
    mask: [H, W] or anything that broadcasts against images; None is all ones. shift: τ.
    """
    moved = images - shift if shift else images
    if mask is not None:
        moved = moved * mask
    return (moved * scale).clamp(0.0, 1.0)


def forward_pass(model: nn.Module, batch: Tensor) -> Tensor:
    """`model(batch)`, in smaller pieces where the device's memory is too small for all of it."""
    found = in_pieces(model, len(batch), lambda piece: model(batch[piece]))
    return found[0] if len(found) == 1 else torch.cat(found)


def predict_logits(
    model: nn.Module,
    images: Images,
    *,
    indices: np.ndarray | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Tensor:
    """Logits of every image (or of `indices`, in their order), float32 [N, C] on the CPU.

    Raises `InputError` when the model gives NaN or infinity, which would make every later number meaningless.
    """
    step = batch_size or batch_size_for(device_of(model), images.shape[1])
    own = Collected(distributed.own_rows(len(images) if indices is None else len(indices), step), sys.maxsize)
    each_batch(
        model,
        images,
        lambda found: own.add(found.numpy()),
        indices=indices,
        batch_size=step,
        progress=progress,
        should_stop=should_stop,
    )
    logits = distributed.gather_rows(torch.from_numpy(own.array()))  # [N, C]
    check_finite(logits)
    return logits


def each_batch(
    model: nn.Module,
    images: Images,
    keep: Callable[[Tensor], None],
    *,
    indices: np.ndarray | None = None,
    batch_size: int | None = None,
    message: str = "predicting",
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> None:
    """Pass every image (or `indices`, in their order) through the model: of several processes that share the pass,
    each its own part. keep: gets the logits of each batch, float32 [B, C] on the CPU."""
    rows = np.arange(len(images)) if indices is None else indices
    done = 0
    with frozen(model) as device, torch.inference_mode():
        step = batch_size or batch_size_for(device, images.shape[1])
        for chunk, pixels in batches(images, rows, distributed.batches(len(rows), step), step, device):
            stop_if(should_stop)
            keep(forward_pass(model, to_float(pixels, device)).float().cpu())
            done += len(chunk) * distributed.size()  # the others are about as far
            if progress:
                progress(min(done, len(rows)), len(rows), message)


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
    images: Images,
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
    with frozen(model) as device, torch.inference_mode():
        step, done = batch_size or batch_size_for(device, images.shape[1]), 0
        found = Collected(distributed.own_rows(len(rows), step))
        for chunk, pixels in batches(images, rows, distributed.batches(len(rows), step), step, device):
            wanted = torch.from_numpy(np.asarray(predicted)[chunk]).to(device)
            base = _shifted(to_float(pixels, device), mask, shift)
            kept = torch.empty(len(scales), len(chunk), dtype=torch.bool, device=device)
            for part, scaled in _at_scales(base, scales, step):
                stop_if(should_stop)
                classes = forward_pass(model, scaled).argmax(1).view(-1, len(chunk))
                torch.eq(classes, wanted, out=kept[part])
            # One copy a batch: a copy waits for the device, which would idle if each scale had its own.
            found.add(kept.T.cpu().numpy())
            done += len(chunk) * distributed.size()  # the others are about as far
            if progress:
                progress(min(done, len(rows)), len(rows), "comparing scaled predictions")
    return distributed.gather_array(found.array()) if len(rows) else np.zeros((0, len(scales)), dtype=bool)


def _shifted(images: Tensor, mask: Tensor | None, shift: float) -> Tensor:
    """(images − shift) ⊙ mask, in place: the part of `scale_images` that all scales share."""
    if shift:
        images.sub_(shift)
    return images if mask is None else images.mul_(mask)


def _at_scales(base: Tensor, scales: Sequence[float], step: int) -> Iterator[tuple[slice, Tensor]]:
    """(which scales, clip(scale · base, 0, 1) for them, one scale after the other: float [K · B, 3, H, W]).

    K scales share a pass where a batch is so small that they fit into one of `step` images. The memory is used again
    for the next pass.
    """
    count = len(base)
    together = max(1, min(len(scales), step // max(1, count)))
    buffer = torch.empty(together * count, *base.shape[1:], device=base.device, memory_format=torch.channels_last)
    for start in range(0, len(scales), together):
        chosen = scales[start : start + together]
        for place, scale in enumerate(chosen):
            torch.mul(base, float(scale), out=buffer[place * count : (place + 1) * count])
        yield slice(start, start + len(chosen)), buffer[: len(chosen) * count].clamp_(0.0, 1.0)


def scaled_majority(
    model: nn.Module,
    images: Images,
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
    between half and all of the scales. As none can leave before half of them, these are one pass over the images.
    """
    needed = len(scales) // 2 + 1
    kept = np.zeros(len(images), dtype=np.int64)
    open_rows, done = np.arange(len(images)), 0
    while len(open_rows) and done < len(scales):
        chosen = scales[done : done + (1 if done else len(scales) - needed + 1)]
        kept[open_rows] += scaled_agreement(
            model,
            images,
            predicted,
            chosen,
            mask=mask,
            shift=shift,
            indices=open_rows,
            batch_size=batch_size,
            should_stop=should_stop,
        ).sum(1)
        done += len(chosen)
        undecided = (kept[open_rows] < needed) & (kept[open_rows] + len(scales) - done >= needed)
        open_rows = open_rows[undecided]
        if progress:
            progress(done, len(scales), "comparing scaled predictions")
    return kept >= needed
