"""Which hardware computes, in what precision and in what batches. The only place that knows."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from mspc_core.errors import InputError

# Activations of one 32×32 image in the small CNN take about 1 MB; this many image-pixels at once keep a forward pass
# well below 1 GB on a CPU and keep a GPU busy.
_PIXELS_PER_BATCH = {"cpu": 512 * 32 * 32, "mps": 1024 * 32 * 32, "cuda": 4096 * 32 * 32}


def resolve_device(wanted: str = "auto") -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU; a named device must be there. Raises `InputError`."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError(device.type)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise InputError(f"Device {wanted!r} is not available here: use --device auto, or cpu.") from None
    return device


def device_name(device: torch.device) -> str:
    """Readable name for the run's records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def gradient_batch_for(device: torch.device, image_size: int) -> int:
    """Images per pass when activations are kept for a gradient; they take several times the memory of a forward."""
    return max(4, _PIXELS_PER_BATCH.get(device.type, _PIXELS_PER_BATCH["cpu"]) // (4 * image_size**2))


def largest_training_batch(device: torch.device, image_size: int) -> int:
    """Images per training step that fit comfortably; never below 16, which BatchNorm needs for its statistics."""
    return max(16, gradient_batch_for(device, image_size))


def batch_size_for(device: torch.device, image_size: int) -> int:
    """Images per forward pass that fit comfortably; at least 1."""
    return max(1, _PIXELS_PER_BATCH.get(device.type, _PIXELS_PER_BATCH["cpu"]) // image_size**2)


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[object]:
    """Mixed precision where it pays (bfloat16 on CUDA), nothing elsewhere."""
    if enabled and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def choose_threads() -> None:
    """One thread for each core this process may use (containers often show more cores than they grant), unless the
    user said otherwise with OMP_NUM_THREADS."""
    if os.environ.get("OMP_NUM_THREADS"):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores))
