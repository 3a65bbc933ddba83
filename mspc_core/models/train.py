"""One training loop for every model: one-cycle SGD or AdamW, a checkpoint each epoch, early losses kept.

No augmentation by default, as in Pal et al. 2024: augmentation can weaken a trigger and so hide it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mspc_core import atomic
from mspc_core.engine import distributed
from mspc_core.engine.data_parallel import check_same, sum_gradients, whole_batch_norms
from mspc_core.engine.device import autocast
from mspc_core.engine.forward import device_of, to_float
from mspc_core.engine.pixels import on_device
from mspc_core.engine.rows import will_need
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if
from mspc_core.models.checkpoint import read_tensors, write_tensors

_EARLY_EPOCHS = 10
_ADAMW = ("tiny-vit", "vit_", "swin", "maxvit", "convnext")
_GENTLE = ("alexnet", "vgg", "squeezenet")  # no BatchNorm


@dataclass(frozen=True)
class TrainConfig:
    """peak_lr: of the one-cycle schedule. epochs None: enough for about 160,000 images in all, between 8 and 40.
    batch_size None: small on small data, so that there are enough steps to learn from."""

    epochs: int | None = None
    batch_size: int | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    peak_lr: float = 0.15
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.25
    augment: bool = False
    mixed_precision: bool = True
    seed: int = 0


@dataclass
class History:
    """One entry an epoch. early_losses: float32 [≤10, N], each sample's loss when it was met in that epoch."""

    train_loss: list[float]
    train_accuracy: list[float]
    early_losses: np.ndarray


def resolve(config: TrainConfig, count: int, arch: str, largest_batch: int = 1024) -> TrainConfig:
    """Fill in what depends on the data, the architecture and the memory.

    Transformers and ConvNeXt want AdamW and a small rate, and networks without BatchNorm a smaller one for SGD too.
    """
    epochs = config.epochs or int(np.clip(round(160_000 / max(1, count)), 8, 40))
    batch_size = config.batch_size or (32 if count < 1500 else 64 if count < 6000 else 128)
    default = TrainConfig()
    if (config.optimizer, config.peak_lr) == (default.optimizer, default.peak_lr):
        if arch.startswith(_ADAMW):
            config = replace(config, optimizer="adamw", peak_lr=1e-3, weight_decay=0.05)
        elif arch.startswith(_GENTLE) and not arch.endswith("_bn"):
            config = replace(config, peak_lr=0.01)
    return replace(config, epochs=epochs, batch_size=min(batch_size, largest_batch))


def train_model(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    on_epoch: Callable[[int, float, float], None] | None = None,
    shared: bool = False,
) -> History:
    """Train in place.

    images: uint8 [N, H, W, 3]; labels: int [N]. config: resolved (`epochs` not None). checkpoint: a file that is
    written after every epoch and continued from when it is there, so that a killed training loses at most one epoch.
    shared: the processes of a job take a part of each batch each, and the first one writes; otherwise a process trains
    on its own. Raises `InputError` when the loss diverges.
    """
    with nullcontext() if shared else distributed.alone(), whole_batch_norms(model):
        return _train(model, images, labels, config, checkpoint, progress, should_stop, on_epoch)


