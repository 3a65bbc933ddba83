"""Time of a scan against the number of images, their size, classes and scales; and how far `scan --estimate` is off.

python -m benchmarks.costs [--turns 3]

Process CPU time of one thread (OMP_NUM_THREADS=1), because wall time of a shared machine would be that of the others'
work; settings take turns, and the median of the turns counts. Writes benchmarks/results/costs.json and the tables of
docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import markdown
from benchmarks.common import machine, use_home
from benchmarks.out_of_core import build
from mspc_core import atomic, home, runs

RESULT, PAGE = Path("benchmarks/results/costs.json"), Path("docs/performance.md")
# what varies → (images, side, classes, scales)
CURVES: dict[str, list[tuple[int, int, int, int]]] = {
    "images": [(250, 32, 10, 11), (500, 32, 10, 11), (1000, 32, 10, 11)],
    "image_size": [(200, 16, 10, 11), (200, 32, 10, 11), (200, 64, 10, 11)],
    "classes": [(500, 32, 2, 11), (500, 32, 10, 11), (500, 32, 50, 11)],
    "scales": [(500, 32, 10, 3), (500, 32, 10, 6), (500, 32, 10, 11)],
}
COLUMN = {"images": 0, "image_size": 1, "classes": 2, "scales": 3}
CHECKED = [(400, 16, 4), (800, 16, 4), (400, 32, 4), (400, 32, 12)]
DETECTORS = ("spc", "mixture", "pattern", "strip", "abl")


def curves(turns: int) -> dict[str, Any]:
    """Median CPU seconds of SPC and of the mixture at every point of every curve, and fits."""
    import torch

    from mspc_core.detectors import create
    from mspc_core.detectors.base import SCALES
    from mspc_core.detectors.spc import SPCConfig
    from mspc_core.models.zoo import ModelSpec, build_model

    points = list(dict.fromkeys(point for curve in CURVES.values() for point in curve))
    times: dict[tuple[tuple[int, int, int, int], str], list[float]] = {}
    for turn in range(turns + 1):  # the first warms up
        for count, side, classes, scales in points:
            generator = np.random.default_rng(0)
            images = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
            torch.manual_seed(0)
            model = build_model(ModelSpec("small-cnn", classes, side)).eval()
            for kind, config in (("spc", SPCConfig(scales=SCALES[:scales])), ("mixture", None)):
                detector = create(kind, config)
                begun = time.process_time()
                detector.fit(model, images, labels=np.arange(count) % classes)
                if turn:
                    times.setdefault(((count, side, classes, scales), kind), []).append(time.process_time() - begun)
    found: dict[str, Any] = {}
    for name, curve in CURVES.items():
        values = [point[COLUMN[name]] for point in curve]
        found[name] = {"values": values}
        for kind in ("spc", "mixture"):
            seconds = [statistics.median(times[point, kind]) for point in curve]
            slope, start = np.polyfit(values, seconds, 1)
            power = np.polyfit(np.log(values), np.log(seconds), 1)[0]
            found[name][kind] = {
                "seconds": [round(value, 4) for value in seconds],
                "linear": {"start": float(start), "slope": float(slope)},
                "power": round(float(power), 3),
            }
    return found


def estimates() -> list[dict[str, Any]]:
    """Estimated and real CPU seconds of scans, from the model's stage on, and memory."""
    from mspc_core.estimating.estimate import estimate
    from mspc_core.estimating.prices import resident
    from mspc_core.work import work_on

    found = []
    for count, side, classes in CHECKED:
        dataset = build(f"checked-{count}-{side}-{classes}", count, side, classes)
        config = runs.ScanConfig(
            source=dataset.info.name, dataset=dataset.info.name, size=side, epochs=4, detectors=DETECTORS, device="cpu"
        )
        expected = estimate(config, dataset, time.process_time)
        run = runs.create_run(config)
        begun = time.process_time()
        status = work_on(run.folder)
        real = time.process_time() - begun
        if status.state != "finished":
            raise SystemExit(f"{status.state}: {status.error}")
        told = sum(stage.seconds for stage in expected.stages if stage.name != "data")
        counted = {name: record["forward_equivalents"] for name, record in run.summary()["detectors"].items()}
        found.append(
            {
                "images": count,
                "image_size": side,
                "classes": classes,
                "estimated_seconds": round(told, 2),
                "real_seconds": round(real, 2),
                "error": round(told / real - 1, 3),
                "estimated_anonymous_mib": expected.memory_mib["anonymous"],
                "real_anonymous_mib": round(resident()[0] / 2**20),
                "estimated_equivalents": {s.name: s.forward_equivalents for s in expected.stages if s.name in counted},
                "real_equivalents": counted,
            }
        )
        print(found[-1], flush=True)
    return found


def tables(result: dict[str, Any]) -> str:
    """Markdown: the curves with their fits, then estimates beside what the scans took."""
    load = result["machine"]["load_at_start_and_end"]
    lines = [
        f"`{result['command']}`",
        "",
        f"CPU seconds of one thread, median of {result['turns']} turns, on a machine shared with other work (load "
        f"average {load[0]:g} to {load[1]:g}): small CNN, torch {result['versions']['torch']}. *Power* is the exponent "
        "of the best fit: 1 is in proportion, 2 is with the square.",
        "",
        *markdown.head(["what grows", "values", "SPC", "power", "feature mixture", "power"]),
    ]
    for name, curve in result["curves"].items():
        cells = [name.replace("_", " "), ", ".join(f"{value:,}" for value in curve["values"])]
        for detector in ("spc", "mixture"):
            cells += [
                ", ".join(f"{value:.2f}" for value in curve[detector]["seconds"]),
                f"{curve[detector]['power']:.2f}",
            ]
        lines.append(markdown.row(cells))
    lines += [
        "",
        *markdown.head(["images", "size", "classes", "estimated", "took", "error", "memory estimated", "memory took"]),
    ]
    for entry in result["estimates"]:
        cells = [f"{entry['images']:,}", f"{entry['image_size']} px", str(entry["classes"])]
        cells += [f"{entry['estimated_seconds']:.1f} s", f"{entry['real_seconds']:.1f} s", f"{entry['error']:+.0%}"]
        cells += [f"{entry['estimated_anonymous_mib']:,} MiB", f"{entry['real_anonymous_mib']:,} MiB"]
        lines.append(markdown.row(cells))
    return "\n".join(lines)


def filled(page: str, result: dict[str, Any]) -> str:
    """The page with its tables replaced."""
    return markdown.filled(page, "costs", tables(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="costs-"))
    use_home(folder)
    load = os.getloadavg()[0]
    result: dict[str, Any] = {
        "command": "python -m benchmarks.costs " + " ".join(sys.argv[1:]),
        "machine": machine(),
        "versions": runs.versions(),
        "seed": 0,
        "turns": arguments.turns,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "unit": "CPU seconds of the process (memory: MiB)",
    }
    result["estimates"] = estimates()
    result["curves"] = curves(arguments.turns)
    result["machine"]["load_at_start_and_end"] = [round(load, 1), round(os.getloadavg()[0], 1)]
    shutil.rmtree(home.home(), ignore_errors=True)
    atomic.write_json(arguments.out.absolute(), result)
    if arguments.out == RESULT:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()
