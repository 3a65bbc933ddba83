"""How long a scan will take and how much memory it will need, before it starts: counted work times measured prices."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mspc_core import detectors, obstacles
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.features import statistics_width
from mspc_core.detectors.mspc import PRESETS
from mspc_core.engine.device import choose_threads, device_name, largest_training_batch, resolve_device
from mspc_core.engine.rows import IN_MEMORY, MOST_MAPPED
from mspc_core.errors import InputError
from mspc_core.estimating.counts import COUNTS, Facts, Work
from mspc_core.estimating.prices import Prices, measure, resident
from mspc_core.estimating.unread import UnreadDataset, look_at
from mspc_core.models import checkpoint, train
from mspc_core.models.zoo import ModelSpec, build_model, feature_layer
from mspc_core.runs import DEMO, ScanConfig
from mspc_core.scanning import pixels_of, preflight, samples_to_scan

_MANIFEST_BYTES, _SCORE_BYTES = 700, 20  # of a sample: manifest and table of scores; for each detector
_LOADED_LATER = 50 * 2**20  # scikit-learn, pandas and what else a scan loads after the calibration
_BEGIN = 5.0  # seconds until a process has loaded its libraries and opened the data
_PREPARED = 2.0  # seconds: what is loaded for training and for reading features, weights that are written


@dataclass(frozen=True)
class Stage:
    """seconds: expected. forward_equivalents: (lowest, expected, highest) as the scan will report them; the model's
    stage reports none."""

    name: str
    title: str
    seconds: float
    forward_equivalents: tuple[int, int, int]
    memory_mib: int


@dataclass(frozen=True)
class Estimate:
    """memory_mib: the largest of all stages: what only the process can give back, mapped files, and both. device_mib:
    of an accelerator, None on the CPU."""

    images: int
    image_size: int
    classes: int
    epochs: int
    device: str
    stages: list[Stage]
    seconds: float
    memory_mib: dict[str, int]
    device_mib: int | None
    not_run: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def data_of(config: ScanConfig) -> Dataset:
    """What the scan of `config` would scan, also where it is not imported yet. Raises `InputError`."""
    if config.dataset:
        return open_dataset(config.dataset)
    if config.source == DEMO:
        raise InputError("An estimate needs the images: store them first, with `demo`, and give the name.")
    return look_at(config)


def estimate(config: ScanConfig, dataset: Dataset, clock: Callable[[], float] = time.perf_counter) -> Estimate:
    """What the scan of `config` will take on this machine. Computes for a second or two (longer with large models) and
    writes nothing. Raises `InputError` as the scan would."""
    not_run = preflight(config, dataset)
    device = resolve_device(config.device)
    choose_threads(config.threads, device)
    rows, labels = samples_to_scan(dataset)
    spec = ModelSpec(config.arch, len(dataset.info.classes), dataset.info.size)
    torch.manual_seed(config.seed)
    path = Path(config.checkpoint).expanduser()
    model = (checkpoint.load_checkpoint(path, spec) if config.checkpoint else build_model(spec)).to(device)
    training = train.resolve(
        train.TrainConfig(epochs=config.epochs or None, augment=config.augment, seed=config.seed),
        len(rows),
        config.arch,
        largest_training_batch(device, dataset.info.size),
    )
    facts = facts_of(model, dataset, rows, labels, config)
    able = [name for name in config.detectors if name not in not_run]
    works = {name: COUNTS[name](facts, settings_of(name, config)) for name in able}
    small_sets = {side: count for work in works.values() for side, count in work.small_sets.items()}
    prices = measure(model, pixels_of(dataset, rows), labels, training, small_sets, clock)
    anonymous, mapped = resident()
    kept = len(rows) * (_MANIFEST_BYTES + 12 * facts.outputs + _SCORE_BYTES * len(able)) + _LOADED_LATER

    def memory(each: float) -> int:
        return round((anonymous + kept + _held(each, len(rows))) / 2**20)

    held_out = sum(count for split, count in dataset.info.split_counts.items() if split != "train")
    passes = 2 * len(rows) + held_out
    model_seconds = _PREPARED + passes * prices.forward
    if not config.checkpoint:
        model_seconds += len(rows) * (training.epochs or 0) * prices.training
    reading = dataset.import_seconds if isinstance(dataset, UnreadDataset) else 0.0
    title = "Importing the data" if reading else "Opening the data"
    stages = [
        Stage("data", title, _BEGIN + reading, (0, 0, 0), memory(0)),
        Stage("model", "Model", model_seconds, (0, 0, 0), memory(0)),
    ]
    for name, work in after_each_other(works).items():
        low, expected, high = map(round, work.equivalents)
        seconds = seconds_of(work, prices)
        stages.append(Stage(name, CATALOG[name].title, seconds, (low, expected, high), memory(work.bytes_each)))
    largest = max(stage.memory_mib for stage in stages)
    files = round((mapped + min(dataset.pixels.nbytes, MOST_MAPPED)) / 2**20)
    on_device = round(torch.cuda.max_memory_reserved(device) / 2**20) if device.type == "cuda" else None
    return Estimate(
        images=len(rows),
        image_size=dataset.info.size,
        classes=len(dataset.info.classes),
        epochs=0 if config.checkpoint else int(training.epochs or 0),
        device=device_name(device),
        stages=[replace(stage, seconds=round(stage.seconds, 2)) for stage in stages],
        seconds=round(sum(stage.seconds for stage in stages), 1),
        memory_mib={"anonymous": largest, "file": files, "resident": largest + files},
        device_mib=on_device,
        not_run=not_run,
    )


def after_each_other(works: Mapping[str, Work]) -> dict[str, Work]:
    """Works in this order: the first one that makes passes which all share makes them for the others."""
    found, made = {}, False
    for name, work in works.items():
        found[name] = work.after_another() if made else work
        made = made or work.shared > 0
    return found


def seconds_of(work: Work, prices: Prices) -> float:
    """Time of a detector's work at these prices."""
    found = work.forwards * prices.forward + work.scaled * prices.scaled + work.gradients * prices.gradient
    found += work.trained * prices.training + work.flops * prices.flop
    return found + sum(images * prices.small[side] for side, images in work.small.items())


def settings_of(name: str, config: ScanConfig) -> Any:
    """The configuration that a scan gives this detector."""
    return PRESETS[config.mspc_preset] if name == "mspc" else detectors.create(name).config


def facts_of(model: nn.Module, dataset: Dataset, rows: np.ndarray, labels: np.ndarray, config: ScanConfig) -> Facts:
    clean = obstacles.clean_data(dataset, rows, config.trusted, config.seed)
    trusted = np.unique(clean.labels, return_counts=True)[1] if clean is not None else np.zeros(0, dtype=int)
    norms = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.weight is not None
    ]
    try:
        width = feature_layer(model).in_features
    except InputError:
        width = 0
    sizes = np.unique(labels, return_counts=True)[1]
    return Facts(
        sizes, len(dataset.info.classes), dataset.info.size, trusted, len(norms), statistics_width(model), width
    )


def _held(each: float, images: int) -> float:
    """Rows that a detector keeps: in a file where they are many."""
    whole = each * images
    return whole if whole <= IN_MEMORY else IN_MEMORY + 0.2 * (whole - IN_MEMORY)