def _train(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    config: TrainConfig,
    checkpoint: Path | None,
    progress: Progress | None,
    should_stop: ShouldStop | None,
    on_epoch: Callable[[int, float, float], None] | None,
) -> History:
    if config.epochs is None or config.batch_size is None:
        raise ValueError("resolve the configuration first")
    device = device_of(model)
    count, steps = len(images), math.ceil(len(images) / config.batch_size)
    optimizer = _optimizer(model, config)
    history = History([], [], np.zeros((0, count), dtype=np.float32))
    first = _resume(checkpoint, model, optimizer, history) if checkpoint else 0
    check_same(first)
    distributed.model_from_leader(model)
    targets = torch.from_numpy(labels.astype(np.int64))
    pixels = on_device(images, device)
    for epoch in range(first, config.epochs):
        model.train()
        # Seeded by epoch, so that a resumed training sees the same batches (and dropout) as an undisturbed one.
        torch.manual_seed(config.seed * 10_007 + epoch + 1_000_003 * distributed.number())
        generator = torch.Generator().manual_seed(config.seed * 10_007 + epoch)
        order = torch.randperm(count, generator=generator)
        # On the device: to read them after each step would let it wait for the next one.
        seen_loss, hits = torch.zeros(count, device=device), torch.zeros((), dtype=torch.int64, device=device)
        for step in range(steps):
            stop_if(should_stop)
            rows = order[step * config.batch_size : (step + 1) * config.batch_size].sort().values
            if len(rows) < max(2, distributed.size()):
                continue  # one image alone has no batch statistics; shuffling brings it into another batch next epoch
            part = distributed.share(len(rows))  # all of them, where a single process trains
            own = rows[part.start : part.stop]
            will_need(pixels, own.numpy())  # pixels may be a map of more than fits into memory
            batch, wanted = to_float(pixels[own.numpy()], device), targets[own].to(device)
            if config.augment:
                batch = _augmented(batch, generator, part, len(rows))
            _set_rate(optimizer, config, (epoch * steps + step) / (config.epochs * steps))
            with autocast(device, config.mixed_precision):
                logits = model(batch)
            losses = F.cross_entropy(logits.float(), wanted, reduction="none")
            optimizer.zero_grad(set_to_none=True)
            (losses.mean() * (len(own) / len(rows))).backward()
            sum_gradients(model)
            optimizer.step()
            seen_loss[own.to(device)] = losses.detach()
            hits += (logits.detach().argmax(1) == wanted).sum()
            if progress:
                progress(epoch * steps + step + 1, config.epochs * steps, f"epoch {epoch + 1} of {config.epochs}")
        accuracy = distributed.total(int(hits))[0] / count
        seen_loss = distributed.summed(seen_loss)
        loss = float(seen_loss.mean())
        if not math.isfinite(loss):
            raise InputError(
                f"Training diverged in epoch {epoch + 1} (learning rate {config.peak_lr:g}): choose another model."
            )
        history.train_loss.append(loss)
        history.train_accuracy.append(accuracy)
        if epoch < _EARLY_EPOCHS:
            history.early_losses = np.concatenate([history.early_losses, seen_loss.cpu().numpy()[None]])
        if checkpoint and distributed.leads():
            _save(checkpoint, model, optimizer, history, epoch + 1)
        if on_epoch:
            on_epoch(epoch + 1, loss, accuracy)
    model.eval()
    return history


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=config.peak_lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        model.parameters(), lr=config.peak_lr, momentum=config.momentum, weight_decay=config.weight_decay, nesterov=True
    )


def _set_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, done: float) -> None:
    """One-cycle: linear rise over the first `warmup` of all steps, then a cosine fall to zero."""
    if done < config.warmup:
        factor = 0.05 + 0.95 * done / config.warmup
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (done - config.warmup) / (1 - config.warmup)))
    for group in optimizer.param_groups:
        group["lr"] = config.peak_lr * factor


def _augmented(batch: Tensor, generator: torch.Generator, part: range, whole: int) -> Tensor:
    """Random horizontal flip and a shift by up to an eighth of the size, one draw for each image.

    part: where this batch lies in the `whole` batch, for all of which numbers are drawn."""
    size = batch.shape[-1]
    margin = max(1, size // 8)
    flips = torch.rand(whole, generator=generator)[part.start : part.stop] < 0.5
    batch = torch.where(flips.view(-1, 1, 1, 1).to(batch.device), batch.flip(3), batch)
    padded = F.pad(batch, [margin] * 4, mode="reflect")
    offsets = torch.randint(0, 2 * margin + 1, (2, whole), generator=generator)[:, part.start : part.stop]
    offsets = offsets.to(batch.device)
    base = torch.arange(size, device=batch.device)
    rows = (offsets[0][:, None] + base)[:, None, :, None]
    columns = (offsets[1][:, None] + base)[:, None, None, :]
    images = torch.arange(len(batch), device=batch.device).view(-1, 1, 1, 1)
    channels = torch.arange(3, device=batch.device).view(1, 3, 1, 1)
    return padded[images, channels, rows, columns]


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, history: History, epoch: int) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    tensors["early_losses"] = torch.from_numpy(history.early_losses)
    tensors["curve"] = torch.tensor([history.train_loss, history.train_accuracy], dtype=torch.float64)
    write_tensors(path, tensors, {"epoch": str(epoch)})


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, history: History) -> int:
    """Load the last finished epoch, if any; returns how many epochs are done."""
    if not path.is_file():
        return 0
    tensors, metadata = read_tensors(path)
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    history.early_losses = tensors["early_losses"].numpy()
    history.train_loss, history.train_accuracy = tensors["curve"].tolist()
    return int(metadata["epoch"])


def write_early_losses(path: Path, history: History) -> None:
    """Keep the early losses for detectors that read them (`losses` [epochs, N])."""
    atomic.write_with(path, lambda handle: np.savez_compressed(handle, losses=history.early_losses))
