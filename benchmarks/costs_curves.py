"""Time and memory of each default detector against images, image size, classes and scales, and what fits them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs_data import images
from mspc_core.engine.device import give_back_freed_memory
from mspc_core.runs import DEFAULT_DETECTORS as DEFAULT

Point = tuple[int, int, int, int]  # images, side, classes, scales
CURVES: dict[str, list[Point]] = {
    "images": [(150, 16, 10, 11), (300, 16, 10, 11), (600, 16, 10, 11), (1200, 16, 10, 11)],
    "image_size": [(300, 16, 10, 11), (300, 24, 10, 11), (300, 32, 10, 11), (300, 40, 10, 11)],
    "classes": [(300, 16, 4, 11), (300, 16, 10, 11), (300, 16, 20, 11), (300, 16, 30, 11)],
    "scales": [(300, 16, 10, 3), (300, 16, 10, 6), (300, 16, 10, 11)],
}
COLUMN = {"images": 0, "image_size": 1, "classes": 2, "scales": 3}
EXPONENT = {"images": 1, "image_size": 2, "classes": 1, "scales": 1}  # pixels grow with the square of the side
_EPOCHS = 8
_WARM_UP: Point = (60, 16, 4, 3)


def measured(turns: int) -> dict[str, Any]:
    """All curves: for each detector CPU seconds and MiB at every value, medians over the turns, with their fits."""
    points = list(dict.fromkeys(point for curve in CURVES.values() for point in curve))
    times: dict[tuple[Point, str], list[tuple[float, float]]] = {}
    _at(_WARM_UP)  # loads libraries
    for _ in range(turns):
        for point in points:
            for name, found in _at(point).items():
                times.setdefault((point, name), []).append(found)
            print(point, {name: times[point, name][-1] for name in DEFAULT}, flush=True)
    curves: dict[str, Any] = {}
    for axis, curve in CURVES.items():
        values = [point[COLUMN[axis]] for point in curve]
        curves[axis] = {"values": values, "exponent": EXPONENT[axis]}
        for name in DEFAULT:
            seconds, mib = ([statistics.median(t[which] for t in times[p, name]) for p in curve] for which in (0, 1))
            curves[axis][name] = {
                "seconds": [round(value, 4) for value in seconds],
                "mib": [round(value, 2) for value in mib],
                "power": round(float(np.polyfit(np.log(values), np.log(seconds), 1)[0]), 3),
                "seconds_fit": fitted(values, seconds, EXPONENT[axis]),
                "mib_fit": fitted(values, mib, EXPONENT[axis]),
            }
    return curves


def fitted(values: list[int], found: list[float], exponent: int) -> dict[str, float]:
    """start and slope ≥ 0 of start + slope · value^exponent, by least squares of the relative errors; off: the largest
    relative error of the fit."""
    from scipy.optimize import nnls

    wanted = np.maximum(np.array(found), 1e-3)
    terms = np.stack([np.ones(len(values)), np.array(values, dtype=float) ** exponent], 1)
    weights, _ = nnls(terms / wanted[:, None], np.ones(len(values)))
    off = float(np.abs(terms @ weights / wanted - 1).max())
    return {"start": float(weights[0]), "slope": float(weights[1]), "off": round(off, 3)}


def _at(point: Point) -> dict[str, tuple[float, float]]:
    """CPU seconds and MiB of every detector with a model that was trained on these images."""
    import torch

    from mspc_core import cleaning
    from mspc_core.detectors import create
    from mspc_core.detectors.base import SCALES
    from mspc_core.models.train import TrainConfig, resolve, train_model
    from mspc_core.models.zoo import ModelSpec

    count, side, classes, scales = point
    made, labels = images(count, side, classes)
    model, _ = cleaning.fresh_model(ModelSpec("small-cnn", classes, side), made, 0, torch.device("cpu"))
    train_model(model, made, labels, resolve(TrainConfig(epochs=_EPOCHS), count, "small-cnn", 128))
    found = {}
    for name in DEFAULT:
        config = create(name).config
        if "scales" in {field.name for field in fields(config)}:
            config = replace(config, scales=SCALES[:scales])
        detector = create(name, config)
        found[name] = _cost(lambda detector=detector: detector.fit(model, made, labels=labels))  # type: ignore[misc]
    return found


def _cost(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, and MiB by which the process was larger while it worked than before (Linux)."""
    gc.collect()
    give_back_freed_memory()  # what earlier work has freed would be used again and not be seen
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest size so far
    before, begun = _kilobytes("VmRSS"), time.process_time()
    work()
    return time.process_time() - begun, max(0, _kilobytes("VmHWM") - before) / 1024


def _kilobytes(key: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{key}:"))
