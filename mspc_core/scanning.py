"""One scan from the source to the verdict, in stages that a killed run does not repeat.

(Called `scanning`, because `mspc_core.scan` is the function of the Python interface.)

data → model (training or the user's weights) → each detector → summary. After each detector the scores, masks and
summary on disk are whole, so that the app shows what is there while the rest is computed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mspc_core import detectors, obstacles, verdict
from mspc_core import given as given_model
from mspc_core import scan_results as results
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.detectors.base import CleanData, Detector, config_as_json
from mspc_core.detectors.mspc import PRESETS
from mspc_core.engine import distributed
from mspc_core.engine.device import choose_threads, give_back_freed_memory, resolve_device
from mspc_core.engine.plain import sharing
from mspc_core.engine.precision import Precision
from mspc_core.engine.rows import mapped_pages_given_back, pick, watch
from mspc_core.errors import InputError, Progress, ShouldStop
from mspc_core.given import GivenModel
from mspc_core.jobs import Reporter
from mspc_core.maps.features import keep_features
from mspc_core.maps.job import add_pca
from mspc_core.models import checkpoint
from mspc_core.models.zoo import ModelSpec, Normalised, build_model
from mspc_core.retrain import kept
from mspc_core.runs import DEMO, Run, ScanConfig, check_same_data
from mspc_core.scan_model import model_stage, precision_of

_RELATIVE_COST = {
    "data": 8.0,
    "model": 45.0,
    "summary": 2.0,
    "spc": 8.0,
    "spc_limited": 8.0,
    "mspc": 45.0,
    "transplant": 20.0,
    "pattern": 5.0,
    "second_opinion": 25.0,
    "mixture": 3.0,
    "strip": 8.0,
    "sdfct": 9.0,
    "abl": 15.0,
    "cognitive_distillation": 80.0,
    "ibd_psc": 8.0,
    "flare": 6.0,
}
_ONE_PASS = 2.0  # detectors that only read features


def execute(folder: Path, reporter: Reporter, given: GivenModel | None = None) -> None:
    """The worker's whole task for a run folder. given: a model from memory instead of training or loading one.
    Raises `InputError` and `Cancelled`."""
    with mapped_pages_given_back():
        _execute(folder, reporter, given)


def _execute(folder: Path, reporter: Reporter, given: GivenModel | None) -> None:
    run = Run(folder)
    config = run.config()
    _plan(reporter, config.detectors)
    device = resolve_device(config.device)
    threads = choose_threads(config.threads, device)
    if threads != config.threads:
        config = replace(config, threads=threads)
        run.save_config(config)

    dataset = _data_stage(run, config, reporter)
    watch(dataset.pixels)
    config = run.config()
    if not (run.folder / "model.json").is_file():  # a resumed run needs neither the weights' file nor a new model
        preflight(config, dataset, given)
    rows, labels = samples_of(run, config, dataset)
    images = pixels_of(dataset, rows)

    progress = reporter.stage("model", "preparing the model")
    if given is not None:
        model, about = given_model.use(run.folder, given, dataset, images, labels)
    else:
        model, about = model_stage(run, config, dataset, images, labels, device, reporter, progress)
    about = precision_of(run, model, about, images)
    half = about["precision"]["used"] != "float32"
    with (
        keep_features(run, model, rows, reporter.log) as kept_here,
        distributed.step("table", keep=kept_here, half=half),
    ):
        scores = results.base_table(dataset, rows, model, images, labels)
    poor = obstacles.model_notes(scores["predicted"].to_numpy(), labels, dataset.info.classes, about["train_accuracy"])
    notes = [*(about.get("notes") or []), *poor, *Precision(**about["precision"]).note()]
    about = {**about, "poor": bool(poor), "notes": notes}
    clean = obstacles.clean_data(dataset, rows, config.trusted, config.seed)
    here = obstacles.situation(labels, trusted=clean is not None, model=model, size=dataset.info.size)
    not_run = obstacles.cannot_run(config.detectors, here)
    able = [name for name in config.detectors if name not in not_run]
    _plan(reporter, able)
    masks: dict[str, np.ndarray] = {}
    records: dict[str, dict[str, Any]] = {}
    with sharing(model, images):
        for name in able:
            done = run.stage(name)
            fresh = done is None
            if done is None:
                try:
                    _detector_stage(run, config, name, model, images, labels, clean, reporter)
                except InputError as error:  # something about this data; the other detectors may do
                    not_run[name] = str(error)
                    reporter.log(f"{name} cannot run: {error}")
                    obstacles.check_some_left(config.detectors, not_run)
                    continue
                done = run.stage(name)
            else:
                reporter.skipped(name)
            if done is None:
                raise InputError(f"The results of {name} could not be read back: is the disk full?")
            arrays, record = done
            records[name] = results.with_metrics(record, scores, arrays)
            scores[f"{name}_score"], scores[f"{name}_flagged"] = arrays["scores"], arrays["flagged"]
            masks |= {key[5:]: value for key, value in arrays.items() if key.startswith("mask.")}
            if fresh:  # what a killed run has left on disk holds the finished detectors already, perhaps more of them
                run.save_masks(masks)
                run.save_scores(results.ordered(scores))
                so_far = verdict.decide(scores, records, dataset.info.classes)
                results.summarise(run, dataset, about, scores, records, not_run, so_far, complete=False)
    reporter.stage("summary", "writing the verdict")
    found = verdict.decide(scores, records, dataset.info.classes)
    scores["suspect_score"], scores["suspect"] = found.scores, found.suspects
    run.save_masks(masks)
    run.save_scores(results.ordered(scores))
    add_pca(run, scores, reporter.log)
    # Last: `complete` vouches for all the rest.
    results.summarise(run, dataset, about, scores, records, not_run, found, complete=True)
    (run.folder / "training.safetensors").unlink(missing_ok=True)


def preflight(config: ScanConfig, dataset: Dataset, given: GivenModel | None = None) -> dict[str, str]:
    """Refuse in a second what would fail after minutes: detectors, device, classes, architecture, weights, clean data.

    Returns the detectors that cannot run, name → reason; raises `InputError` if none can.
    """
    for name in config.detectors:
        detectors.detector_class(name)
    resolve_device(config.device)
    rows = scanned_rows(dataset)
    _check_usable(dataset, rows)
    spec = ModelSpec(config.arch, len(dataset.info.classes), dataset.info.size)
    if given is not None:
        model = given.model
    else:
        model = checkpoint.load_checkpoint(Path(config.checkpoint), spec) if config.checkpoint else build_model(spec)
    clean = obstacles.clean_data(dataset, rows, config.trusted, config.seed)
    labels = dataset.manifest["label"].to_numpy()[rows]
    here = obstacles.situation(labels, trusted=clean is not None, model=model, size=dataset.info.size)
    return obstacles.cannot_run(config.detectors, here)


def prepare_data(
    config: ScanConfig, progress: Progress | None = None, should_stop: ShouldStop | None = None
) -> tuple[Dataset, ScanConfig]:
    """The data set of a scan, imported or built if need be, and the configuration that names it."""
    if config.dataset:
        return open_dataset(config.dataset), config
    if config.source == DEMO:
        from mspc_core.demo import EPOCHS, build_demo

        dataset = build_demo(progress=progress, should_stop=should_stop)
        config = replace(config, epochs=config.epochs or EPOCHS)
    else:
        from mspc_core.data.importing import import_source

        dataset = import_source(config.source, size=config.size, progress=progress, should_stop=should_stop).dataset
    return dataset, replace(config, dataset=dataset.info.name, size=dataset.info.size)


def scanned_rows(dataset: Dataset) -> np.ndarray:
    """Rows of the training split, or all rows where there is none."""
    rows = dataset.indices("train")
    return rows if len(rows) else np.arange(dataset.info.count)


def samples_to_scan(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of all that a scan of this data set looks at, int64 [N]."""
    rows = scanned_rows(dataset)
    return rows, dataset.manifest["label"].to_numpy()[rows].astype(np.int64)


