"""A finished scan of any size, made up in seconds: what the app has to show, without the hours of a real scan.

Images, labels and scores are random but the same every time; nothing is trained and no detector runs. One image in a
hundred carries a white square and is labelled `TARGET`, and the scores know it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import common
from mspc_core import atomic, home, jobs, runs
from mspc_core.data.store import Dataset
from mspc_core.detectors.catalog import CATALOG
from mspc_core.evaluate import detection_metrics
from mspc_core.runs import DEFAULT_DETECTORS, Run, ScanConfig

SIZE, CLASSES, TARGET, EVERY, BLOCK = 32, 100, 7, 100, 10_000
SQUARE = (slice(25, 30), slice(25, 30))
NATURAL = {"mspc": 0.0, "second_opinion": 0.0}


def build(count: int) -> Run:
    """The run `scale-<count>` in the home folder, made if it is not there. count: a multiple of 10,000."""
    if count % BLOCK:
        raise ValueError(f"the number of samples has to be a multiple of {BLOCK}")
    folder = home.runs_folder() / f"scale-{count}"
    if (folder / "status.json").is_file() and jobs.read_status(folder).state == "finished":
        return Run(folder)
    dataset = build_dataset(f"scale-{count}", count)
    config = ScanConfig(source=dataset.info.source, dataset=dataset.info.name, size=SIZE, arch="small-cnn")
    run = runs.create_run(config, folder)
    scores = score_table(dataset)
    run.save_scores(scores)
    run.save_masks(_masks())
    run.save_summary(_summary(dataset, scores))
    _save_model(run.folder, dataset)
    (run.folder / "log.txt").write_text("made by benchmarks.scale_data\n", encoding="utf-8")
    status = jobs.JobStatus(state="finished", stage="summary", stages=["data", "summary"], progress=1.0)
    atomic.write_json(run.folder / "status.json", {**asdict(status), "created": run.status().created})
    return run


def build_dataset(name: str, count: int) -> Dataset:
    """uint8 images of 32 px: the same 10,000 again and again, poisoned ones (every hundredth) with the square."""
    folder = home.datasets_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    block = _images(np.random.default_rng(0))
    with (folder / "pixels.u8").open("wb") as handle:
        for _ in range(count // BLOCK):
            handle.write(block.tobytes())
    number = np.arange(count)
    poisoned, original = number % EVERY == 0, (number * 7919) % CLASSES
    names = np.char.add(np.char.add("class_", np.char.zfill(original.astype(str), 3)), "/image_")
    ids = np.char.mod("%016x", (number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)))
    manifest = pd.DataFrame(
        {
            "sample_id": pd.array(ids, dtype="str"),
            "path": pd.array(
                np.char.add(np.char.add(names, np.char.zfill(number.astype(str), 7)), ".png"), dtype="str"
            ),
            "label": np.where(poisoned, TARGET, original).astype(np.int32),
            "split": pd.array(np.full(count, "train"), dtype="str"),
            "width": np.full(count, SIZE, np.int32),
            "height": np.full(count, SIZE, np.int32),
            "mode": pd.array(np.full(count, "RGB"), dtype="str"),
        }
    )
    truth = pd.DataFrame({"sample_id": manifest["sample_id"], "is_backdoor": poisoned, "original_label": original})
    truth.to_parquet(folder / "truth.parquet", index=False)
    recipe = {"attack": "badnets", "rate": 1 / EVERY, "target_class": TARGET, "label_mode": "all-to-one", "seed": 0}
    atomic.write_json(folder / "recipe.json", recipe)
    return common.stored(folder, manifest, classes=[f"class {number}" for number in range(CLASSES)], size=SIZE)


def score_table(dataset: Dataset) -> pd.DataFrame:
    """scores.parquet of a scan with the default detectors, with types as `mspc_core.scan_results` writes them."""
    manifest, count = dataset.manifest, dataset.info.count
    generator = np.random.default_rng(1)
    poisoned = np.arange(count) % EVERY == 0
    label = manifest["label"].to_numpy()
    wrong = generator.random(count) < 0.02
    table: dict[str, Any] = {
        "sample_id": manifest["sample_id"],
        "path": manifest["path"],
        "label": label,
        "predicted": np.where(wrong, (label + 1) % CLASSES, label).astype(np.int32),
        "confidence": (1 - 0.4 * generator.random(count) ** 3).astype(np.float32),
    }
    for name in DEFAULT_DETECTORS:
        table[f"{name}_score"] = score = _scores(name, poisoned, generator)
        table[f"{name}_flagged"] = score > NATURAL.get(name, 0.5)
    table["suspect_score"] = np.where(poisoned, 0.5, 0.0) + 0.5 * generator.random(count)
    table["suspect"] = poisoned
    table["row"] = np.arange(count)
    table["original_label"] = pd.array((np.arange(count) * 7919) % CLASSES, dtype="Int32")
    table["is_backdoor"] = pd.array(poisoned, dtype="boolean")
    return pd.DataFrame(table)


def _scores(name: str, poisoned: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """float64 [N]: high for most poisoned samples and for some others; in steps where the detector counts."""
    share = np.where(poisoned, generator.beta(8, 2, len(poisoned)), generator.beta(2, 6, len(poisoned)))
    if name == "second_opinion":
        return 20.0 * share - 10.0
    if name == "mspc":
        return np.round((2 * share - 1) * 11) / 11
    steps = {"spc": 11, "transplant": 16}.get(name)
    found: np.ndarray = share if steps is None else np.round(share * steps) / steps
    return found


def _images(generator: np.random.Generator) -> np.ndarray:
    """uint8 [10,000, 32, 32, 3]: soft blots of colour."""
    coarse = generator.integers(20, 210, (BLOCK, 8, 8, 3), dtype=np.uint8)
    images = coarse.repeat(4, axis=1).repeat(4, axis=2)
    images += generator.integers(0, 40, images.shape, dtype=np.uint8)
    images[::EVERY, *SQUARE] = 255
    return images


def _masks() -> dict[str, np.ndarray]:
    mask = np.full((SIZE, SIZE), 0.02, dtype=np.float32)
    mask[SQUARE] = 1.0
    transplant = np.full((CLASSES, SIZE, SIZE), 0.02, dtype=np.float32)
    transplant[TARGET] = mask
    pattern = np.zeros((CLASSES, SIZE, SIZE), dtype=np.float32)
    pattern[TARGET, *SQUARE] = 0.4
    return {
        "mspc": np.stack([np.ones_like(mask), 0.5 + 0.5 * mask, mask]).astype(np.float32),
        "transplant": transplant,
        "pattern": pattern,
        "agreement_per_scale": np.linspace(0.9, 0.3, 11, dtype=np.float32),
    }


def _summary(dataset: Dataset, scores: pd.DataFrame) -> dict[str, Any]:
    info, by = dataset.info, ["transplant", "pattern", "mixture", "second_opinion"]
    flagged = int(scores["suspect"].sum())
    target = {"class": TARGET, "name": info.classes[TARGET], "by": by, "flagged": flagged, "transplant_rate": 0.8}
    target |= {"strength": 1.0, "anomaly_index": 40.0, "turned": 0.95}
    return {
        "complete": True,
        "verdict": {
            "level": "poisoned",
            "text": f"likely poisoned: {flagged:,} of {info.count:,} samples, target class {info.classes[TARGET]}",
            "scanned": info.count,
            "flagged": flagged,
            "detector": "transplant",
            "by": by,
            "rule": "made up",
            "target_classes": [target],
        },
        "dataset": {
            "name": info.name,
            "source": info.source,
            "classes": list(info.classes),
            "scanned": info.count,
            "skipped": 0,
            "content_key": info.content_key,
            "recipe": dataset.recipe(),
        },
        "model": {"arch": "small-cnn", "trained_here": True, "val_accuracy": 0.97, "attack_success_rate": 0.99},
        "detectors": {name: _record(name, scores) for name in DEFAULT_DETECTORS},
        "not_run": {},
        "true_backdoors": flagged,
    }


def _record(name: str, scores: pd.DataFrame) -> dict[str, Any]:
    flags = scores[f"{name}_flagged"].to_numpy()
    metrics = detection_metrics(scores["is_backdoor"].to_numpy(dtype=bool), scores[f"{name}_score"].to_numpy(), flags)
    return {
        "title": CATALOG[name].title,
        "citation": "made up",
        "config": {},
        "threshold": {"value": NATURAL.get(name, 0.5), "rule": "natural", "explanation": "made up"},
        "flagged": int(flags.sum()),
        "seconds": 1.0,
        "forward_equivalents": len(scores),
        "notes": [],
        "tables": {"classes": [_class_entry(name, number, scores) for number in range(CLASSES)]},
        "metrics": metrics.as_json() if metrics else None,
    }


def _class_entry(name: str, number: int, scores: pd.DataFrame) -> dict[str, Any]:
    """One class in a detector's table; the union of what the detectors list."""
    hit, here = number == TARGET, len(scores) // CLASSES
    return {
        "class": number,
        "predicted": here,
        "samples": here,
        "flagged": int(scores["suspect"].sum()) if hit else 0,
        "transplant_rate": 0.8 if hit else 0.05,
        "region_share": 0.02,
        "mask_mean": 0.05,
        "with_pattern": here if hit else 0,
        "turned": 0.95 if hit else 0.0,
        "strength": 1.0 if hit else 0.0,
        "separation": 9.0 if hit else 0.0,
        "statistic": 60.0 if hit else 5.0,
        "anomaly_index": 40.0 if hit else 0.3,
        "explained": 0.9 if hit else 0.64,
        "second": 0.5,
        "kinds_second": 1.0,
        "kinds_first": 1.0,
        "contradicted_flagged": 0.95 if hit else 0.0,
        "contradicted_others": 0.1,
    }


def _save_model(folder: Path, dataset: Dataset) -> None:
    import torch

    from mspc_core.models.checkpoint import save_model
    from mspc_core.models.zoo import ModelSpec, build_model

    torch.manual_seed(0)
    spec = ModelSpec("small-cnn", CLASSES, SIZE)
    about = {"classes": list(dataset.info.classes), "trained_here": True, "train_accuracy": 1.0, "notes": []}
    save_model(folder, build_model(spec), spec, json.loads(json.dumps(about)))
