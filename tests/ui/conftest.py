"""A home folder of its own for each test, and a small finished run made by hand (nothing is trained)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import atomic, jobs, runs
from mspc_core.data.store import Dataset, sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.runs import Run, ScanConfig

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = ("speed 30", "stop", "yield", "no entry")
COUNT, SIZE, TARGET = 60, 16, 2
TRIGGER = (slice(11, 15), slice(11, 15))
OLD_DEFAULT = ("spc", "mspc", "transplant")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder; review decisions go there too."""
    import streamlit as st

    folder = tmp_path / "home"
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(folder))
    monkeypatch.delenv("BACKDOOR_LENS_REVIEWS_URL", raising=False)
    st.cache_data.clear()
    st.cache_resource.clear()
    return folder


@pytest.fixture
def open_page() -> Callable[..., AppTest]:
    """open_page("scan", run=…) → the page as a browser would get it, through the router."""

    def opened(page: str = "home", **query: str) -> AppTest:
        at = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        at.run()
        return at if page == "home" else at.switch_page(f"pages/{page}.py").run()

    return opened


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Jobs are created but no process starts; holds the folders that would have been started."""
    started: list[Path] = []
    monkeypatch.setattr(jobs, "start", started.append)
    return started


def make_dataset(name: str = "tiny", classes: tuple[str, ...] = CLASSES, *, truth: bool = True) -> Dataset:
    """60 images of 16 px in 4 classes: 48 train (every 8th poisoned: a white square, labelled 2) and 12 test."""
    generator = np.random.default_rng(0)
    rows = []
    with DatasetWriter(name, size=SIZE, classes=classes, kind="folder", source=f"/data/{name}") as writer:
        for number in range(COUNT):
            original = number % len(classes)
            image = generator.integers(0, 120, (SIZE, SIZE, 3), dtype=np.uint8)
            image[..., original % 3] += 80
            poisoned = number < 48 and number % 8 == 0
            if poisoned:
                image[TRIGGER] = 255
            path = f"{classes[original]}/{number:03d}.png"
            identity = writer.add(
                image,
                identity=sample_id(path, image.tobytes()),
                path=path,
                label=TARGET if poisoned else original,
                split="train" if number < 48 else "test",
            )
            rows.append((identity, poisoned, original))
        writer.skip("stop/broken.png", "not an image file")
        writer.skip("=HYPERLINK(1).txt", "not an image file")
        writer.skip("yield/huge.png", "larger than 64 million pixels")
        table = pd.DataFrame(rows, columns=["sample_id", "is_backdoor", "original_label"])
        return writer.commit(source_key=f"test:{name}", truth=table if truth else None)


@pytest.fixture
def tiny_dataset() -> Dataset:
    return make_dataset()


@pytest.fixture
def tiny_run() -> Run:
    """A finished run from before the consensus: scores of three detectors, masks, summary, a model that loads."""
    return make_run(make_dataset())


@pytest.fixture
def new_run() -> Run:
    """The same as scans are now: with all tests of the verdict."""
    from tests.ui.consensus import add_consensus

    return add_consensus(make_run(make_dataset("new")))


def make_run(
    dataset: Dataset,
    *,
    more: tuple[str, ...] = (),
    not_run: dict[str, str] | None = None,
    recipe: dict[str, object] | None = None,
) -> Run:
    """The run folder of a finished scan of `make_dataset`'s images, written by hand.

    more: further detectors; the n-th of them flags the poisoned samples and every (n + 3)-th other one, with scores
    from 0 to 10 above a threshold of 5. not_run, recipe: as in summary.json.
    """
    asked = (*OLD_DEFAULT, *more, *(not_run or {}))
    config = ScanConfig(source=dataset.info.source, dataset=dataset.info.name, size=SIZE, detectors=asked)
    run = runs.create_run(config)
    scores = _scores(dataset)
    for number, name in enumerate(more):
        _add_detector(scores, name, number)
    run.save_scores(scores)
    run.save_masks(_masks(len(dataset.info.classes)))
    summary = _summary(dataset, scores)
    for name in more:
        record = _record(name, "its paper", 5.0, scores, name, {})
        summary["detectors"][name] = {**record, "notes": [f"A note of {name}."]}  # type: ignore[index]
    summary["dataset"]["recipe"] = recipe  # type: ignore[index]
    run.save_summary({**summary, "not_run": not_run or {}})
    _save_model(run.folder, dataset)
    set_status(run, "finished")
    (run.folder / "log.txt").write_text("stage: data\nfinished: Done.\n", encoding="utf-8")
    return run


def _add_detector(scores: pd.DataFrame, name: str, number: int) -> None:
    places = np.arange(len(scores))
    flagged = (places % 8 == 0) | (places % (number + 3) == 0)
    noise = np.random.default_rng(10 + number).random(len(scores))
    scores[f"{name}_score"] = np.where(flagged, 5.0 + 5.0 * np.maximum(noise, 0.01), 5.0 * noise)
    scores[f"{name}_flagged"] = flagged


def set_status(run: Run, state: str, **more: object) -> None:
    """Write status.json as a worker would have left it."""
    stages = ["data", "model", *run.config().detectors, "summary"]
    created = run.status().created
    progress = 1.0 if state == "finished" else 0.4
    stage = "summary" if state == "finished" else "model"
    status = jobs.JobStatus(state=state, stage=stage, stages=stages, progress=progress, created=created, pid=1)
    atomic.write_json(run.folder / "status.json", {**asdict(status), **more})


def _scores(dataset: Dataset) -> pd.DataFrame:
    truth = pd.read_parquet(dataset.root / "truth.parquet") if dataset.has_truth else None
    rows = dataset.indices("train")
    manifest = dataset.manifest.iloc[rows]
    poisoned = (rows % 8 == 0) & (truth is not None)
    generator = np.random.default_rng(1)
    noise = generator.random(len(rows))
    spc = np.round(np.where(poisoned, 0.6 + 0.4 * noise, 0.7 * noise) * 11) / 11
    mspc = np.round(np.where(poisoned, 0.3 + 0.7 * noise, 1.4 * noise - 1.0) * 11) / 11
    rate = np.round(np.where(poisoned, 0.7 + 0.3 * noise, 0.3 * noise) * 16) / 16
    unknown = [pd.NA] * len(rows)
    return pd.DataFrame(
        {
            "sample_id": manifest["sample_id"].to_numpy(),
            "path": manifest["path"].to_numpy(),
            "label": manifest["label"].to_numpy(),
            "predicted": manifest["label"].to_numpy().astype(np.int32),
            "confidence": (0.7 + 0.3 * noise).astype(np.float32),
            "spc_score": spc,
            "spc_flagged": spc > 0.5,
            "mspc_score": mspc,
            "mspc_flagged": mspc > 0.0,
            "transplant_score": rate,
            "transplant_flagged": rate > 0.5,
            "suspect": rate > 0.5,
            "row": rows.astype(np.int64),
            "original_label": pd.array(unknown if truth is None else truth["original_label"].iloc[rows], "Int32"),
            "is_backdoor": pd.array(unknown if truth is None else truth["is_backdoor"].iloc[rows], "boolean"),
        }
    )


def _masks(classes: int) -> dict[str, np.ndarray]:
    mask = np.full((SIZE, SIZE), 0.05, dtype=np.float32)
    mask[TRIGGER] = 1.0
    rounds = [np.ones((SIZE, SIZE), np.float32), 0.5 + 0.5 * mask, 0.2 + 0.8 * mask, mask, mask]
    per_class = np.full((classes, SIZE, SIZE), 0.3, dtype=np.float32)
    per_class[TARGET] = mask
    return {
        "mspc": np.stack(rounds).astype(np.float32),
        "transplant": per_class,
        "agreement_per_scale": np.linspace(0.9, 0.3, 11, dtype=np.float32),
    }


def _summary(dataset: Dataset, scores: pd.DataFrame) -> dict[str, object]:
    classes = dataset.info.classes
    count = int(scores["suspect"].sum())
    table = [
        {
            "class": number,
            "predicted": int((scores["predicted"] == number).sum()),
            "transplant_rate": float(np.nan_to_num(scores["transplant_score"][scores["predicted"] == number].mean())),
            "flagged": int(scores.loc[scores["predicted"] == number, "transplant_flagged"].sum()),
            "region_share": 0.06,
            "mask_mean": 0.1,
        }
        for number in range(len(classes))
    ]
    target = {**table[TARGET], "name": classes[TARGET], "anomaly_index": 8.4}
    verdict = {
        "level": "poisoned",
        "text": f"likely poisoned: {count} of {len(scores)} samples, target class {classes[TARGET]}",
        "scanned": len(scores),
        "flagged": count,
        "detector": "transplant",
        "rule": "a class whose transplant rate stands out",
        "target_classes": [target],
    }
    return {
        "complete": True,
        "verdict": verdict,
        "dataset": {
            "name": dataset.info.name,
            "source": dataset.info.source,
            "classes": list(classes),
            "scanned": len(scores),
            "skipped": dataset.info.skipped,
            "content_key": dataset.info.content_key,
            "recipe": None,
        },
        "model": {
            "arch": "small-cnn",
            "trained_here": True,
            "train_accuracy": 1.0,
            "val_accuracy": 0.9167,
            "attack_success_rate": None,
            "notes": [],
        },
        "detectors": {
            "spc": _record("SPC", "Guo et al., SCALE-UP, ICLR 2023", 0.5, scores, "spc", {}),
            "mspc": _record("MSPC", "Pal et al., ICLR 2024, arXiv 2403.10717", 0.0, scores, "mspc", {}),
            "transplant": _record(
                "Transplant", "this project, after Pal et al., ICLR 2024", 0.5, scores, "transplant", {"classes": table}
            ),
        },
        "true_backdoors": None if scores["is_backdoor"].isna().any() else int(scores["is_backdoor"].sum()),
    }


def _record(
    title: str, citation: str, threshold: float, scores: pd.DataFrame, name: str, tables: dict[str, object]
) -> dict[str, object]:
    from mspc_core.evaluate import detection_metrics

    metrics = None
    flagged = scores[f"{name}_flagged"].to_numpy(bool)
    if not scores["is_backdoor"].isna().any():
        found = detection_metrics(scores["is_backdoor"].to_numpy(bool), scores[f"{name}_score"].to_numpy(), flagged)
        metrics = found.as_json() if found else None
    return {
        "title": title,
        "citation": citation,
        "config": {},
        "threshold": {"value": threshold, "rule": "natural", "explanation": "most of the scales agree"},
        "flagged": int(flagged.sum()),
        "seconds": 1.5,
        "forward_equivalents": 576,
        "notes": [],
        "tables": tables,
        "metrics": metrics,
    }


def _save_model(folder: Path, dataset: Dataset) -> None:
    import torch

    from mspc_core.models.checkpoint import save_model
    from mspc_core.models.zoo import ModelSpec, build_model

    torch.manual_seed(0)
    spec = ModelSpec("small-cnn", len(dataset.info.classes), dataset.info.size)
    about = {"classes": list(dataset.info.classes), "trained_here": True, "train_accuracy": 1.0, "notes": []}
    save_model(folder, build_model(spec), spec, json.loads(json.dumps(about)))
