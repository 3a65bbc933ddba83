"""Training one model on several processes: each takes a part of every batch, and the step is that of the whole batch.

BatchNorm's statistics and the gradients are those of the whole batch (torch's SyncBatchNorm does the same, on GPUs
only). So a step differs from a single process's only by the order in which numbers are added; over a training such
differences grow, and the weights at its end are not those of a single process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mspc_core.engine import distributed
from mspc_core.engine.distributed import all_gathered, summed

_Norm = nn.modules.batchnorm._BatchNorm


def sum_gradients(model: nn.Module) -> None:
    """Replace every gradient by the sum over all processes, in one exchange."""
    if distributed.size() == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = summed(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, values in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))


@contextmanager
def whole_batch_norms(model: nn.Module) -> Iterator[None]:
    """Inside the block, BatchNorm layers in training mode use the statistics of the whole batch."""
    layers = [module for module in model.modules() if isinstance(module, _Norm)] if distributed.size() > 1 else []
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: Any, inputs: Tensor) -> Tensor:
    """`layer`'s forward pass, with the statistics of all processes."""
    if not layer.training or distributed.size() == 1:
        found: Tensor = type(layer).forward(layer, inputs)
        return found
    normalised, mean, variance, count = _Normalise.apply(inputs.float(), layer.eps)
    if layer.track_running_stats and layer.running_mean is not None:
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            momentum = 1.0 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
            unbiased = variance * (count / (count - 1).clamp_min(1.0))
            layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
            layer.running_var.lerp_(unbiased.to(layer.running_var.dtype), momentum)
    if layer.affine:
        shape = [1, -1] + [1] * (inputs.ndim - 2)
        normalised = normalised * layer.weight.view(shape) + layer.bias.view(shape)
    return normalised.to(inputs.dtype)


class _Normalise(torch.autograd.Function):
    """(x − mean) / √(variance + ε) with moments over the batches of all processes (Ioffe & Szegedy 2015)."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """inputs: float32 [B, C, …]. Returns the normalised inputs, mean [C], biased variance [C] and count []."""
        axes, channels = [0, *range(2, inputs.ndim)], inputs.shape[1]
        shape = [1, channels] + [1] * (inputs.ndim - 2)
        own = torch.full([1], inputs.numel() / channels, device=inputs.device)
        mean = inputs.mean(axes)
        squares = (inputs - mean.view(shape)).square().sum(axes)
        found = all_gathered(torch.cat([own, mean, squares]))  # [K, 1 + 2C]
        counts, means, sums = found[:, :1], found[:, 1 : 1 + channels], found[:, 1 + channels :]
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        variance = (sums + counts * (means - mean).square()).sum(0) / count  # Chan et al. 1979
        scale = (variance + eps).rsqrt()
        normalised = (inputs - mean.view(shape)) * scale.view(shape)
        context.save_for_backward(normalised, scale, count)
        context.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """dx = (dy − mean(dy) − y · mean(dy · y)) / √(variance + ε), both means over all processes."""
        normalised, scale, count = context.saved_tensors
        given = gradients[0]
        axes, channels = [0, *range(2, given.ndim)], given.shape[1]
        shape = [1, channels] + [1] * (given.ndim - 2)
        sums = summed(torch.cat([given.sum(axes), (given * normalised).sum(axes)])) / count
        first, second = sums[:channels].view(shape), sums[channels:].view(shape)
        return (given - first - normalised * second) * scale.view(shape), None


def check_same(epoch: int) -> None:
    """Raises `RuntimeError` unless all processes go on from the same epoch: they must see the same files."""
    if int(distributed.from_leader(torch.tensor([epoch]))[0]) != epoch:
        raise RuntimeError("This process does not see the checkpoint of the run: is the folder on a shared disk?")
