"""What `benchmarks.faults` interrupts: five activities on a small data set, each with a beginning, a restart, and a
fingerprint of its result. Every function here runs in a process of its own that may be killed at any moment.

The same call begins and restarts an activity: it looks at what is there, as a person or the app would.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mspc_core import atomic, cli, home, jobs, runs, work
from mspc_core.data import store

ACTIVITIES = ("import", "training", "scan", "export", "review")
CLASSES = ("circle", "square", "star", "wave")
DATA, RUN = "world", "the-scan"
FORMATS = ("folder", "zip", "hf", "csv", "parquet", "fiftyone")
_CHANGES = {"seconds", "created", "finished", "started", "folder", "versions"}  # times, and names with times in them
_NOT_RANDOM = 20261125


@dataclass(frozen=True)
class World:
    """images: of `size` pixels, a quarter of them for testing. decisions: steps of the review."""

    images: int = 240
    size: int = 32
    epochs: int = 2
    detectors: str = "spc,mixture,spectral_signatures"
    decisions: int = 300


def make_source(folder: Path, world: World) -> None:
    """A folder of PNG files in four classes; every eighth training image is labelled star and has a white corner."""
    from PIL import Image

    generator = np.random.default_rng(_NOT_RANDOM)
    for number in range(world.images):
        split, kind = ("test" if number % 4 == 3 else "train"), number // 4 % len(CLASSES)
        image = generator.integers(0, 110, (world.size, world.size, 3), dtype=np.uint8)
        image[..., kind % 3] += 70
        image[:: 2 + kind] //= 2
        if split == "train" and number % 8 == 0:
            image[-4:, -4:] = 255
            kind = 2
        place = folder / split / CLASSES[kind] / f"{number:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)


def begin(activity: str, case: dict[str, Any], world: World) -> dict[str, Any]:
    """Start the activity, or go on with it. Returns what the program said: exit status, state, sentence."""
    return _BEGIN[activity](case, world)


def _import(case: dict[str, Any], world: World) -> dict[str, Any]:
    folders = jobs.folders_in(home.imports_folder())
    before = jobs.read_status(folders[0]) if folders else None
    wanted = {"kind": "import", "source": case["source"], "name": DATA, "size": world.size}
    folder = folders[0] if folders else jobs.create(home.imports_folder(), wanted, DATA)
    return _job(folder, before)


def _export(case: dict[str, Any], world: World) -> dict[str, Any]:
    from mspc_core.export.config import ExportConfig

    folders = jobs.folders_in(home.exports_folder())
    before = jobs.read_status(folders[0]) if folders else None
    config = ExportConfig(run=RUN, format=case["format"], out=case["target"])
    folder = folders[0] if folders else jobs.create(home.exports_folder(), config.as_json(), "export")
    return _job(folder, before)


def _job(folder: Path, before: jobs.JobStatus | None) -> dict[str, Any]:
    status = work.work_on(folder)
    return {
        "exit": cli._status_code(status.state),
        "before": before.state if before else "not begun",
        "state": status.state,
        "said": status.error or status.message,
    }


def _scan(case: dict[str, Any], world: World) -> dict[str, Any]:
    folder = home.runs_folder() / RUN
    options = ["--detectors", world.detectors, "--epochs", str(world.epochs), "--device", "cpu", "--out", str(folder)]
    return _command(folder, ["scan", DATA, *options])


def _training(case: dict[str, Any], world: World) -> dict[str, Any]:
    """Training again without every ninth image, twice as long as the scan trained."""
    from mspc_core.retrain.config import list_retrainings

    run = runs.open_run(RUN)
    found = list_retrainings(run)
    if found:
        return _command(found[0].folder, ["resume", str(found[0].folder)])
    listed = Path(case["source"]).with_name("drop.txt")  # one place for all: it is part of the result
    listed.write_text("\n".join(run.scores()["sample_id"].tolist()[::9]) + "\n")
    return _command(None, ["retrain", RUN, "--drop", f"file:{listed}", "--seeds", "0,1", "--device", "cpu"])


def _command(folder: Path | None, arguments: list[str]) -> dict[str, Any]:
    there = folder is not None and (folder / "config.json").is_file()
    before = jobs.read_status(folder).state if there and folder is not None else "not begun"
    code = cli.main(arguments)
    return {"exit": code, "before": before, "state": "finished" if code == 0 else "failed", "said": ""}


def _review(case: dict[str, Any], world: World) -> dict[str, Any]:
    """Decisions and undoings of two people in an order that the seed gives. After each one that is on disk its number
    is written down; what was written down must never be missing."""
    from mspc_core.reviews.store import DECISIONS, ReviewStore

    reviews = ReviewStore()
    entries = reviews.history(RUN)
    ids = runs.open_run(RUN).scores()["sample_id"].tolist()
    done = _steps_of(entries)
    chosen = random.Random(_NOT_RANDOM)
    with (Path(case["folder"]) / "told.txt").open("ab", buffering=0) as told:
        for number in range(world.decisions):
            reviewer = chosen.choice(["ada", "ben"])
            some = chosen.sample(ids, 1 + number % 3)
            decision, undo = chosen.choice(DECISIONS), number % 10 == 9
            if number < done:
                continue
            if undo:
                reviews.undo(RUN, "ada" if number % 20 == 9 else "ben")
            else:
                reviews.decide(RUN, some, decision, reviewer, evidence=["{}"] * len(some))
            told.write(f"{number + 1}\n".encode())
    return {"exit": 0, "before": f"{done} decisions", "state": "finished", "said": ""}


def _steps_of(entries: list[Any]) -> int:
    return max((entry.step for entry in entries), default=0)


_BEGIN = {"import": _import, "training": _training, "scan": _scan, "export": _export, "review": _review}


def look(activity: str, case: dict[str, Any], world: World) -> dict[str, Any]:
    """Read all that a killed process left, as the pages do. Raises where half of something passes for the whole."""
    for info in store.list_datasets():
        dataset = store.open_dataset(info.name)
        assert len(dataset.manifest) == info.count == world.images, "a data set that lacks images"
        assert int(dataset.pixels.astype(np.int64).sum()) > 0
    for run in runs.list_runs():
        run.config()
        run.masks()
        summary, status = run.summary(), run.status()
        assert status.state in ("interrupted", "finished", "queued"), f"a dead job is {status.state}"
        if run.has_scores():
            scores = run.scores()
            assert scores["sample_id"].is_unique
            if summary.get("complete"):
                assert "suspect" in scores, "complete, and without suspects"
                assert set(summary["detectors"]) <= {str(name)[:-6] for name in scores if str(name).endswith("_score")}
    if activity == "export" and os.path.lexists(case["target"]):
        _check_whole(Path(case["target"]), case["format"])
    found: dict[str, Any] = {"stage": _stage(activity)}
    if activity == "review":
        from mspc_core.reviews.store import ReviewStore

        lines = (Path(case["folder"]) / "told.txt").read_bytes().splitlines()
        told = int(lines[-1]) if lines else 0  # the one at the moment of an earlier kill may be missing in between
        kept = _steps_of(ReviewStore().history(RUN))
        assert told <= kept <= told + 1, f"{told} decisions were confirmed and {kept} are kept"
        found |= {"confirmed": told, "kept": kept}
    return found


def _stage(activity: str) -> str:
    places = {"import": "imports/*", "export": "exports/*", "scan": f"runs/{RUN}", "training": "runs/*/retrains/*"}
    for folder in home.home().glob(places.get(activity, "no/such")):
        try:
            raw = atomic.read_json(folder / "status.json")
            return f"{raw['stage'] or raw['state']}: {raw['message']}"
        except FileNotFoundError:
            return "making the job"
    return "deciding" if activity == "review" else "not begun"


def _check_whole(target: Path, kind: str) -> None:
    """The checksums beside the images, or that a table can be read to its end."""
    import pandas as pd

    if kind == "zip":
        with zipfile.ZipFile(target) as archive:
            assert archive.testzip() is None
    elif target.is_dir():
        for line in (target / "checksums.sha256").read_text().splitlines():
            digest, _, name = line.partition("  ")
            assert hashlib.sha256((target / name).read_bytes()).hexdigest() == digest, f"half of {name}"
    else:
        rows = len(pd.read_csv(target) if kind == "csv" else pd.read_parquet(target))
        assert rows == len(runs.open_run(RUN).scores()), "a table that lacks rows"


def fingerprint(activity: str, case: dict[str, Any], world: World) -> str:
    """sha256 over the result, byte by byte; only times and the names of job folders are left out."""
    digest = hashlib.sha256()
    for name, content in sorted(_result(activity, case).items()):
        digest.update(f"{name}:{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _result(activity: str, case: dict[str, Any]) -> dict[str, bytes]:
    if activity == "review":
        from mspc_core.reviews.store import ReviewStore

        reviews = ReviewStore()
        entries = [(e.sample_id, e.decision, e.reviewer, e.step, e.undoes) for e in reviews.history(RUN)]
        return {"history": repr(entries).encode(), "current": repr(sorted(reviews.current(RUN).items())).encode()}
    root = {
        "import": home.datasets_folder() / DATA,
        "scan": home.runs_folder() / RUN,
        "training": next(iter((home.runs_folder() / RUN).glob("retrains/*")), Path("missing")),
        "export": Path(case.get("target", "")),
    }[activity]
    if root.is_file():
        return _members(root)
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    skipped = {"log.txt", "status.json", ".lock", "config.json"}
    return {name: _content(path) for name, path in found.items() if Path(name).name not in skipped}


def _members(path: Path) -> dict[str, bytes]:
    if path.suffix != ".zip":
        return {"table": path.read_bytes()}
    with zipfile.ZipFile(path) as archive:
        return {name: _plain(name, archive.read(name)) for name in archive.namelist()}


def _content(path: Path) -> bytes:
    if path.suffix == ".npz":  # a zip holds the time of writing
        with np.load(path, allow_pickle=False) as stored:
            return b"".join(
                f"{key}{stored[key].dtype}{stored[key].shape}".encode() + stored[key].tobytes() for key in stored
            )
    return _plain(path.name, path.read_bytes())


def _plain(name: str, content: bytes) -> bytes:
    """Without times; checksums without the line of the file that holds a time."""
    if name.endswith(".json"):
        return json.dumps(_without_times(json.loads(content)), sort_keys=True).encode()
    if name.endswith("checksums.sha256"):
        return b"\n".join(line for line in content.splitlines() if not line.endswith(b"  export.json"))
    if name.endswith("selection.csv"):
        return repr(list(csv.reader(io.StringIO(content.decode())))).encode()
    return content


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(found) for key, found in value.items() if key not in _CHANGES}
    return [_without_times(found) for found in value] if isinstance(value, list) else value
