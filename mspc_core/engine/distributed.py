"""One job on several processes: each passes a part of the images through the model, all get the whole result.

Work is shared only inside a step that the leader (process 0) announces; everywhere else a process is on its own, and
without `torchrun` all of this costs nothing. Passes over images are cut at the borders of their batches: every batch
is the one that a single process would have made, so that what is gathered is the same to the last bit on the same kind
of machine. Gradients of a mask are gathered part by part and added in the order of a single process, for the same
reason. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mspc_core.engine.peers import PeerLost, Peers, local_processes, local_rank, patience
from mspc_core.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Part = TypeVar("Part")
_DIMENSIONS = 8  # of the largest array that is gathered, and a place for its type


class _Group:
    """Process-wide, as torch's own process group is: who the others are, and whether work is shared right now."""

    peers: Peers | None = None
    sharing = False


def join(peers: Peers, device: str) -> str:
    """Connect all processes for the exchange of data; returns how. device: as in a scan's configuration.

    Each process takes the GPU of its number on its machine. Raises `InputError` where there are fewer GPUs than that.
    """
    import torch
    import torch.distributed as dist

    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"Several processes run on the CPU or on one GPU each, not on {device!r}: use --device auto.")
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda and torch.cuda.device_count() < local_processes():
        raise InputError(
            f"This machine has {torch.cuda.device_count()} GPUs for {local_processes()} processes: start one process a "
            "GPU (--nproc-per-node), or use --device cpu."
        )
    if cuda:
        torch.cuda.set_device(local_rank())
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    store = dist.PrefixStore("data", peers.store)
    with _collective():
        dist.init_process_group(
            backend, store=store, rank=peers.number, world_size=peers.size, timeout=timedelta(seconds=patience())
        )
    _Group.peers = peers
    _check_alike(torch.device("cuda", local_rank()) if cuda else torch.device("cpu"))
    return backend


def _check_alike(device: torch.device) -> None:
    """Raises `InputError` unless all processes would cut a pass into the same batches and compute in one precision."""
    import torch

    from mspc_core.engine.device import batch_size_for, gradient_batch_for, half_precision, largest_training_batch

    sizes = [size(device, side) for side in (32, 224) for size in (batch_size_for, gradient_batch_for)]
    own = torch.tensor([*sizes, largest_training_batch(device, 32), int(half_precision(device))])
    with taking_part():
        found = all_gathered(own)
    if not bool((found == own).all()):
        raise InputError(
            "The machines of this job differ in their kind of GPU or processor: start it on machines of one kind."
        )


def leave() -> None:
    """End the connection. Not for a job that failed: the others may never come to it."""
    import torch.distributed as dist

    _Group.peers = None
    dist.destroy_process_group()


@contextmanager
def step(name: str, **details: Any) -> Iterator[None]:
    """Leader: have the others take part in what follows (`mspc_core.following` knows the steps by name).

    If it fails here, the others give it up, too; ends when all of them have finished it.
    """
    peers = _Group.peers
    if peers is None:
        yield
        return
    peers.tell({"step": name, **details})
    number = peers.step
    try:
        with taking_part():
            yield
    except InputError:
        peers.tell({"step": "abandon"})
        peers.wait_done(number)
        raise
    peers.wait_done(number)


@contextmanager
def taking_part() -> Iterator[None]:
    """Share the work inside the block, where there are other processes."""
    before, _Group.sharing = _Group.sharing, _Group.peers is not None
    try:
        yield
    finally:
        _Group.sharing = before


@contextmanager
def alone() -> Iterator[None]:
    """Work as a single process inside the block, within a shared step."""
    before, _Group.sharing = _Group.sharing, False
    try:
        yield
    finally:
        _Group.sharing = before


def members() -> int:
    """How many processes work on this job, whether they share what is under way or not."""
    return _Group.peers.size if _Group.peers else 1


def size() -> int:
    """How many processes share the work that is under way; 1 where it is not shared."""
    return _Group.peers.size if _Group.sharing and _Group.peers else 1


def number() -> int:
    """This process's place among them, from 0."""
    return _Group.peers.number if _Group.sharing and _Group.peers else 0


def leads() -> bool:
    """Is this the process whose word counts, or the only one?"""
    return number() == 0


def turn_of(task: int) -> bool:
    """Does this process do the task of that number, where each of a few tasks is done by one process?"""
    return task % size() == number()


def share(count: int) -> range:
    """This process's block of `count` things; blocks are in order of the processes, and differ by one at most."""
    return range(count * number() // size(), count * (number() + 1) // size())


def batches(count: int, step: int) -> range:
    """Where this process's batches of a pass over `count` samples start: whole batches, one block of them."""
    own = share(-(-count // step))
    return range(own.start * step, own.stop * step, step)


def own_rows(count: int, step: int) -> int:
    """How many of `count` samples are in this process's batches: all, unless several share the pass."""
    own = batches(count, step)
    return min(own.stop, count) - own.start if len(own) else 0


def gather_rows(own: Tensor) -> Tensor:
    """The rows [n_r, …] of every process, one after the other, on the CPU: [N, …]. A process may have none, and then
    need not know their shape."""
    if size() == 1:
        return own
    import torch
    import torch.distributed as dist

    _meet()
    own = own.detach().cpu().contiguous()
    kinds = [torch.float32, torch.float64, torch.bool, torch.uint8, torch.int64, torch.int32, torch.float16]
    header = torch.zeros(_DIMENSIONS + 1, dtype=torch.int64)
    header[: own.ndim + 1] = torch.tensor([kinds.index(own.dtype), *own.shape])
    header[-1] = own.ndim
    headers = [torch.zeros_like(header) for _ in range(size())]
    with _collective():
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
            with _collective():
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

    _meet()
    found = torch.tensor(counts, dtype=torch.int64)
    with _collective():
        dist.all_reduce(found)
    return tuple(found.tolist())


def summed(values: Tensor) -> Tensor:
    """The sum over all processes of a tensor of the same shape, on its device."""
    if size() == 1:
        return values
    import torch.distributed as dist

    found = values.detach().clone()
    with _collective():
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
    with _collective():
        dist.all_gather(found, own)
    return torch.stack(found)


def from_leader(values: Tensor) -> Tensor:
    """The leader's values, for all processes; each has a tensor of this shape and type already."""
    if size() == 1:
        return values
    import torch
    import torch.distributed as dist

    _meet()
    found = values.detach().contiguous().clone()
    if found.numel():
        with _collective():
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


def _meet() -> None:
    """Wait for the others by signs of life: one may be much slower, and an exchange of data waits only so long."""
    if _Group.peers:
        _Group.peers.meet()


@contextmanager
def _collective() -> Iterator[None]:
    """torch reports a lost or silent process as a RuntimeError of many wordings; they go into the log."""
    try:
        yield
    except RuntimeError as error:
        if "timed out" in str(error).lower() or "timeout" in str(error).lower():
            raise PeerLost(f"Another process of this job has not answered for {patience():.0f} s.") from error
        raise PeerLost("The connection to another process of this job broke.") from error
