"""Time and memory of every default detector against the number of images, their size, classes and scales; and how far
`scan --estimate` is off.

python -m benchmarks.costs [--turns 3] [--part all|curves|estimates]

Process CPU time of one thread (OMP_NUM_THREADS=1), because wall time of a shared machine would be that of the others'
work; settings take turns, and the median of the turns counts. Every estimate and every scan that it is compared with
has a process of its own. Writes benchmarks/results/costs.json, the tables of docs/performance.md and the plot
docs/images/costs.svg (`python -m benchmarks.costs_plot` draws it again from the result).
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import costs_curves, costs_data, costs_plot, costs_table
from benchmarks.common import machine, use_home
from mspc_core import atomic, home, runs

# (images, side, classes)
CHECKED = [(400, 16, 4), (1600, 16, 10), (400, 16, 40), (400, 32, 10), (1200, 32, 10), (300, 48, 6)]
EPOCHS = 8
_LOOK_EVERY = 0.02  # seconds
_Found = TypeVar("_Found")


def estimates(turns: int) -> list[dict[str, Any]]:
    """Estimated and real CPU seconds of scans by stage, from the model on, and peaks of memory that only the process
    can give back."""
    found: list[dict[str, Any]] = []
    for turn in range(turns):
        for count, side, classes in CHECKED:
            name = f"checked-{count}-{side}-{classes}-{turn}"
            dataset = costs_data.dataset(name, count, side, classes)
            config = runs.ScanConfig(source=name, dataset=name, size=side, epochs=EPOCHS, device="cpu")
            expected = in_new_process(_estimated, config)
            run = runs.create_run(config)
            real = in_new_process(_scanned, run.folder)
            records = run.summary()["detectors"]
            told = {stage["name"]: stage for stage in expected["stages"] if stage["name"] != "data"}
            took = {name: real["seconds"][name] for name in told}
            whole, in_all = sum(stage["seconds"] for stage in told.values()), sum(took.values())
            found.append(
                {
                    "images": count,
                    "image_size": side,
                    "classes": classes,
                    "estimated_seconds": round(whole, 2),
                    "real_seconds": round(in_all, 2),
                    "error": round(whole / in_all - 1, 3),
                    "estimated_anonymous_mib": expected["memory_mib"]["anonymous"],
                    "real_anonymous_mib": real["anonymous_mib"],
                    "memory_error": round(expected["memory_mib"]["anonymous"] / real["anonymous_mib"] - 1, 3),
                    "stages": {
                        name: {
                            "estimated_seconds": round(stage["seconds"], 2),
                            "real_seconds": round(took[name], 2),
                            "estimated_equivalents": stage["forward_equivalents"],
                            "real_equivalents": records.get(name, {}).get("forward_equivalents"),
                        }
                        for name, stage in told.items()
                    },
                }
            )
            shutil.rmtree(dataset.root)
            shutil.rmtree(run.folder)
            print(found[-1], flush=True)
    return found


def in_new_process(work: Callable[..., _Found], *arguments: Any) -> _Found:
    """What `work` returns in a fresh Python, with nothing loaded and no memory used before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _estimated(config: runs.ScanConfig) -> dict[str, Any]:
    from mspc_core.data.store import open_dataset
    from mspc_core.estimating.estimate import estimate

    return estimate(config, open_dataset(config.dataset), time.process_time).as_json()


def _scanned(folder: Path) -> dict[str, Any]:
    """CPU seconds of each stage of a scan, and its peak of anonymous memory."""
    from mspc_core.job_status import JobStatus
    from mspc_core.work import work_on

    begun: list[tuple[str, float]] = []

    def on_progress(status: JobStatus) -> None:
        if status.stage and (not begun or begun[-1][0] != status.stage):
            begun.append((status.stage, time.process_time()))

    with _peak() as peak:
        status = work_on(folder, on_progress)
    if status.state != "finished":
        raise SystemExit(f"{status.state}: {status.error}")
    ends = [*(at for _, at in begun[1:]), time.process_time()]
    return {
        "seconds": {name: end - at for (name, at), end in zip(begun, ends, strict=True)},
        "anonymous_mib": round(max(peak) / 2**20),
    }


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Anonymous bytes of this process, looked at several times a second."""
    from mspc_core.estimating.prices import resident

    found, done = [resident()[0]], threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_EVERY):
            found.append(resident()[0])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--part", choices=("all", "curves", "estimates"), default="all")
    parser.add_argument("--out", type=Path, default=costs_table.RESULT)
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    load = os.getloadavg()[0]
    use_home(Path(tempfile.mkdtemp(prefix="costs-")))
    before = atomic.read_json(out) if arguments.part != "all" and out.is_file() else {}
    result: dict[str, Any] = {part: before[part] for part in ("estimates", "curves") if "found" in before.get(part, ())}
    about = {
        "command": f"python -m benchmarks.costs --turns {arguments.turns} --part {arguments.part}",
        "machine": machine(),
        "versions": runs.versions(),
        "seed": 0,
        "turns": arguments.turns,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "unit": "CPU seconds of the process (memory: MiB)",
    }
    for part, work in (("estimates", estimates), ("curves", costs_curves.measured)):
        if arguments.part in ("all", part):
            found = work(arguments.turns)
            about["machine"] = {**machine(), "load_at_start_and_end": [round(load, 1), round(os.getloadavg()[0], 1)]}
            result[part] = {**about, "found": found}
    shutil.rmtree(home.home(), ignore_errors=True)
    atomic.write_json(out, result)
    if arguments.out == costs_table.RESULT and len(result) == 2:
        costs_table.write(result)
        costs_plot.write(result)


if __name__ == "__main__":
    main()
