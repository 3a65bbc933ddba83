"""What the benchmarks share: scanning through the product's own run folders, and figures over seeds."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from mspc_core import atomic, home, runs
from mspc_core.data.store import Dataset, DatasetInfo, open_dataset
from mspc_core.work import work_on

_METRICS = ("auroc", "average_precision", "tpr", "fpr", "tpr_at_1_fpr")


def scan(dataset: Dataset, seed: int, **changes: Any) -> dict[str, Any]:
    """The summary of a scan with default settings, some changed; a finished or half-finished one is not repeated."""
    folder = home.runs_folder() / f"{dataset.info.name}-scan"
    if not (folder / "config.json").is_file():
        config = runs.ScanConfig(source=dataset.info.name, dataset=dataset.info.name, seed=seed)
        runs.create_run(replace(config, **changes), folder)
    run = runs.open_run(str(folder))
    if run.status().state != "finished":
        (folder / "cancel").unlink(missing_ok=True)
        status = work_on(folder)
        if status.state != "finished":
            raise SystemExit(f"{dataset.info.name}: {status.state}: {status.error}")
    return run.summary()


def row(kind: str, seed: int, summary: dict[str, Any]) -> dict[str, Any]:
    """What a result file keeps of one scan. Times are left out: they would be those of a shared machine."""
    scanned = summary["dataset"]["scanned"]
    return {
        "data": kind,
        "seed": seed,
        "verdict": summary["verdict"]["text"],
        "level": summary["verdict"]["level"],
        "suspects": summary["verdict"]["flagged"],
        "targets": [entry["name"] for entry in summary["verdict"]["target_classes"]],
        "true_backdoors": summary["true_backdoors"],
        "test_accuracy": summary["model"]["val_accuracy"],
        "attack_success_rate": summary["model"]["attack_success_rate"],
        "detectors": {
            name: {
                "flagged": record["flagged"],
                "flagged_share": record["flagged"] / scanned,
                "metrics": record["metrics"],
                "forward_equivalents_per_image": record["forward_equivalents"] / scanned,
                "notes": record["notes"],
            }
            for name, record in summary["detectors"].items()
        },
    }


def mean_and_spread(values: list[float]) -> dict[str, float]:
    """Mean, and the sample standard deviation where there are several."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "stdev": spread, "min": min(values), "max": max(values)}


def over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each kind of data: accuracy, attack success and each detector's figures over the seeds."""
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(entry["data"] for entry in rows):
        chosen = [entry for entry in rows if entry["data"] == kind]
        figures: dict[str, Any] = {"seeds": len(chosen)}
        for key in ("test_accuracy", "attack_success_rate"):
            if chosen[0][key] is not None:
                figures[key] = mean_and_spread([entry[key] for entry in chosen])
        for name in chosen[0]["detectors"]:
            records = [entry["detectors"][name] for entry in chosen]
            figures[name] = {"flagged_share": mean_and_spread([record["flagged_share"] for record in records])}
            if records[0]["metrics"]:
                figures[name] |= {k: mean_and_spread([record["metrics"][k] for record in records]) for k in _METRICS}
        found[kind] = figures
    return found


def print_table(summary: dict[str, Any]) -> None:
    """Mean ± standard deviation over the seeds, a line a detector."""
    for kind, figures in summary.items():
        print(f"{kind}, {figures['seeds']} seeds: test accuracy {_shown(figures['test_accuracy'])}", end="")
        print(f", ASR {_shown(figures['attack_success_rate'])}" if "attack_success_rate" in figures else "")
        for name in (key for key, value in figures.items() if isinstance(value, dict) and "flagged_share" in value):
            text = ", ".join(f"{key} {_shown(value)}" for key, value in figures[name].items())
            print(f"  {name:<11} {text}")


def stored(folder: Path, manifest: pd.DataFrame, *, classes: Sequence[str], size: int) -> Dataset:
    """A made-up data set whose pixels (pixels.u8, square images of `size` px) lie in its folder already: the rest is
    written beside them, and it is opened. manifest: as the store keeps it; all images are for training."""
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    pd.DataFrame({"path": [], "reason": []}, dtype="str").to_parquet(folder / "skipped.parquet", index=False)
    count = len(manifest)
    info = DatasetInfo(
        name=folder.name,
        classes=tuple(classes),
        size=size,
        count=count,
        skipped=0,
        kind="folder",
        source=f"/data/{folder.name}",
        source_key=f"benchmark:{folder.name}",
        content_key=f"benchmark-{count}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        split_counts={"train": count},
    )
    atomic.write_json(folder / "dataset.json", asdict(info))
    return open_dataset(folder.name)


def machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "processor": platform.machine(), "accelerator": None}


def use_home(folder: Path) -> None:
    """Keep the benchmark's data and runs apart from the user's."""
    os.environ["BACKDOOR_LENS_HOME"] = str(folder.absolute())


def _shown(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.4f} ± {figure['stdev']:.4f}"
