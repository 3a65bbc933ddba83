"""One job on several processes: each passes a part of the images through the model, all get the whole result.

Work is shared only inside a step that the leader (process 0) announces; everywhere else a process is on its own, and
without `torchrun` all of this costs nothing. Passes over images are cut at the borders of their batches: every batch
is the one that a single process would have made, so that what is gathered is the same to the last bit on the same kind
of machine. Gradients of a mask are gathered part by part and added in the order of a single process, for the same
reason. Importing this loads no torch.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from mspc_core.engine.exchange import (
    accumulate,
    all_gathered,
    array_from_leader,
    decided,
    from_leader,
    gather_array,
    gather_rows,
    model_from_leader,
    summed,
    total,
)
from mspc_core.engine.peers import Peers, local_processes, local_rank, patience
from mspc_core.engine.shares import (
    Group,
    alone,
    batches,
    collective,
    leads,
    members,
    number,
    own_rows,
    share,
    size,
    step,
    taking_part,
    turn_of,
)
from mspc_core.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = [
    "accumulate",
    "all_gathered",
    "alone",
    "array_from_leader",
    "batches",
    "decided",
    "from_leader",
    "gather_array",
    "gather_rows",
    "join",
    "leads",
    "leave",
    "members",
    "model_from_leader",
    "number",
    "own_rows",
    "share",
    "size",
    "step",
    "summed",
    "taking_part",
    "total",
    "turn_of",
]


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
    with collective():
        dist.init_process_group(
            backend, store=store, rank=peers.number, world_size=peers.size, timeout=timedelta(seconds=patience())
        )
    Group.peers = peers
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

    Group.peers = None
    dist.destroy_process_group()
