"""Runs the cells of the comparison in processes of their own and gathers their rows in one result file.

An interrupted comparison goes on where it was when the same command is given again.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mspc_core import atomic, home
from mspc_core.bench.plan import Cell, Setting, in_order
from mspc_core.bench.work import Task, finished_row
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import EXIT_CANCELLED, InputError, Progress

_STOP_WITHIN = 30.0  # seconds that a cell has to stop when the comparison is interrupted


@contextmanager
def home_at(folder: Path) -> Iterator[None]:
    """Keep data sets and runs in `folder` inside the block."""
    before = os.environ.get("BACKDOOR_LENS_HOME")
    os.environ["BACKDOOR_LENS_HOME"] = str(folder.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ["BACKDOOR_LENS_HOME"]
        else:
            os.environ["BACKDOOR_LENS_HOME"] = before


def open_source(source: str, size: int, progress: Progress | None = None) -> Dataset:
    """The whole clean data set: a stored one by its name, or anything an import takes. Raises `InputError`."""
    if "/" not in source and (home.datasets_folder() / source / "dataset.json").is_file():
        dataset = open_dataset(source)
    else:
        from mspc_core.data.importing import import_source

        dataset = import_source(source, size=size, progress=progress).dataset
    if dataset.has_truth:
        raise InputError(f"{dataset.info.name!r} is a poisoned data set already: the comparison needs a clean one.")
    if not len(dataset.indices("test")) or not len(dataset.indices("train")):
        raise InputError(f"{dataset.info.name!r} needs a training and a test split to measure attacks.")
    return dataset


def subset(whole: Dataset, setting: Setting, seed: int) -> Dataset:
    """Random training images, drawn with the seed, and the first test images, as a stored set of their own."""
    train, test = whole.indices("train"), whole.indices("test")
    key = whole.info.content_key[:8]
    name = f"{whole.info.name[:40].rstrip('-._')}-{min(setting.train, len(train))}-s{seed}-{key}"
    if (home.datasets_folder() / name).is_dir():
        return open_dataset(name)
    chosen = np.random.default_rng([seed, 3]).permutation(train)[: setting.train]
    rows = np.concatenate([np.sort(chosen), test[: setting.test]])
    source = f"{whole.info.name}, seed {seed}"
    with DatasetWriter(name, size=whole.info.size, classes=whole.info.classes, kind="subset", source=source) as writer:
        for number, entry in zip(rows, whole.manifest.iloc[rows].to_dict("records"), strict=True):
            writer.add(
                whole.pixels[number],
                identity=entry["sample_id"],
                path=entry["path"],
                label=entry["label"],
                split=entry["split"],
            )
        return writer.commit(source_key=f"{whole.info.content_key}:{name}")


def cell_folder(task: Task, content_key: str) -> Path:
    """Where a cell is computed: the name tells cell and seed, the digest everything that changes its model."""
    about = task.as_json()
    about = {"cell": about["cell"] | {"half": "", "groups": []}, "setting": about["setting"], "data": content_key}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
    return home.home() / "cells" / f"{home.name_from(task.cell.name)}-s{task.seed}-{digest}"


def prepare(task: Task, content_key: str, redo: Sequence[str] = ()) -> Path:
    """The folder of a task, with its task.json. redo: detectors (or "verdict") whose finished stage is thrown away."""
    folder = cell_folder(task, content_key)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / "task.json", task.as_json())
    for name in redo:
        (folder / "runs" / "scan" / "stages" / f"{name}.json").unlink(missing_ok=True)
        (folder / "cell.json").unlink(missing_ok=True)
    return folder


def run_cells(folders: Sequence[Path], jobs: int, ended: Callable[[Path, str], None]) -> None:
    """Compute the cells, `jobs` at a time; `ended(folder, problem)` is called after each ("" for none).

    With several jobs each has one thread. Interrupting stops them all; what they finished is kept.
    """
    waiting, running = deque(folders), dict[Path, subprocess.Popen[bytes]]()
    with _terminable():
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    folder = waiting.popleft()
                    running[folder] = _start(folder, one_thread=jobs > 1)
                time.sleep(0.1)
                for folder, process in list(running.items()):
                    if process.poll() is not None:
                        del running[folder]
                        if process.returncode == EXIT_CANCELLED:
                            raise KeyboardInterrupt
                        ended(folder, "" if process.returncode == 0 else _last_words(folder, process.returncode))
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                try:
                    process.wait(_STOP_WITHIN)
                except subprocess.TimeoutExpired:
                    process.kill()


def gather(
    path: Path,
    about: dict[str, Any],
    cells: Sequence[Cell],
    seeds: Sequence[int],
    tasks: dict[Path, Task],
    *,
    add: bool = False,
) -> dict[str, Any]:
    """Write the result file: the finished rows of these tasks, and those that it held of other cells and seeds.

    add: a row that the file holds keeps all it has, and gets the detectors that it lacks; about["failed"] says where
    that cannot be, because the models differ.
    """
    result: dict[str, Any] = {**about, "cells": []}
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    if path.is_file():
        before = atomic.read_json(path)
        check_same(path, before, about)
        rows = {(row["cell"], row["seed"]): row for row in before["cells"]}
        if add:
            result |= {key: before[key] for key in ("command", "versions") if key in before}
    for folder, task in tasks.items():
        row, key = finished_row(folder), (task.cell.name, task.seed)
        if row is None:
            continue
        if not add or key not in rows:
            rows[key] = row
        elif same_model(rows[key], row):
            rows[key] = joined(rows[key], row)
        else:
            about["failed"][f"{key[0]}, seed {key[1]}"] = (
                "not added: the model trained here is not the one of the result file"
            )
    places = {(cell.name, seed): number for number, (cell, seed) in enumerate(in_order(cells, seeds))}
    now = {cell.name: {"half": cell.half, "groups": list(cell.groups)} for cell in cells}
    rows = {key: row | now.get(row["cell"], {}) for key, row in rows.items()}  # as the plan says today
    result["cells"] = [rows[key] for key in sorted(rows, key=lambda key: (places.get(key, len(places)), key))]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, result)
    return result


def same_model(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Were these rows measured with the same model on the same data, as far as their figures tell? Training is
    repeated to the last bit on the same kind of machine; a model that differs has another accuracy somewhere."""
    keys = ("attack", "config", "rate", "seed", "arch", "epochs", "scanned", "poisoned")
    return all(one[key] == other[key] for key in (*keys, "train_accuracy", "accuracy", "attack_success_rate"))


def joined(before: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """`before`, with the detectors of `row` that it lacks; its verdict and its cleaning stay."""
    asked = [*before["asked"], *(name for name in row["asked"] if name not in before["asked"])]
    detectors = {**before["detectors"], **{k: v for k, v in row["detectors"].items() if k not in before["detectors"]}}
    not_run = {name: why for name, why in (row["not_run"] | before["not_run"]).items() if name not in detectors}
    return {**before, "asked": asked, "detectors": detectors, "not_run": not_run}


def check_same(path: Path, before: dict[str, Any], about: dict[str, Any]) -> None:
    """Raises `InputError` if a result file is of another setting or other data."""
    if (before.get("setting"), before.get("data")) != (about["setting"], about["data"]):
        raise InputError(f"{path} holds results of another setting or other data: choose another --out.")


def _start(folder: Path, *, one_thread: bool) -> subprocess.Popen[bytes]:
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "BACKDOOR_LENS_HOME": str(folder)}
    if one_thread:
        environment["OMP_NUM_THREADS"] = "1"
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mspc_core", "bench", "cell", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
        )


def _last_words(folder: Path, status: int) -> str:
    """Why a cell failed: the last line it wrote."""
    lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"its process ended with status {status}"


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that no cell is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
