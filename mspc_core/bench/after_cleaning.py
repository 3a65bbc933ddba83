"""What a cell's model is like after training again without some of its samples; each training is kept on disk."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import atomic, home, runs
from mspc_core.data.store import Dataset
from mspc_core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mspc_core.bench.work import Task


def after_dropping(
    task: Task, dataset: Dataset, run: runs.Run, scores: pd.DataFrame, dropped: np.ndarray
) -> dict[str, Any]:
    """Accuracy and attack success after training again without `dropped` (bool [N]), by the recipe of the scan: means
    over the task's trainings, and each of them.

    Trainings that differ by their seed alone, or by one image, differ by about half a point of accuracy.
    """
    about = atomic.read_json(run.folder / "model.json")
    if not dropped.any():  # the same training again would give the same model
        return {
            "dropped": 0,
            "accuracy": about["val_accuracy"],
            "attack_success_rate": about["attack_success_rate"],
        }
    rows = np.sort(scores["row"].to_numpy()[~dropped])
    found = [_retrained(task, dataset, rows, {**about["training"], "seed": seed}) for seed in _seeds(task, about)]
    result: dict[str, Any] = {"dropped": int(dropped.sum())}
    for key in ("accuracy", "attack_success_rate"):
        each = [one[key] for one in found]
        result[key] = None if None in each else float(np.mean(each))
        result[f"each_{key}"] = each
    if reasons := [one["not_run"] for one in found if "not_run" in one]:
        result["not_run"] = reasons[0]
    return result


def _seeds(task: Task, about: dict[str, Any]) -> list[int]:
    """Seeds of the trainings: the scan's own, and others far from those of the other rows."""
    return [about["training"]["seed"] + 1000 * number for number in range(task.trainings)]


def _retrained(task: Task, dataset: Dataset, rows: np.ndarray, training: dict[str, Any]) -> dict[str, Any]:
    """One training on these rows, kept in a file of its own."""
    from mspc_core.cleaning import retrain
    from mspc_core.engine.device import choose_threads, resolve_device
    from mspc_core.models.train import TrainConfig

    folder = home.home() / "retrained"
    folder.mkdir(exist_ok=True)
    other = "" if training["seed"] == task.seed else f"-{training['seed']}"
    path = folder / f"{hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest()[:16]}{other}.json"
    if not path.is_file():
        choose_threads()
        figures: dict[str, Any] = {"accuracy": None, "attack_success_rate": None}
        try:
            found = retrain(
                dataset,
                rows,
                arch=task.setting.arch,
                training=TrainConfig(**training),
                device=resolve_device(task.setting.device),
                checkpoint=path.with_suffix(".safetensors"),
            )
            figures |= {"accuracy": found.accuracy, "attack_success_rate": found.attack_success_rate}
        except InputError as error:
            figures["not_run"] = str(error)
        atomic.write_json(path, figures)
        path.with_suffix(".safetensors").unlink(missing_ok=True)
    kept: dict[str, Any] = atomic.read_json(path)
    return kept
