"""What a scan costs beside the forwards it needs, beside the published loop, and what training costs.

    python -m mspc_core bench speed --data DATA          (from the project's folder)

For each number of images and each seed a model is trained on poisoned images (BadNets, 10 %), and then, in one process
and in turns: (a) bare forwards of images that lie ready on the device, (b) our scoring pass over the same number of
images (SPC: the prediction and eleven scales), (c) the published MSPC loop (`benchmarks.published_mspc`), (d) our MSPC,
and the transplant test. Where the whole loop would take too long, one inner epoch and one scoring pass of it are timed
and extrapolated; the result says so. AUROC of the loop is that of its whole run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import common, published_mspc, training_speed
from benchmarks.measure import Cost, Counted, cost_of, flops_of_forward, load, matmul_peak, seconds_of
from benchmarks.speed_data import ATTACK, RATE, Poisoned, made_up, poisoned
from mspc_core import atomic, cleaning, evaluate, runs
from mspc_core.data.store import Dataset
from mspc_core.detectors.base import SCALES, Detector
from mspc_core.detectors.mspc import MSPC, PAPER, MSPCConfig
from mspc_core.detectors.spc import agreement_over_scales
from mspc_core.detectors.transplant import Transplant, TransplantConfig
from mspc_core.engine.device import (
    batch_size_for,
    choose_threads,
    device_name,
    half_precision,
    largest_training_batch,
    resolve_device,
)
from mspc_core.engine.forward import frozen, to_float
from mspc_core.engine.plain import sharing
from mspc_core.engine.precision import choose_precision
from mspc_core.models import train
from mspc_core.models.zoo import ModelSpec

__all__ = ["ATTACK", "RATE", "SETTINGS", "Cell", "Plan", "measure"]
_PART = 1000  # images of the published loop that are timed where it is not run as a whole: one batch of its
_FORWARDS = 1 + len(SCALES)


@dataclass(frozen=True)
class Cell:
    """count: images. size: their side. whole, exact: up to this many images the
    published loop is run as a whole, and its schedule by our code. epochs 0:
    by the number of images. generated: images are made up instead of taken from the data."""

    count: int
    size: int = 32
    arch: str = "small-cnn"
    epochs: int = 0
    whole: int = 1000
    exact: int = 1000
    generated: bool = False


SETTINGS: dict[str, tuple[Cell, ...]] = {
    "cpu": (Cell(1000), Cell(10_000)),
    "gpu": (
        Cell(50_000, arch="resnet18", whole=0),
        Cell(100_000, size=224, arch="resnet18", epochs=1, whole=0, generated=True),
    ),
}


@dataclass(frozen=True)
class Plan:
    """turns: of (a), (b) and parts of (c). loop: rounds, and inner epochs of a round, of (c). trainings: recipes to
    time, see `benchmarks.training_speed`."""

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    turns: int = 5
    device: str = "auto"
    loop: tuple[int, int] = (published_mspc.ROUNDS, published_mspc.EPOCHS)
    mspc: MSPCConfig = field(default_factory=MSPCConfig)
    paper: MSPCConfig = PAPER
    transplant: TransplantConfig = field(default_factory=TransplantConfig)
    trainings: tuple[training_speed.Recipe, ...] = training_speed.RECIPES


def measure(plan: Plan, whole: Dataset, folder: Path, out: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Everything, written to `out` after each cell; what `out` holds already of the same cells is kept."""
    device = resolve_device(plan.device)
    threads = choose_threads(0, device)
    result: dict[str, Any] = {
        **about,
        "machine": common.machine() | {"device": device_name(device), "threads": threads},
        "versions": runs.versions(),
        "unit": "seconds of the processor" if device.type == "cpu" else "seconds",
        "matmul_tflops": round(matmul_peak(device) / 1e12, 3),
        "cells": [],
        "training": [],
    }
    kept = atomic.read_json(out) if out.is_file() else {"cells": [], "training": []}
    cells = {
        (cell, seed): next((row for row in kept["cells"] if (row["cell"], row["seed"]) == (asdict(cell), seed)), None)
        for cell in plan.cells
        for seed in plan.seeds
    }
    trainings = {
        recipe: next((row for row in kept["training"] if row["recipe"] == asdict(recipe)), None)
        for recipe in plan.trainings
    }

    def save() -> None:
        result["cells"] = [row for row in cells.values() if row]
        result["training"] = [row for row in trainings.values() if row]
        atomic.write_json(out, result)

    for cell, seed in [key for key, row in cells.items() if row is None]:
        row = _row(plan, cell, seed, whole, folder, device, result["matmul_tflops"])
        cells[cell, seed] = row
        print(_said(row), flush=True)
        save()
    for recipe in [key for key, row in trainings.items() if row is None]:
        trainings[recipe] = training_speed.compare(recipe, whole, device)
        save()
    save()
    return result


