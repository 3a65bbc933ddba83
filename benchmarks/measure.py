"""Time, memory and bytes of a piece of work, and how fast the chip is at all."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mspc_core.engine.device import autocast
from mspc_core.engine.forward import counting, device_of, frozen

_MIB = 1 << 20


class Counted(np.ndarray):
    """An array that counts the bytes that are read from it by rows."""

    read: int = 0

    def __getitem__(self, key: Any) -> Any:
        found = np.asarray(super().__getitem__(key))
        if self.ndim == 4:
            Counted.read += found.nbytes
        return found


@dataclass(frozen=True)
class Cost:
    """seconds: of the processor where one computes (waiting for others that use the machine does not count), of the
    clock where a GPU does. equivalents: forwards, and backwards to the input as one more each. bytes_read: of pixels.
    peak_mib: memory above what was held before; None where the system does not say."""

    seconds: float
    equivalents: int
    bytes_read: int
    peak_mib: float | None

    def as_json(self, images: int) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 3),
            "forward_equivalents_per_image": round(self.equivalents / images, 2),
            "bytes_read_per_image": round(self.bytes_read / images),
            "peak_memory_mib": None if self.peak_mib is None else round(self.peak_mib, 1),
        }


def seconds_of(device: torch.device, work: Callable[[], Any]) -> float:
    """Processor time on a CPU, else time of the clock until the device has finished."""
    if device.type == "cpu":
        begun = time.process_time()
        work()
        return time.process_time() - begun
    _wait(device)
    begun = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begun


def cost_of(model: nn.Module, work: Callable[[], Any]) -> Cost:
    """Run the work once and say what it cost. Bytes count if its images are `Counted`."""
    device = device_of(model)
    before, Counted.read = _memory(device, begin=True), 0
    with counting(model) as count:
        seconds = seconds_of(device, work)
    after = _memory(device, begin=False)
    peak = None if before is None or after is None else max(0.0, after - before) / _MIB
    return Cost(seconds, count.equivalents, Counted.read, peak)


def matmul_peak(device: torch.device, side: int = 0, turns: int = 5) -> float:
    """FLOP/s of the fastest of some square products in the precision that passes use: what the chip does at best."""
    side = side or (8192 if device.type == "cuda" else 1024)
    left, right = (torch.randn(side, side, device=device) for _ in range(2))
    with autocast(device, True), torch.inference_mode():
        if torch.is_autocast_enabled(device.type):
            left, right = left.bfloat16(), right.bfloat16()
        left @ right
        best = min(seconds_of(device, lambda: left @ right) for _ in range(turns))
    return 2 * side**3 / best


def flops_of_forward(model: nn.Module, size: int) -> int:
    """Floating-point operations of one image's forward (a multiplication and its addition are two)."""
    from torch.utils.flop_counter import FlopCounterMode

    with frozen(model) as device, torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 3, size, size, device=device))
    return int(counter.get_total_flops()) // 2


def load() -> float:
    """Mean number of busy processes of the last minute; what else runs on the machine, and this benchmark."""
    import os

    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def _memory(device: torch.device, *, begin: bool) -> float | None:
    """Bytes: held now (begin; the peak is reset), or at the most since then."""
    if device.type == "cuda":
        if begin:
            torch.cuda.reset_peak_memory_stats(device)
            return float(torch.cuda.memory_allocated(device))
        return float(torch.cuda.max_memory_allocated(device))
    try:
        if begin:
            Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
        return float(_status()["VmRSS" if begin else "VmHWM"]) * 1024
    except (OSError, KeyError, ValueError):
        return None if begin else float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


def _status() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