def samples_of(run: Run, config: ScanConfig, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of a run, int64 [N]: all scanned ones, or what cleaning an earlier run has kept of them."""
    rows, labels = samples_to_scan(dataset)
    if not config.exclude:
        return rows, labels
    names = dataset.manifest["sample_id"].to_numpy()[rows]
    return kept.keep(kept.choice_of(run.folder, config.exclude), names, rows, labels)


def pixels_of(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Their pixels, of which only those in use are in memory: a view of the map where the rows are one block, else
    rows that are read when they are used."""
    return pick(dataset.pixels, rows)


def _check_usable(dataset: Dataset, rows: np.ndarray) -> None:
    labels = dataset.manifest["label"].to_numpy()[rows]
    if len(np.unique(labels)) < 2:
        raise InputError("All training images have the same class: a scan needs at least two classes.")
    if len(rows) < 20:
        raise InputError(f"Only {len(rows)} training images could be read: a scan needs at least 20 to train a model.")


def _plan(reporter: Reporter, names: Sequence[str]) -> None:
    reporter.plan({name: _RELATIVE_COST.get(name, _ONE_PASS) for name in ("data", "model", *names, "summary")})


def _data_stage(run: Run, config: ScanConfig, reporter: Reporter) -> Dataset:
    progress = reporter.stage("data", "opening the data")
    dataset, resolved = prepare_data(config, progress, reporter.should_stop)
    check_same_data(dataset, config)
    resolved = replace(resolved, content_key=dataset.info.content_key)
    if resolved != config:
        run.save_config(resolved)
    reporter.log(f"data set {dataset.info.name}: {dataset.info.count} images, {dataset.info.skipped} skipped")
    return dataset


def detector_of(config: ScanConfig, name: str) -> Detector:
    """A detector with the settings of this scan."""
    settings = PRESETS[config.mspc_preset] if name == "mspc" else detectors.create(name).config
    if hasattr(settings, "seed"):
        settings = replace(settings, seed=config.seed)
    return detectors.create(name, settings)


def _detector_stage(
    run: Run,
    config: ScanConfig,
    name: str,
    model: Normalised,
    images: np.ndarray,
    labels: np.ndarray,
    clean: CleanData | None,
    reporter: Reporter,
) -> None:
    detector = detector_of(config, name)
    progress = reporter.stage(name, f"running {detector.title}")
    give_back_freed_memory()  # what training or another detector needed most
    begun = time.perf_counter()
    with distributed.step("detector", detector=name):
        detector.fit(model, images, labels=labels, clean=clean, progress=progress, should_stop=reporter.should_stop)
    obstacles.check_finite(detector.decision_scores_)
    run.save_stage(
        detector,
        {
            "title": detector.title,
            "citation": detector.citation,
            "config": config_as_json(detector.config),
            "threshold": asdict(detector.threshold_),
            "flagged": int(detector.labels_.sum()),
            "seconds": round(time.perf_counter() - begun, 2),
            "forward_equivalents": detector.artifacts_.forward_equivalents,
            "notes": detector.artifacts_.notes,
            "tables": detector.artifacts_.tables,
        },
    )