def _row(
    plan: Plan, cell: Cell, seed: int, whole: Dataset, folder: Path, device: torch.device, peak: float
) -> dict[str, Any]:
    begun = load()
    data = made_up(folder, cell.count, cell.size, seed) if cell.generated else poisoned(whole, cell.count, seed)
    model, training = _trained(cell, data, seed, device)
    precision = choose_precision(model, data.images, SCALES)
    pixels = data.images.view(Counted)
    with sharing(model, pixels):  # as in a scan: the transplant test needs no predictions of its own
        ours = _detector(model, pixels, data.truth, MSPC(replace(plan.mspc, seed=seed)))
        moved = _detector(model, pixels, data.truth, Transplant(replace(plan.transplant, seed=seed)))
    found = {
        "cell": asdict(cell),
        "seed": seed,
        "training": training,
        "precision": precision.as_json(),
        "scoring": scoring(model, pixels, plan.turns, peak),
        "mspc": ours,
        "transplant": moved,
        # What the loop finds, without what it wastes: how much of the difference is waste, and how much our steps.
        "mspc_paper": _detector(model, pixels, data.truth, MSPC(replace(plan.paper, seed=seed)))
        if cell.count <= cell.exact
        else None,
        "published": published(model, data, plan.turns, seed, plan.loop, whole=cell.count <= cell.whole),
    }
    return found | ratios(found) | {"load_at_start_and_end": [begun, load()]}


def ratios(row: dict[str, Any]) -> dict[str, Any]:
    """What the targets are about: (b) : (a), (c) : (d), and the transplant test's share of (d)."""
    ours, loop, moved = (row[key]["seconds"] for key in ("mspc", "published", "transplant"))
    return {
        "scoring_to_bare": row["scoring"]["throughput_of_bare"],
        "mspc_faster_than_published": round(loop / ours, 1),
        "transplant_adds": round(moved / ours, 3),
    }


