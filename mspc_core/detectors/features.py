"""What a network sees: features before the last linear layer and pooled BatchNorm statistics, read in one pass.

Detectors that cluster or compare representations (activation clustering, spectral signatures, SCAn, SPECTRE, Beatrix,
FLARE) share this reader. All arrays are float32 on the CPU, whatever precision the model computes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mspc_core.engine import distributed
from mspc_core.engine.device import batch_size_for
from mspc_core.engine.forward import device_of, each_batch
from mspc_core.engine.plain import check_all_finite
from mspc_core.engine.rows import Collected
from mspc_core.errors import InputError, Progress, ShouldStop
from mspc_core.models.zoo import feature_layer

PENULTIMATE, BATCH_NORM = "penultimate", "batch_norm"
_MOST_STATISTICS, _PER_CHANNEL = 8192, 7
_BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Features:
    """logits: [N, C]. penultimate: [N, D], empty ([N, 0]) unless asked for. batch_norm: layer name → [N, …], in the
    order of the layers. All float32; maps of files where they are large."""

    logits: np.ndarray
    penultimate: np.ndarray
    batch_norm: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def predicted(self) -> np.ndarray:
        """The model's class for each image, int64 [N]."""
        found: np.ndarray = self.logits.argmax(1)
        return found


def batch_norms(model: nn.Module) -> dict[str, nn.Module]:
    """BatchNorm layers by name, in the order in which the model registers them, which in all architectures offered
    here is also the order from input to output. Raises `InputError` where there is none."""
    found: dict[str, nn.Module] = {n: module for n, module in model.named_modules() if isinstance(module, _BatchNorm)}
    if not found:
        raise InputError("This architecture has no BatchNorm layers: choose another detector or another architecture.")
    return found


def channel_extremes(outputs: Tensor) -> Tensor:
    """[B, C, …] → [B, 2, C]: each channel's smallest and largest value."""
    flat = outputs.flatten(2) if outputs.ndim > 2 else outputs.unsqueeze(2)  # [B, C, positions]
    return torch.stack([flat.amin(2), flat.amax(2)], 1)


