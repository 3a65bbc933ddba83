"""The embedded demo over several seeds: accuracy, attack success, and each detector; the clean signs as well.

    python -m benchmarks.demo [--seeds 0 1 2] [--paper] [--out benchmarks/results/demo.json]

`--paper` also runs MSPC with the published schedule (4 rounds of 10 epochs, batches of 1,000, all scales) on the same
models. Everything is made locally; an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from mspc_core import atomic, demo, evaluate, runs
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.detectors.mspc import MSPC, PAPER
from mspc_core.home import runs_folder
from mspc_core.models.checkpoint import load_saved_model
from mspc_core.scanning import pixels_of, scanned_rows


def published_schedule(dataset: Dataset, seed: int) -> dict[str, Any]:
    """MSPC with the paper's schedule on the model of this data set's scan, kept beside that scan."""
    kept = runs_folder() / f"{dataset.info.name}-paper.json"
    if kept.is_file():
        found: dict[str, Any] = atomic.read_json(kept)
        return found
    model, _ = load_saved_model(runs_folder() / f"{dataset.info.name}-scan")
    rows = scanned_rows(dataset)
    detector = MSPC(replace(PAPER, seed=seed)).fit(model, pixels_of(dataset, rows), labels=np.zeros(len(rows), int))
    truth = evaluate.truth_table(dataset, rows)["is_backdoor"].to_numpy(dtype=bool)
    metrics = evaluate.detection_metrics(truth, detector.decision_scores_, detector.labels_)
    found = {
        "flagged": int(detector.labels_.sum()),
        "flagged_share": float(detector.labels_.mean()),
        "metrics": metrics.as_json() if metrics else None,
        "forward_equivalents_per_image": detector.artifacts_.forward_equivalents / len(rows),
        "notes": detector.artifacts_.notes,
    }
    atomic.write_json(kept, found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "backdoor-lens-benchmark")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo.json"))
    arguments = parser.parse_args()
    common.use_home(arguments.home)
    rows = []
    for seed in arguments.seeds:
        lab = demo.build_demo(f"demo-s{seed}", seed=seed)
        for kind, dataset in (("demo", lab), ("demo, clean", open_dataset(f"demo-s{seed}-clean"))):
            rows.append(common.row(kind, seed, common.scan(dataset, seed, epochs=demo.EPOCHS)))
            if arguments.paper and kind == "demo":
                rows[-1]["detectors"]["mspc_paper"] = published_schedule(dataset, seed)
            print(f"seed {seed}, {kind}: {rows[-1]['verdict']}", flush=True)
            flag = " --paper" if arguments.paper else ""
            result = {
                "benchmark": "demo",
                "command": f"python -m benchmarks.demo --seeds {' '.join(map(str, arguments.seeds))}{flag}",
                "data": "rendered traffic signs (mspc_core.data.signs), 4,000 training and 1,000 test images a seed",
                "attack": demo.STICKER.title + ": sticker 5 px, lower right, 10 %, target speed 80",
                "model": f"small-cnn, {demo.EPOCHS} epochs",
                "machine": common.machine(),
                "versions": runs.versions(),
                "over_seeds": common.over_seeds(rows),
                "scans": rows,
            }
            atomic.write_json(arguments.out.absolute(), result)
    common.print_table(common.over_seeds(rows))


if __name__ == "__main__":
    main()
