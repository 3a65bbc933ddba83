"""Which hardware computes, in what precision and in what batches. The only place that knows."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from mspc_core.errors import InputError

# Image-pixels in one forward pass. A CPU is fastest while activations stay in its caches: 64 images of 32×32 ran about
# twice as fast as 512 (small CNN, one core, bfloat16); a GPU needs many to be busy and has the memory for them.
_PIXELS_PER_BATCH = {"cpu": 64 * 32 * 32, "mps": 1024 * 32 * 32, "cuda": 4096 * 32 * 32}
_PIXELS_PER_GRADIENT = {"cpu": 32 * 32 * 32, "mps": 256 * 32 * 32, "cuda": 1024 * 32 * 32}
# A step of training updates the weights: its batch is part of the recipe, and only memory bounds it.
_PIXELS_PER_TRAINING_STEP = {"cpu": 128 * 32 * 32, "mps": 256 * 32 * 32, "cuda": 1024 * 32 * 32}
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
_FEWEST_IMAGES = 4  # fewer leave the matrix units idle whatever the image size


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
    """Readable name for the run's records, with the precision that it computes in."""
    precision = "bfloat16" if half_precision(device) else "float32"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({precision})"
    return f"{device.type} ({torch.get_num_threads()} threads, {precision})"


def gradient_batch_for(device: torch.device, image_size: int) -> int:
    """Images per pass when activations are kept for a gradient; never below 4."""
    return _images(_PIXELS_PER_GRADIENT, device, image_size, _FEWEST_IMAGES)


def largest_training_batch(device: torch.device, image_size: int) -> int:
    """Images per training step that fit comfortably; never below 16, which BatchNorm needs for its statistics."""
    return _images(_PIXELS_PER_TRAINING_STEP, device, image_size, 16)


def batch_size_for(device: torch.device, image_size: int) -> int:
    """Images per forward pass that fit comfortably; never below 4."""
    return _images(_PIXELS_PER_BATCH, device, image_size, _FEWEST_IMAGES)


def _images(pixels: dict[str, int], device: torch.device, image_size: int, fewest: int) -> int:
    return max(fewest, pixels.get(device.type, pixels["cpu"]) // image_size**2)


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[object]:
    """Mixed precision where it pays: bfloat16 on CUDA and on processors with matrix units for it; nothing elsewhere.

    The environment variable BACKDOOR_LENS_PRECISION=float32 turns it off.
    """
    if enabled and half_precision(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def half_precision(device: torch.device) -> bool:
    """Does this device multiply bfloat16 much faster than float32, and did the user not forbid it?"""
    if os.environ.get("BACKDOOR_LENS_PRECISION", "auto") == "float32":
        return False
    if device.type == "cpu":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("amx_bf16"))
    return device.type == "cuda"


def choose_threads() -> None:
    """One thread for each core this process may use (containers often show more cores than they grant), unless the
    user said otherwise with OMP_NUM_THREADS. Also keeps freed memory, see below."""
    _keep_freed_memory()
    if os.environ.get("OMP_NUM_THREADS"):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores))


def _keep_freed_memory() -> None:
    """Let the C library keep what tensors free, instead of giving it back to the system and faulting it in again.

    Every step allocates the same activations: a training step of the small CNN had 3,015 page faults, and has 128.
    Only glibc can be told so; elsewhere nothing happens.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(_M_MMAP_THRESHOLD, 1 << 30)
        tune(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        tune(_M_TOP_PAD, 64 << 20)