def collect_features(
    model: nn.Module,
    images: np.ndarray,
    *,
    layers: Sequence[str] = (PENULTIMATE,),
    pool: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Features:
    """Read the named kinds of layers ("penultimate", "batch_norm") for every image, uint8 [N, H, W, 3], in one pass.

    pool: (BatchNorm module, its input, its output) → [B, …], both given as float32; `channel_extremes` of the output
    by default, so that a layer with C channels gives [N, 2, C]. A feature map in front of the last linear layer
    ([B, T, D], tokens) is averaged over its positions.

    Raises `InputError` when the architecture lacks such a layer, when the model gives NaN or infinity, and for a name
    that is not known; `Cancelled`.
    """
    unknown = set(layers) - {PENULTIMATE, BATCH_NORM}
    if unknown:
        raise InputError(f"There is no kind of layer {sorted(unknown)[0]!r}: choose {PENULTIMATE} or {BATCH_NORM}.")
    before = feature_layer(model) if PENULTIMATE in layers else None
    norms = batch_norms(model) if BATCH_NORM in layers else {}
    summary = pool or (lambda _, __, outputs: channel_extremes(outputs))
    seen: dict[str, list[Tensor]] = {name: [] for name in (PENULTIMATE, *norms)}
    wanted = ([PENULTIMATE] if before is not None else []) + list(norms)
    kept = {name: Collected(_own(model, images, batch_size)) for name in wanted}

    def keep(count: int) -> None:
        if before is not None and sum(map(len, seen[PENULTIMATE])) != count:
            raise InputError("The last linear layer is not used once for each image, so its features cannot be read.")
        if any(sum(map(len, seen[name])) != count for name in norms):
            raise InputError("A BatchNorm layer is not used once for each image, so its statistics cannot be read.")
        for name in wanted:
            kept[name].add(torch.cat(seen[name]).numpy())
            seen[name].clear()

    with _hooked(model, before, norms, summary, seen):
        logits = _read(model, images, batch_size, keep, progress, should_stop)
    found = {name: distributed.gather_array(kept[name].array()) for name in wanted}
    return Features(
        logits=logits,
        penultimate=found.pop(PENULTIMATE, np.zeros((len(images), 0), np.float32)),
        batch_norm=found,
    )


@contextmanager
def _hooked(
    model: nn.Module,
    before: nn.Module | None,
    norms: dict[str, nn.Module],
    summary: Callable[[nn.Module, Tensor, Tensor], Tensor],
    seen: dict[str, list[Tensor]],
) -> Iterator[None]:
    """Fill `seen` during forward passes inside the block. What a pass saw counts only once it is done: one that runs
    out of memory is tried again in pieces (`mspc_core.engine.memory`)."""
    pending: dict[str, list[Tensor]] = {name: [] for name in seen}

    def begin(*_: object) -> None:
        for found in pending.values():
            found.clear()

    def finish(*_: object) -> None:
        for name, found in pending.items():
            seen[name].extend(found)

    def keep_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found = inputs[0].float()
        pending[PENULTIMATE].append((found.flatten(1, -2).mean(1) if found.ndim > 2 else found).cpu())

    def keep_summary(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
            pending[name].append(summary(module, inputs[0].float(), outputs.float()).float().cpu())

        return hook

    handles = [model.register_forward_pre_hook(begin)]
    handles += [before.register_forward_pre_hook(keep_input)] if before is not None else []
    handles += [module.register_forward_hook(keep_summary(name)) for name, module in norms.items()]
    handles.append(model.register_forward_hook(finish))  # last, for a model that is itself such a layer
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _read(
    model: nn.Module,
    images: np.ndarray,
    batch_size: int | None,
    after: Callable[[int], None],
    progress: Progress | None,
    should_stop: ShouldStop | None,
) -> np.ndarray:
    """Pass every image through the model, for hooks to watch; logits float32 [N, C]. after: called with the number of
    images of each batch, for what the hooks saw to be taken away. Raises as `collect_features`."""
    logits = Collected(_own(model, images, batch_size))

    def keep(found: Tensor) -> None:
        logits.add(found.numpy())
        after(len(found))

    each_batch(
        model,
        images,
        keep,
        batch_size=batch_size,
        message="reading features",
        progress=progress,
        should_stop=should_stop,
    )
    found = distributed.gather_array(logits.array())
    check_all_finite(found)
    return found


def _own(model: nn.Module, images: np.ndarray, batch_size: int | None) -> int:
    """How many of the images this process reads: all of them, unless several share the pass."""
    return distributed.own_rows(len(images), batch_size or batch_size_for(device_of(model), images.shape[1]))


class Statistics(NamedTuple):
    """logits: float32 [N, C]. statistics: float32 [N, D], what every layer shows, summed up; a
    map of a file where it is large."""

    logits: np.ndarray
    statistics: np.ndarray


def collect_statistics(
    model: nn.Module,
    images: np.ndarray,
    *,
    seed: int,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Statistics:
    """Mean, largest and smallest value of every channel in every normalisation layer, and means of its quarters.

    Layers are BatchNorm, or LayerNorm where there is none, or else convolutions and linear layers. Where they have many
    channels, a seeded draw of them keeps D at about 8,000. Raises as `collect_features`.
    """
    layers = _telling_layers(model)
    most = max(8, _MOST_STATISTICS // (_PER_CHANNEL * len(layers)))
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    kept = Collected(_own(model, images, None))  # 32 kB a sample

    def keep(count: int) -> None:
        # A layer that is used several times, or not once for each image, has no row for each image.
        whole = [torch.cat(found) for found in parts.values() if sum(map(len, found)) == count]
        if not whole:
            raise InputError("No layer of this architecture is used once for each image: its features cannot be read.")
        kept.add(torch.cat(whole, 1).numpy())
        for found in parts.values():
            found.clear()

    with _hooked(model, None, layers, lambda _, __, found: _sum_up(found, most, seed), parts):
        logits = _read(model, images, None, keep, progress, should_stop)
    return Statistics(logits, distributed.gather_array(kept.array()))


def statistics_width(model: nn.Module) -> int:
    """About how many statistics `collect_statistics` keeps of each image; 0 where it cannot."""
    try:
        layers = _telling_layers(model)
    except InputError:
        return 0
    most = max(8, _MOST_STATISTICS // (_PER_CHANNEL * len(layers)))
    widths = [getattr(layer, "num_features", 0) or getattr(layer, "out_channels", 0) for layer in layers.values()]
    return sum(min(most, int(width)) * _PER_CHANNEL for width in widths)


def _telling_layers(model: nn.Module) -> dict[str, nn.Module]:
    for kinds in (_BatchNorm, (nn.LayerNorm,), (nn.Conv2d, nn.Linear)):
        found: dict[str, nn.Module] = {n: module for n, module in model.named_modules() if isinstance(module, kinds)}
        if found:
            return found
    raise InputError("This architecture has no layer whose features can be read: choose another detector.")


def _sum_up(outputs: Tensor, most: int, seed: int) -> Tensor:
    """[B, C, H, W], [B, T, C] or [B, C] → [B, D]."""
    if outputs.ndim == 3:
        outputs = outputs.transpose(1, 2)  # tokens are positions
    channels = outputs.shape[1]
    if channels > most:
        drawn = np.sort(np.random.default_rng([seed, channels]).permutation(channels)[:most])
        outputs = outputs[:, torch.from_numpy(drawn).to(outputs.device)]
    if outputs.ndim == 2:
        return outputs
    flat = outputs.flatten(2)
    found = [flat.mean(2), flat.amax(2), flat.amin(2)]
    if outputs.ndim == 4 and min(outputs.shape[2:]) > 4:
        found.append(F.adaptive_avg_pool2d(outputs, 2).flatten(1))
    return torch.cat(found, 1)
