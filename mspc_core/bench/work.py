"""One cell of the comparison, in a process and a home folder of its own: poison, scan, clean, measure.

    <cell>/task.json    what to do (`Task`)
    <cell>/cell.json    the finished row; there only when everything is done
    <cell>/datasets/    the poisoned data;  <cell>/runs/scan/ the run folder;  <cell>/retrained/ what was kept → figures

Each stage that was finished is found again after a kill: the data set, the run's stages, every retraining. Cells have
homes of their own, so that jobs for one device do not queue behind each other.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import atomic, home, runs
from mspc_core.bench.after_cleaning import after_dropping
from mspc_core.bench.plan import TARGET_CLASS, Cell, Setting
from mspc_core.data.store import Dataset, open_dataset, open_folder
from mspc_core.errors import Cancelled, InputError
from mspc_core.job_status import held

if TYPE_CHECKING:
    import pandas as pd

CONSENSUS = "consensus"
_PATIENCE = 6 * 3600.0  # seconds to wait for another process that works on the same cell
_SCORE = "suspect_score"  # the verdict's own score, in runs that have one


@dataclass(frozen=True)
class Task:
    """source: folder of the clean data set. cleaning: also train again without the suspects and without the poison,
    `trainings` times each, with seeds of their own: one training tells little, see `after_dropping`. mspc: its
    preset, fast or paper."""

    cell: Cell
    seed: int
    setting: Setting
    source: str
    detectors: tuple[str, ...]
    trusted: str = ""
    cleaning: bool = True
    mspc: str = "fast"
    trainings: int = 1

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Task:
        cell = {**raw["cell"], "groups": tuple(raw["cell"]["groups"])}
        setting, detectors = Setting(**raw["setting"]), tuple(raw["detectors"])
        return cls(**{**raw, "cell": Cell(**cell), "setting": setting, "detectors": detectors})


def finished_row(folder: Path) -> dict[str, Any] | None:
    """The row of a cell that has been computed for the task in its folder, or None."""
    try:
        row: dict[str, Any] = atomic.read_json(folder / "cell.json")
        asked = atomic.read_json(folder / "task.json")
    except (FileNotFoundError, ValueError):
        return None
    keys = (("asked", "detectors"), ("trusted", "trusted"), ("cleaned", "cleaning"), ("mspc", "mspc"))
    same = all(row[of_row] == asked[of_task] for of_row, of_task in keys)
    enough = not asked["cleaning"] or row.get("trainings", 1) == asked.get("trainings", 1)
    return row if same and enough else None


def run_cell(folder: Path) -> dict[str, Any]:
    """Do the task of `folder`; the home folder must be `folder`. Raises `InputError` and `Cancelled`."""
    with held(folder / ".lock", patience=_PATIENCE) as mine:
        if not mine:
            raise InputError(f"Another process works on {folder.name}.")
        row = finished_row(folder)
        if row is None:
            task = Task.from_json(atomic.read_json(folder / "task.json"))
            dataset = _data(task)
            row = _row(task, dataset, _scan(task, dataset))
            atomic.write_json(folder / "cell.json", row)
        return row


def _data(task: Task) -> Dataset:
    """The cell's data set: the clean one under a link, or its poisoned copy."""
    from mspc_core.attacks import base
    from mspc_core.attacks.poison import poison_dataset

    clean, name = open_folder(Path(task.source)), home.name_from(task.cell.name)
    target = home.datasets_folder() / name
    if not task.cell.attack:
        if not target.exists():
            target.symlink_to(clean.root, target_is_directory=True)
        return open_dataset(name)
    if target.is_dir():
        return open_dataset(name)
    attack = base.create(task.cell.attack, task.cell.config)
    return poison_dataset(
        clean,
        attack,
        rate=task.cell.rate,
        target=TARGET_CLASS,
        name=name,
        seed=task.seed,
        label_mode=task.cell.label_mode,
    )