def scoring(model: nn.Module, images: np.ndarray, turns: int, peak: float) -> dict[str, Any]:
    """(a) and (b), over as many images as fill a few batches, in turns; medians. peak: TFLOP/s of the chip."""
    size = images.shape[1]
    with frozen(model) as device, torch.inference_mode():
        batch = batch_size_for(device, size)
        count = max(batch, min(len(images), 10 * batch) // batch * batch) if len(images) >= batch else len(images)
        chosen = images[:count].view(Counted)
        ready = [to_float(np.asarray(chosen[at : at + batch]), device) for at in range(0, count, batch)]
        bare, ours, shares = [], [], []
        for turn in range(turns + 1):
            first = seconds_of(device, lambda: _bare(model, ready, _FORWARDS))
            second = seconds_of(device, lambda: agreement_over_scales(model, chosen, SCALES))
            third = seconds_of(device, lambda: _bare(model, ready, _FORWARDS))
            if turn:  # the first one warms up
                bare.append((first + third) / 2)
                ours.append(second)
                shares.append((first + third) / 2 / second)
        others = {
            str(other): round(_rate(model, images, other, device))
            for other in (batch // 4, batch // 2, 2 * batch, 4 * batch)
            if 1 <= other <= len(images)
        }
    cost = cost_of(model, lambda: agreement_over_scales(model, chosen, SCALES))
    rate = count * _FORWARDS / statistics.median(ours)
    return {
        "images": count,
        "batch": batch,
        "throughput_of_bare": round(statistics.median(shares), 3),
        "each_turn": [round(share, 3) for share in shares],
        "bare_forwards_per_second": round(count * _FORWARDS / statistics.median(bare)),
        "forwards_per_second": round(rate),
        "bare_at_other_batches": others,
        "share_of_matmul_peak": round(rate * flops_of_forward(model, size) / (peak * 1e12), 4) if peak else None,
        **cost.as_json(count),
    }


def published(
    model: nn.Module, data: Poisoned, turns: int, seed: int, loop: tuple[int, int], *, whole: bool
) -> dict[str, Any]:
    """(c). Its parts on up to 1,000 images, in the precision of our passes and in float32; its whole where asked."""
    part, (rounds, epochs) = data.images[:_PART], loop
    with frozen(model) as device:
        images = published_mspc.as_float(part, device)
        begun = published_mspc.begin(model, images)
        optimizer, order = published_mspc.optimizer_of(begun.mask), torch.arange(len(part), device=device)
        epoch: Callable[[], Any] = lambda: begun.inner_epoch(optimizer, order)  # noqa: E731
        score: Callable[[], Any] = lambda: begun.score(also_unmasked=True)  # noqa: E731
        parts = [(seconds_of(device, epoch), seconds_of(device, score)) for _ in range(max(1, turns // 2))]
        with torch.autocast(device.type, enabled=False):
            exact = seconds_of(device, score) if half_precision(device) else None
    scorings = rounds + 2 / 3  # the first is two thirds of the others
    one, other = (statistics.median(column) for column in zip(*parts, strict=True))
    found: dict[str, Any] = {
        "forward_equivalents_per_image": published_mspc.forward_equivalents(rounds=rounds, epochs=epochs),
        "extrapolated_from": f"one inner epoch and one scoring pass of {len(part):,} images",
        "seconds_extrapolated": round((rounds * epochs * one + scorings * other) * len(data.images) / len(part), 1),
        "float32_takes_times": round(exact / other, 2) if exact else None,
        "auroc": None,
    }
    if not whole:
        return found | {"whole": False, "seconds": found["seconds_extrapolated"]}
    scores: list[np.ndarray] = []
    with frozen(model) as device:
        everything = published_mspc.as_float(data.images, device)
        cost = cost_of(model, lambda: scores.append(_whole(model, everything, seed, rounds, epochs)))
    # Its images are float32, and read once for each epoch and each scoring.
    read = 4 * data.images.size * (rounds * (epochs + 1) + 1)
    measured = replace(cost, bytes_read=read).as_json(len(data.images))
    return found | measured | {"whole": True} | _found(data.truth, scores[0], scores[0] > 0)


def _whole(model: nn.Module, images: torch.Tensor, seed: int, rounds: int, epochs: int) -> np.ndarray:
    return published_mspc.published_mspc(model, images, seed=seed, rounds=rounds, epochs=epochs)[0]


def _detector(model: nn.Module, images: np.ndarray, truth: np.ndarray, detector: Detector) -> dict[str, Any]:
    labels = np.zeros(len(images), dtype=np.int64)  # neither of them reads labels
    cost: Cost = cost_of(model, lambda: detector.fit(model, images, labels=labels))
    return cost.as_json(len(images)) | _found(truth, detector.decision_scores_, detector.labels_)


def _found(truth: np.ndarray, scores: np.ndarray, flagged: np.ndarray) -> dict[str, Any]:
    metrics = evaluate.detection_metrics(truth, scores, flagged)
    if metrics is None:
        return {"auroc": None}
    return {key: round(value, 4) for key, value in metrics.as_json().items() if key in ("auroc", "tpr", "fpr")}


def _trained(cell: Cell, data: Poisoned, seed: int, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    spec = ModelSpec(cell.arch, data.classes, cell.size)
    model, _ = cleaning.fresh_model(spec, data.images, seed, device)
    config = train.TrainConfig(epochs=cell.epochs or None, seed=seed)
    config = train.resolve(config, len(data.images), cell.arch, largest_training_batch(device, cell.size))
    seconds = seconds_of(device, lambda: train.train_model(model, data.images, data.labels, config))
    accuracy = evaluate.accuracy(model, *data.test) if data.test else None
    return model.eval(), {"epochs": config.epochs, "seconds": round(seconds, 1), "test_accuracy": accuracy}


def _bare(model: nn.Module, ready: Sequence[torch.Tensor], times: int) -> None:
    for batch in ready:
        for _ in range(times):
            model(batch)


def _rate(model: nn.Module, images: np.ndarray, batch: int, device: torch.device) -> float:
    """Bare forwards a second at another batch size, the best of three."""
    ready = to_float(np.asarray(images[:batch]), device)
    times = max(2, 1024 // batch)
    _bare(model, [ready], 1)
    return batch * times / min(seconds_of(device, lambda: _bare(model, [ready], times)) for _ in range(3))


def _said(row: dict[str, Any]) -> str:
    return (
        f"{row['cell']['count']:,} images, seed {row['seed']}: scoring at {row['scoring_to_bare']:.2f} of bare "
        f"forwards; MSPC {row['mspc_faster_than_published']}× as fast as published (AUROC {row['mspc']['auroc']}, "
        f"published {row['published']['auroc']}); transplant adds {row['transplant_adds']:.0%}"
    )
