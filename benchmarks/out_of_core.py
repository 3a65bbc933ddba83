"""What a scan keeps in memory when its pixels are far larger: measured on a store made up for it.

python -m benchmarks.out_of_core [--gib 20] [--limit-gib 2] [--home FOLDER]

A store of the asked size (or what half of the free disk holds) is written, a short model is trained for one epoch and
the store is scanned with it, in a process of its own. Meanwhile its memory is read from /proc, several times a second:
anonymous memory, which only the process can give back, and mapped pages of files, which the system takes back when it
needs room; at its end the system's own record of the largest resident size counts, which misses no moment. Nothing
enforces the limit: what is resident is compared with it. Detectors that train models of their own for many epochs are
measured on a smaller store, with their epochs reduced: memory does not depend on these. Written to
benchmarks/results/out_of_core.json, with its table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import out_of_core_table
from benchmarks.common import machine, stored, use_home
from mspc_core import atomic, home, runs
from mspc_core.data.store import Dataset, open_dataset

SIZE, CLASSES, BLOCK = 224, 10, 500
LARGE = ("mixture", "spectral_signatures", "pattern", "transplant", "spc", "mspc")  # the cheapest first
HEAVY = ("second_opinion", "sdfct", "flare", "abl")
_LINES = (("anonymous", "RssAnon"), ("file", "RssFile"), ("resident", "VmRSS"), ("largest", "VmHWM"))


def build(name: str, count: int, size: int = SIZE, classes: int = CLASSES) -> Dataset:
    """uint8 images that differ: blots of colour of their class and noise; a few hundred, turned about to make more."""
    folder = home.datasets_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 200, (classes, 7, 7, 3), dtype=np.uint8)
    side = -(-size // 7)
    each = coarse.repeat(side, axis=1).repeat(side, axis=2)[:, :size, :size]
    block = each[np.arange(BLOCK) % classes] + generator.integers(0, 50, (BLOCK, size, size, 3), dtype=np.uint8)
    with (folder / "pixels.u8").open("wb") as handle:
        for start in range(0, count, BLOCK):
            handle.write(np.roll(block[: count - start], start // BLOCK, axis=2).tobytes())
    number = np.arange(count)
    manifest = pd.DataFrame(
        {
            "sample_id": [f"{n:016x}" for n in number],
            "path": [f"{n % classes}/{n:07d}.png" for n in number],
            "label": (number % classes).astype(np.int32),
            "split": np.full(count, "train"),
            "width": np.full(count, size, np.int32),
            "height": np.full(count, size, np.int32),
            "mode": np.full(count, "RGB"),
        }
    )
    return stored(folder, manifest, classes=list(map(str, range(classes))), size=size)


def short_model() -> Any:
    """A network that looks at every pixel of a large image in well under a millisecond; 512 features, as ResNet-18."""
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(3, 32, 16, stride=16, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 512, 1, bias=False), nn.BatchNorm2d(512), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES)),
    )


def work(name: str, detectors: tuple[str, ...]) -> None:
    """The measured process: one epoch of training, then the scan."""
    import torch

    from mspc_core.detectors import abl, opinion, sdfct, second_opinion
    from mspc_core.engine.device import choose_threads
    from mspc_core.engine.rows import mapped_pages_given_back, watch
    from mspc_core.given import wrap
    from mspc_core.models.train import TrainConfig, train_model
    from mspc_core.work import work_on

    # Memory does not depend on the number of epochs, time does.
    short = opinion.Blinding(first_epochs=1, epochs=1)
    second_opinion.SecondOpinion.__init__.__defaults__ = (second_opinion.SecondOpinionConfig(blinding=short),)
    sdfct.SDFCT.__init__.__defaults__ = (sdfct.SDFCTConfig(epochs=1, transformations=1),)
    abl.ABL.__init__.__defaults__ = (abl.ABLConfig(epochs=1),)
    choose_threads()
    dataset = open_dataset(name)
    labels = dataset.manifest["label"].to_numpy().astype(np.int64)
    torch.manual_seed(0)
    module = short_model().to(memory_format=torch.channels_last)
    with mapped_pages_given_back():
        watch(dataset.pixels)
        print("stage: training", flush=True)
        train_model(module, dataset.pixels, labels, TrainConfig(epochs=1, batch_size=64, peak_lr=0.05))
    config = runs.ScanConfig(source=name, dataset=name, size=dataset.info.size, arch="short", detectors=detectors)
    run = runs.create_run(config, home.runs_folder() / f"{name}-scan")
    print(f"stage: scan in {run.folder}", flush=True)
    status = work_on(run.folder, given=wrap(module, "none", "", dataset))
    if status.state != "finished":
        raise SystemExit(f"{status.state}: {status.error}")


def measure(name: str, detectors: tuple[str, ...], most: float, limit: float) -> dict[str, Any]:
    """Run `work` in a process of its own, for `most` seconds; peaks of memory in MiB, over all and by stage. limit: MiB
    of resident memory."""
    command = [sys.executable, "-m", "benchmarks.out_of_core", "--work", name, ",".join(detectors)]
    begun = time.monotonic()
    log = home.home() / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        peaks: dict[str, dict[str, float]] = {}
        samples, stopped = 0, False
        while process.poll() is None:
            if time.monotonic() - begun > most:
                stopped = True
                process.kill()
                process.wait()
                break
            found = memory_of(process.pid)
            for stage in ("all", _stage(name)):
                peak = peaks.setdefault(stage, dict.fromkeys(found, 0.0))
                peaks[stage] = {key: max(value, found.get(key, 0.0)) for key, value in peak.items()}
            samples += 1
            time.sleep(0.1)
    if process.returncode and not stopped:
        raise SystemExit(log.read_text()[-2000:])
    stages = home.runs_folder() / f"{name}-scan" / "stages"
    finished = [each for each in detectors if (stages / f"{each}.json").is_file()]
    rounded = {stage: {key: round(value, 1) for key, value in peak.items()} for stage, peak in peaks.items()}
    return {
        "detectors": list(detectors),
        "stopped_early": stopped,
        "finished": finished,
        "peak_mib": rounded.pop("all"),
        "peak_mib_by_stage": rounded,
        "within_limit": max(peaks["all"]["resident"], peaks["all"]["largest"]) <= limit,
        "seconds": round(time.monotonic() - begun, 1),
        "samples_of_memory": samples,
    }


def memory_of(pid: int) -> dict[str, float]:
    """MiB of a process and its children: anonymous, mapped files, and their sum; and the largest that this sum has been
    at any moment, as the system remembers it for each."""
    found = {"anonymous": 0.0, "file": 0.0, "resident": 0.0, "largest": 0.0}
    try:
        pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:
        pids = [pid]
    for each in pids:
        try:
            text = Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue
        for key, name in _LINES:
            if match := re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE):
                found[key] += int(match[1]) / 1024
    return found


def _stage(name: str) -> str:
    try:
        stage: str = atomic.read_json(home.runs_folder() / f"{name}-scan" / "status.json")["stage"]
    except (OSError, ValueError):
        return "training"
    return stage or "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=20.0, help="size of the large store")
    parser.add_argument("--limit-gib", type=float, default=2.0, help="of resident memory, that the scan should keep to")
    parser.add_argument("--heavy-gib", type=float, default=0.6, help="size of the store for detectors that train")
    parser.add_argument("--minutes", type=float, default=60.0, help="for the large store; what was reached is reported")
    parser.add_argument("--heavy-minutes", type=float, default=15.0, help="the same for the other one")
    parser.add_argument("--home", type=Path, default=Path("out-of-core-home"))
    parser.add_argument("--out", type=Path, default=out_of_core_table.RESULT)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work[0], tuple(arguments.work[1].split(",")))
        return
    out = arguments.out.absolute()
    use_home(arguments.home)
    free = shutil.disk_usage(home.home()).free / 2**30
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.out_of_core --gib {arguments.gib:g} --limit-gib {arguments.limit_gib:g} "
        f"--minutes {arguments.minutes:g} --heavy-gib {arguments.heavy_gib:g} "
        f"--heavy-minutes {arguments.heavy_minutes:g}",
        "machine": {**machine(), "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)},
        "versions": runs.versions(),
        "seed": 0,
        "limit_mib": round(arguments.limit_gib * 1024),
    }
    load = os.getloadavg()[0]
    stores = (
        ("large", arguments.gib, LARGE, arguments.minutes),
        ("heavy", arguments.heavy_gib, HEAVY, arguments.heavy_minutes),
    )
    for kind, gib, detectors, minutes in stores:
        count = int(min(gib, free / 2) * 2**30 / (SIZE * SIZE * 3)) // CLASSES * CLASSES
        name = f"{kind}-{count}"
        dataset = build(name, count)
        about = {"images": count, "image_size": SIZE, "store_gib": round(dataset.pixels.nbytes / 2**30, 2)}
        result[kind] = {**about, **measure(name, detectors, 60 * minutes, result["limit_mib"])}
        shutil.rmtree(dataset.root)
        shutil.rmtree(home.runs_folder() / f"{name}-scan")
        result["machine"]["load_at_start_and_end"] = [round(load, 1), round(os.getloadavg()[0], 1)]
        atomic.write_json(out, result)
        print(kind, result[kind])
    if arguments.out == out_of_core_table.RESULT:
        out_of_core_table.write(result)


if __name__ == "__main__":
    main()
