"""Which hardware computes, in what precision and in what batches. The only place that knows."""

from __future__ import annotations

import ctypes
import os
import statistics
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mspc_core.errors import InputError

# Image-pixels in one forward pass. A CPU is fastest while activations stay in its caches: 64 images of 32×32 ran about
# twice as fast as 512 (small CNN, one core, bfloat16); a GPU needs many to be busy, and its memory says how many.
_PIXELS_PER_BATCH = {"cpu": 64 * 32 * 32, "mps": 1024 * 32 * 32, "cuda": 1024 * 32 * 32}
_PIXELS_PER_GRADIENT = {"cpu": 32 * 32 * 32, "mps": 256 * 32 * 32, "cuda": 1024 * 32 * 32}
# A step of training updates the weights: its batch is part of the recipe, and only memory bounds it.
_PIXELS_PER_TRAINING_STEP = {"cpu": 128 * 32 * 32, "mps": 256 * 32 * 32, "cuda": 1024 * 32 * 32}
# Bytes of a GPU's memory set aside for each pixel: activations of the usual networks take a quarter of that or less,
# and what takes more is computed in smaller pieces (`mspc_core.engine.memory`).
_BYTES_PER_PIXEL, _BYTES_PER_PIXEL_WITH_GRADIENT = 4096, 8192
_MOST_IMAGES = 4096  # more do not make a GPU faster
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
_CLOSE_TO_BEST, _TURNS = 1.1, 9
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
    threads = torch.get_num_threads()
    return f"{device.type} ({threads} thread{'s' if threads != 1 else ''}, {precision})"


def gradient_batch_for(device: torch.device, image_size: int) -> int:
    """Images per pass when activations are kept for a gradient; never below 4."""
    return _images(_PIXELS_PER_GRADIENT, _BYTES_PER_PIXEL_WITH_GRADIENT, device, image_size, _FEWEST_IMAGES)


def largest_training_batch(device: torch.device, image_size: int) -> int:
    """Images per training step that fit comfortably; never below 16, which BatchNorm needs for its statistics."""
    return _images(_PIXELS_PER_TRAINING_STEP, _BYTES_PER_PIXEL_WITH_GRADIENT, device, image_size, 16)


def batch_size_for(device: torch.device, image_size: int) -> int:
    """Images per forward pass that fit comfortably; never below 4.

    Follows from the device alone and is not found by timing, so that a scan that is resumed computes the same batches.
    """
    return _images(_PIXELS_PER_BATCH, _BYTES_PER_PIXEL, device, image_size, _FEWEST_IMAGES)


def _images(pixels: dict[str, int], bytes_per_pixel: int, device: torch.device, image_size: int, fewest: int) -> int:
    found = pixels.get(device.type, pixels["cpu"])
    if device.type == "cuda":
        found = max(found, torch.cuda.get_device_properties(device).total_memory // bytes_per_pixel)
    return min(max(fewest, found // image_size**2), _MOST_IMAGES)


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


def choose_threads(wanted: int = 0, device: torch.device | None = None) -> int:
    """Set the number of threads that compute, and return it. Also keeps freed memory, see below.

    OMP_NUM_THREADS is obeyed, then wanted (such as what a run that is resumed began with). Otherwise a short
    measurement decides: on a machine that others use, too, one thread can be several times as fast as two that wait for
    each other.
    Training rounds a little differently with another number, so a run should keep the one that it began with.
    """
    _keep_freed_memory()
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    cores = usable_cores()
    options = sorted({1, max(1, cores // 2), cores})
    if not wanted:
        waits = device is not None and device.type != "cpu"  # for its device, whatever the number
        wanted = cores if waits or cores == 1 else fewest_threads(_seconds_with(options))
    torch.set_num_threads(wanted)
    return wanted


def usable_cores() -> int:
    """Cores that this process may use: containers often show more than they grant."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        pass
    return max(1, cores)


def fewest_threads(seconds: dict[int, float]) -> int:
    """The smallest number of threads that is within a tenth of the fastest. seconds: number → time of the same work."""
    best = min(seconds.values())
    return min(number for number, value in seconds.items() if value <= _CLOSE_TO_BEST * best)


def _seconds_with(options: list[int]) -> dict[int, float]:
    """Median wall time of one small convolution layer after the other, by number of threads, in turns."""
    layers = nn.Sequential(*(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()) for _ in range(4)))
    images = torch.zeros(32, 64, 16, 16).to(memory_format=torch.channels_last)
    found: dict[int, list[float]] = {number: [] for number in options}
    with torch.inference_mode(), autocast(torch.device("cpu"), True):
        for turn in range(_TURNS + 1):
            for number in options:
                torch.set_num_threads(number)
                begun = time.perf_counter()
                layers(images)
                if turn:  # the first one loads code and starts threads
                    found[number].append(time.perf_counter() - begun)
    return {number: statistics.median(times) for number, times in found.items()}


def _keep_freed_memory() -> None:
    """Let the C library keep what tensors free, instead of giving it back to the system and faulting it in again.

    Every step allocates the same activations: a training step of the small CNN had 3,015 page faults, and has 128.
    Only glibc can be told so; elsewhere nothing happens. See `give_back_freed_memory`.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(_M_MMAP_THRESHOLD, 1 << 30)
        tune(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        tune(_M_TOP_PAD, 64 << 20)


def give_back_freed_memory() -> None:
    """Between two pieces of work of different kinds, of which the one before would be paid for until the end: give the
    system back what the C library has kept. Only glibc can be asked to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
