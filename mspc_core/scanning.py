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
import torch
from torch import nn

from mspc_core import atomic, cleaning, detectors, evaluate, obstacles, verdict
from mspc_core import given as given_model
from mspc_core import scan_results as results
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.detectors.base import SCALES, CleanData, Detector, config_as_json
from mspc_core.detectors.mspc import PRESETS
from mspc_core.engine import distributed
from mspc_core.engine.device import choose_threads, device_name, largest_training_batch, resolve_device
from mspc_core.engine.forward import allow_half
from mspc_core.engine.precision import Precision, choose_precision
from mspc_core.engine.rows import mapped_pages_given_back, pick, watch
from mspc_core.errors import InputError, Progress, ShouldStop
from mspc_core.given import GivenModel
from mspc_core.jobs import Reporter
from mspc_core.maps.features import keep_features
from mspc_core.maps.job import add_pca
from mspc_core.models import checkpoint, normalise, train
from mspc_core.models.zoo import ModelSpec, Normalised, build_model
from mspc_core.retrain import kept
from mspc_core.runs import DEMO, Run, ScanConfig, check_same_data

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
        model, about = _model_stage(run, config, dataset, images, labels, device, reporter, progress)
    about = _precision(run, model, about, images)
    half = about["precision"]["used"] != "float32"
    with (
        keep_features(run, model, rows, reporter.log) as kept_here,
        distributed.step("table", keep=kept_here, half=half),
    ):
        scores = results.base_table(dataset, rows, model, images, labels)
    notes = obstacles.model_notes(scores["predicted"].to_numpy(), labels, dataset.info.classes, about["train_accuracy"])
    notes += Precision(**about["precision"]).note()
    about = {**about, "notes": [*(about.get("notes") or []), *notes]}
    clean = obstacles.clean_data(dataset, rows, config.trusted, config.seed)
    here = obstacles.situation(labels, trusted=clean is not None, model=model, size=dataset.info.size)
    not_run = obstacles.cannot_run(config.detectors, here)
    able = [name for name in config.detectors if name not in not_run]
    _plan(reporter, able)
    masks: dict[str, np.ndarray] = {}
    records: dict[str, dict[str, Any]] = {}
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


def _model_stage(
    run: Run,
    config: ScanConfig,
    dataset: Dataset,
    images: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
    reporter: Reporter,
    progress: Any,
) -> tuple[Normalised, dict[str, Any]]:
    if (run.folder / "model.json").is_file():
        reporter.skipped("model")
        model, about = checkpoint.load_saved_model(run.folder, device)
        share_model(model, ModelSpec.from_json(about))
        return model, about
    spec = ModelSpec(config.arch, len(dataset.info.classes), dataset.info.size)
    about = {"classes": list(dataset.info.classes), "device": device_name(device)}
    if distributed.members() > 1:
        about["processes"] = distributed.members()
    if config.checkpoint:
        model, choice = normalise.load_with_normalisation(
            Path(config.checkpoint).expanduser(), spec, config.normalise, images, labels, device
        )
        spec = replace(spec, mean=choice.mean, std=choice.std)
        about |= {"trained_here": False, "checkpoint": config.checkpoint, "notes": choice.notes}
    else:
        with distributed.step("train"):
            model, spec, chosen, history = train_here(run, config, dataset, images, labels, device, reporter, progress)
        train.write_early_losses(run.folder / "early_losses.npz", history)
        about |= {"trained_here": True, "training": asdict(chosen), "notes": []}
        about |= {"train_loss": history.train_loss, "train_accuracy_per_epoch": history.train_accuracy}
    share_model(model, spec)
    with distributed.step("measure"):
        about |= measured(model, dataset, images, labels, about["notes"])
    checkpoint.save_model(run.folder, model, spec, about)
    return model.eval(), {**spec.as_json(), **about}


def train_here(
    run: Run,
    config: ScanConfig,
    dataset: Dataset,
    images: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
    reporter: Reporter | None,
    progress: Progress | None,
) -> tuple[Normalised, ModelSpec, train.TrainConfig, train.History]:
    """A model of the scanned images, by all processes of the job. reporter: None in those that do not lead."""
    spec = ModelSpec(config.arch, len(dataset.info.classes), dataset.info.size)
    model, spec = cleaning.fresh_model(spec, images, config.seed, device)
    chosen = train.resolve(
        train.TrainConfig(epochs=config.epochs or None, augment=config.augment, seed=config.seed),
        len(images),
        config.arch,
        largest_training_batch(device, dataset.info.size),
    )

    def on_epoch(number: int, loss: float, hits: float) -> None:
        if reporter:
            reporter.log(f"epoch {number}: loss {loss:.4f}, training accuracy {hits:.4f}")

    history = train.train_model(
        model,
        images,
        labels,
        chosen,
        checkpoint=run.folder / "training.safetensors",
        progress=progress,
        should_stop=reporter.should_stop if reporter else None,
        on_epoch=on_epoch,
        shared=True,
    )
    return model, spec, chosen, history


def share_model(model: Normalised, spec: ModelSpec) -> None:
    """Give every process of the job this model."""
    with distributed.step("model", spec=spec.as_json()):
        distributed.model_from_leader(model)


def measured(
    model: Normalised, dataset: Dataset, images: np.ndarray, labels: np.ndarray, notes: list[str]
) -> dict[str, float | None]:
    """How well a new model does. notes: gets a sentence where the attack cannot be tried."""
    return {
        "train_accuracy": evaluate.accuracy(model, images, labels),
        "val_accuracy": cleaning.held_out_accuracy(model, dataset),
        "attack_success_rate": evaluate.attack_success_rate(model, dataset, notes),
    }


def detector_of(config: ScanConfig, name: str) -> Detector:
    """A detector with the settings of this scan."""
    settings = PRESETS[config.mspc_preset] if name == "mspc" else detectors.create(name).config
    if hasattr(settings, "seed"):
        settings = replace(settings, seed=config.seed)
    return detectors.create(name, settings)


def _precision(run: Run, model: nn.Module, about: dict[str, Any], images: np.ndarray) -> dict[str, Any]:
    """model.json with the precision that this model computes in; measured once a run."""
    if "precision" in about:
        allow_half(model, about["precision"]["used"] != "float32")
        return about
    about = {**about, "precision": choose_precision(model, images, SCALES).as_json()}
    atomic.write_json(run.folder / "model.json", about)
    return about


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
