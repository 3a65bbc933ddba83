"""What the processes of a job say to each other: rows that are gathered, sums, the leader's word. Without others each
function gives back what it was given, and loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mspc_core.engine.shares import collective, meet, number, share, size

if TYPE_CHECKING:
    from torch import Tensor, nn

Part = TypeVar("Part")
_DIMENSIONS = 8  # of the largest array that is gathered, and a place for its type


def gather_rows(own: Tensor) -> Tensor:
    """The rows [n_r, …] of every process, one after the other, on the CPU: [N, …]. A process may have none, and then
    need not know their shape."""
    if size() == 1:
        return own
    import torch
    import torch.distributed as dist

    meet()
    own = own.detach().cpu().contiguous()
    kinds = [torch.float32, torch.float64, torch.bool, torch.uint8, torch.int64, torch.int32, torch.float16]
    header = torch.zeros(_DIMENSIONS + 1, dtype=torch.int64)
    header[: own.ndim + 1] = torch.tensor([kinds.index(own.dtype), *own.shape])
    header[-1] = own.ndim
    headers = [torch.zeros_like(header) for _ in range(size())]
    with collective():
        dist.all_gather(headers, header)
    counts = [int(found[1]) for found in headers]
    described = next((found for found in headers if found[1]), headers[0]).tolist()
    shape = described[2 : described[-1] + 1]
    whole = torch.empty(sum(counts), *shape, dtype=kinds[described[0]])
    start = 0
    for source, count in enumerate(counts):
        rows = whole[start : start + count]
        start += count
        if source == number():
            rows.copy_(own.view(count, *shape))
        if rows.numel():
            with collective():
                dist.broadcast(rows.view(-1).view(torch.uint8), src=source)
    return whole


def gather_array(own: np.ndarray) -> np.ndarray:
    """`gather_rows` for numpy arrays."""
    if size() == 1:
        return own
    import torch

    found: np.ndarray = gather_rows(torch.from_numpy(np.ascontiguousarray(own))).numpy()
    return found


def total(*counts: int) -> tuple[int, ...]:
    """Sums over all processes of whole numbers."""
    if size() == 1:
        return counts
    import torch
    import torch.distributed as dist

    meet()
    found = torch.tensor(counts, dtype=torch.int64)
    with collective():
        dist.all_reduce(found)
    return tuple(found.tolist())


def summed(values: Tensor) -> Tensor:
    """The sum over all processes of a tensor of the same shape, on its device."""
    if size() == 1:
        return values
    import torch.distributed as dist

    found = values.detach().clone()
    with collective():
        dist.all_reduce(found)
    return found


def all_gathered(values: Tensor) -> Tensor:
    """Every process's tensor of the same shape, on its device: [K, …]."""
    if size() == 1:
        return values[None]
    import torch
    import torch.distributed as dist

    own = values.detach().contiguous()
    found = [torch.empty_like(own) for _ in range(size())]
    with collective():
        dist.all_gather(found, own)
    return torch.stack(found)


def from_leader(values: Tensor) -> Tensor:
    """The leader's values, for all processes; each has a tensor of this shape and type already."""
    if size() == 1:
        return values
    import torch
    import torch.distributed as dist

    meet()
    found = values.detach().contiguous().clone()
    if found.numel():
        with collective():
            dist.broadcast(found.view(-1).view(torch.uint8), src=0)
    return found


def array_from_leader(values: np.ndarray) -> np.ndarray:
    """`from_leader` for numpy arrays."""
    if size() == 1:
        return values
    import torch

    found: np.ndarray = from_leader(torch.from_numpy(np.ascontiguousarray(values))).numpy()
    return found


def decided(answer: bool) -> bool:
    """The leader's answer, so that processes on different hardware never go different ways."""
    return bool(array_from_leader(np.array([answer]))[0])


def model_from_leader(model: nn.Module) -> None:
    """Give `model` the leader's weights and buffers, in place."""
    if size() == 1:
        return
    import torch

    with torch.no_grad():
        for values in model.state_dict().values():
            values.copy_(from_leader(values))


def accumulate(parameter: Tensor, parts: Sequence[Part], backward: Callable[[Part], None]) -> None:
    """Add the gradient of each part to `parameter.grad`; `backward(part)` does so for one part.

    The parts are shared. Their gradients are added in the order of the parts, one by one, as a single process does.
    """
    if size() == 1:
        for part in parts:
            backward(part)
        return
    import torch

    before = parameter.grad
    found = torch.zeros(-(-len(parts) // size()), *parameter.shape, device=parameter.device, dtype=parameter.dtype)
    for place, index in enumerate(share(len(parts))):
        parameter.grad = None
        backward(parts[index])
        if parameter.grad is not None:
            found[place] = parameter.grad
    gathered = all_gathered(found)
    result = torch.zeros_like(found[0]) if before is None else before.detach().clone()
    for source in range(size()):
        owned = len(parts) * (source + 1) // size() - len(parts) * source // size()
        for values in gathered[source][:owned]:
            result += values
    parameter.grad = result