def _scan(task: Task, dataset: Dataset) -> runs.Run:
    """The finished run. Stages that are there are kept, also when detectors were added to the task."""
    from mspc_core.work import work_on

    folder, name = home.runs_folder() / "scan", dataset.root.name
    config = runs.ScanConfig(
        source=name,
        dataset=name,
        size=dataset.info.size,
        arch=task.setting.arch,
        epochs=task.cell.epochs or task.setting.epochs,
        detectors=task.detectors,
        mspc_preset=task.mspc,
        trusted=task.trusted,
        device=task.setting.device,
        seed=task.seed,
    )
    if (folder / "config.json").is_file():
        run = runs.open_run(str(folder))
        stored = run.config()
        if stored.mspc_preset != task.mspc:
            (folder / "stages" / "mspc.json").unlink(missing_ok=True)
        run.save_config(replace(stored, detectors=task.detectors, trusted=task.trusted, mspc_preset=task.mspc))
        (folder / "cancel").unlink(missing_ok=True)
    else:
        run = runs.create_run(config, folder)
    status = work_on(folder)
    if status.state == "cancelled":
        raise Cancelled
    if status.state != "finished":
        raise InputError(status.error or f"the scan ended as {status.state}")
    return run


def _row(task: Task, dataset: Dataset, run: runs.Run) -> dict[str, Any]:
    summary, scores = run.summary(), run.scores()
    scanned, verdict, model = len(scores), summary["verdict"], summary["model"]
    # A clean set of the benchmark has no truth file: nothing in it is poisoned.
    truth = np.zeros(scanned, bool) if not task.cell.attack else scores["is_backdoor"].to_numpy(dtype=bool)
    found = {name: _detector_figures(record, truth, scores, name) for name, record in summary["detectors"].items()}
    found[CONSENSUS] = _consensus_figures(truth, scores)
    row = {
        "cell": task.cell.name,
        "attack": task.cell.attack,
        "config": dict(task.cell.config),
        "rate": task.cell.rate if task.cell.attack else 0.0,
        "label_mode": (summary["dataset"]["recipe"] or {}).get("label_mode", ""),
        "half": task.cell.half,
        "groups": list(task.cell.groups),
        "seed": task.seed,
        "arch": task.setting.arch,
        "epochs": task.cell.epochs or task.setting.epochs,
        "asked": list(task.detectors),
        "trusted": task.trusted,
        "cleaned": task.cleaning,
        "trainings": task.trainings,
        "mspc": task.mspc,
        "scanned": scanned,
        "poisoned": int(truth.sum()),
        "verdict": {key: verdict[key] for key in ("level", "text", "flagged")},
        "targets": [str(entry.get("name", entry)) for entry in verdict["target_classes"]],
        "train_accuracy": model["train_accuracy"],
        "accuracy": model["val_accuracy"],
        "attack_success_rate": model["attack_success_rate"],
        "notes": model["notes"],
        "detectors": found,
        "not_run": summary["not_run"],
        "versions": run.config().versions,
        "machine": machine(),
    }
    if task.cleaning:
        suspects = scores["suspect"].to_numpy(dtype=bool)
        row["cleaning"] = {
            "verdict": after_dropping(task, dataset, run, scores, suspects),
            "reference": after_dropping(task, dataset, run, scores, truth),
        }
    return row


def _detector_figures(record: dict[str, Any], truth: np.ndarray, scores: pd.DataFrame, name: str) -> dict[str, Any]:
    flagged = scores[f"{name}_flagged"].to_numpy(dtype=bool)
    return {
        **_rates(truth, flagged, scores[f"{name}_score"].to_numpy()),
        "seconds": record["seconds"],
        "forward_equivalents_per_image": record["forward_equivalents"] / len(scores),
        "notes": record["notes"],
    }


def _consensus_figures(truth: np.ndarray, scores: pd.DataFrame) -> dict[str, Any]:
    suspects = scores["suspect"].to_numpy(dtype=bool)
    own = scores[_SCORE].to_numpy() if _SCORE in scores else None
    return {**_rates(truth, suspects, own), "seconds": None, "forward_equivalents_per_image": None, "notes": []}


def _rates(truth: np.ndarray, flagged: np.ndarray, scores: np.ndarray | None) -> dict[str, Any]:
    """Figures of flags, and of scores where there are any. Those that need both kinds of sample are None without."""
    from mspc_core.evaluate import detection_metrics

    metrics = detection_metrics(truth, scores, flagged) if scores is not None else None
    return {
        "auroc": metrics.auroc if metrics else None,
        "average_precision": metrics.average_precision if metrics else None,
        "tpr_at_1_fpr": metrics.tpr_at_1_fpr if metrics else None,
        "tpr": float(flagged[truth].mean()) if truth.any() else None,
        "fpr": float(flagged[~truth].mean()) if not truth.all() else None,
        "flagged_share": float(flagged.mean()),
    }


def machine() -> dict[str, Any]:
    """Where a row was computed, without anything that names the host."""
    import torch

    name = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else ():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    accelerator = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": accelerator,
        "shared": True,
    }
