"""The job that makes a run's map: features where the scan has left none, then PCA, and UMAP on demand.

Each run has one such job folder, `<run>/map`: asking again takes it up again, and what is there is not made twice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mspc_core import access, atomic, jobs, quotas
from mspc_core.errors import InputError, explain_os_error
from mspc_core.jobs import JobStatus, Reporter
from mspc_core.maps import store
from mspc_core.maps.store import PCA, UMAP
from mspc_core.runs import Run

if TYPE_CHECKING:
    import pandas as pd

KIND = "map"


def prepare(run: Run, *, umap: bool = False, device: str = "auto") -> Path:
    """Make the run's map folder a queued job; returns it. Raises `InputError` while the run has no scores, for an
    unknown model file, and while such a job is at work."""
    rows = run.scores()["row"].to_numpy()
    key = store.key_of(run, rows)
    if key is None:
        raise InputError("This run keeps no model, and the map shows what the model sees: run the scan again.")
    folder = store.folder_of(run)
    status = status_of(run)
    if status is not None and status.active:
        raise InputError("The map of this run is being made already.")
    # Without features to compute it needs no device, and so does not wait for a scan that has it.
    lane = "" if store.features_of(run, key) is not None else device
    with quotas.room_for_job(folder, new=False):
        folder.mkdir(exist_ok=True)
        access.record(folder)  # whoever asks for it again has it from now on
        (folder / "cancel").unlink(missing_ok=True)
        atomic.write_json(folder / "config.json", {"kind": KIND, "umap": umap, "device": lane, "run": run.id})
        jobs.write_status(folder, jobs.queued())
    return folder


def status_of(run: Run) -> JobStatus | None:
    """How the latest job ended or how far it is; None if there was none."""
    folder = store.folder_of(run)
    if not (folder / "status.json").is_file():
        return None
    return jobs.read_status(folder)


def wants_umap(run: Run) -> bool:
    """Was the latest job asked for UMAP?"""
    try:
        return bool(jobs.read_config(store.folder_of(run)).get("umap"))
    except InputError:
        return False


def execute(folder: Path, reporter: Reporter) -> None:
    """The worker's whole task. Raises `InputError` and `Cancelled`."""
    run, config = Run(folder.parent), jobs.read_config(folder)
    scores = run.scores()
    rows, classes = scores["row"].to_numpy(), scores["predicted"].to_numpy()
    key = store.key_of(run, rows)
    if key is None:
        raise InputError("This run keeps no model, and the map shows what the model sees: run the scan again.")
    wanted = [PCA, *([UMAP] if config.get("umap") else [])]
    costs = {"features": 5.0 + 2e-3 * len(rows), PCA: 3.0, UMAP: 20.0 + 2e-3 * len(rows)}
    reporter.plan({name: costs[name] for name in ("features", *wanted)})
    features = _features(run, key, rows, str(config.get("device") or "auto"), reporter)
    for kind in wanted:
        if store.map_of(run, kind, key) is not None:
            reporter.skipped(kind)
            continue
        progress = reporter.stage(kind, "principal components")
        from mspc_core.maps.project import pca_map, umap_map

        if kind == PCA:
            found = pca_map(features, classes)
        else:
            stop = reporter.should_stop
            found = umap_map(features, classes, _flagged(scores), progress=progress, should_stop=stop)
            reporter.log(f"UMAP of {int(found.fitted.sum())} images; {int((~found.fitted).sum())} placed afterwards")
        store.save_map(run, kind, found, key)


def add_pca(run: Run, scores: pd.DataFrame, log: Callable[[str], None]) -> None:
    """The PCA map of a scan that has kept its features: seconds, so that it is there when the scan ends. Whatever
    stands in the way is logged; the scan's results do not depend on it."""
    from mspc_core.maps.project import pca_map

    key = store.key_of(run, scores["row"].to_numpy())
    features = store.features_of(run, key)
    if key is None or features is None or store.map_of(run, PCA, key) is not None:
        return
    try:
        store.save_map(run, PCA, pca_map(features, scores["predicted"].to_numpy()), key)
    except OSError as error:
        log(f"no map: {explain_os_error(error)}")
    except MemoryError:
        log("no map: memory ran out")


def _features(run: Run, key: str, rows: np.ndarray, device: str, reporter: Reporter) -> np.ndarray:
    found = store.features_of(run, key)
    if found is not None:
        reporter.skipped("features")
        return found
    from mspc_core.engine.device import choose_threads, resolve_device
    from mspc_core.maps.features import compute_features
    from mspc_core.models.checkpoint import load_saved_model
    from mspc_core.scanning import pixels_of

    progress = reporter.stage("features", "loading the model")
    choose_threads()
    model, _ = load_saved_model(run.folder, resolve_device(device))
    images = pixels_of(run.dataset(), rows)
    stop = reporter.should_stop
    compute_features(run, model, images, rows, log=reporter.log, progress=progress, should_stop=stop)
    found = store.features_of(run, key)
    if found is None:
        raise InputError("The features could not be read back: is the disk full, or was the model replaced meanwhile?")
    return found


def _flagged(scores: pd.DataFrame) -> np.ndarray:
    """The verdict's suspects; while there is no verdict, what any detector flags. bool [N]"""
    names = ["suspect"] if "suspect" in scores else [name for name in scores if str(name).endswith("_flagged")]
    found = np.zeros(len(scores), dtype=bool)
    for name in names:
        found |= scores[name].fillna(False).to_numpy(dtype=bool)
    return found
