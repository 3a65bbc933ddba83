"""Run folders: the configuration that goes in and the results that come out. Everything a page shows is read here.

config.json       ScanConfig as resolved, versions
model.*           weights and description          (`mspc_core.models.checkpoint`)
stages/<name>.*   one finished detector's scores, masks and record, so that a killed run resumes after it
scores.parquet    one row a scanned sample; grows by two columns with each finished detector
masks.npz         learned masks, by detector
summary.json      verdict and figures; `complete` is false until the last stage
map/              the model's features of each sample, and maps of them   (`mspc_core.maps`)
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mspc_core import __version__, access, atomic, home, jobs
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.errors import InputError, one_line
from mspc_core.files import open_regular, read_arrays
from mspc_core.job_status import locked
from mspc_core.run_shapes import masks_misfit, scores_misfit, summary_misfit
from mspc_core.shapes import misfit_fields

if TYPE_CHECKING:
    import pandas as pd

    from mspc_core.detectors.base import Detector

# Quick ones first: the histogram is there early, and so is a first verdict.
DEFAULT_DETECTORS = ("spc", "mixture", "pattern", "transplant", "mspc", "second_opinion")
DEMO = "demo"
_STAMPED = re.compile(r"\d{8}-\d{6}-")  # the names that `jobs.create` gives


@dataclass(frozen=True)
class ScanConfig:
    """What a scan does. dataset: name of a stored data set; filled in by the run when `source` still has to be
    imported (or is "demo"). checkpoint: the user's own weights instead of training. epochs 0: chosen by data size.
    threads: that compute; 0 is measured when the run begins, and the number kept. trusted: the split ("val" or "test")
    that is handed as clean data to detectors that need it; "" for none. parent: the run whose cleaned set this one
    scans; exclude: the list in this run's folder of what was left out or relabelled (`mspc_core.retrain.kept`), ""
    where everything is scanned. processes: that the app starts for it on this machine, one a GPU; torchrun decides for
    itself."""

    source: str
    dataset: str = ""
    size: int = 32
    arch: str = "small-cnn"
    checkpoint: str = ""
    normalise: str = "auto"
    epochs: int = 0
    augment: bool = False
    detectors: tuple[str, ...] = DEFAULT_DETECTORS
    mspc_preset: str = "fast"
    trusted: str = ""
    device: str = "auto"
    processes: int = 1
    seed: int = 0
    threads: int = 0
    kind: str = "scan"
    content_key: str = ""
    parent: str = ""
    exclude: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "detectors": list(self.detectors)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> ScanConfig:
        if (place := misfit_fields(raw, cls)) or "detectors" not in raw or "source" not in raw:
            why = f"{place} is not as it must be" if place else "it names no source or no detectors"
            raise InputError(f"The configuration of this run is not usable ({why}): start a new scan.")
        if any("\0" in raw.get(key, "") for key in ("source", "dataset", "checkpoint", "parent", "exclude")):
            raise InputError("The configuration of this run names a path that cannot be: start a new scan.")
        return cls(**{**raw, "detectors": tuple(raw["detectors"])})


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"backdoor-lens": __version__, "python": sys.version.split()[0], "platform": platform.platform()}
    for package in ("torch", "torchvision", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


class Run:
    """A run folder, opened for reading (and for its worker, writing). Cheap to create; reads on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        return self.folder.name

    def config(self) -> ScanConfig:
        return ScanConfig.from_json(jobs.read_config(self.folder))

    def status(self) -> jobs.JobStatus:
        return jobs.read_status(self.folder)

    def dataset(self) -> Dataset:
        """The data set that was scanned. Raises `InputError` while it is not imported yet or when it was deleted."""
        config = self.config()
        if not config.dataset:
            raise InputError("The data of this run is still being imported.")
        dataset = open_dataset(config.dataset)
        check_same_data(dataset, config)
        return dataset

    def summary(self) -> dict[str, Any]:
        """summary.json, or {} while there is none or when it is damaged."""
        try:
            found = atomic.read_object(self.folder / "summary.json")
        except (OSError, ValueError):
            return {}
        return {} if summary_misfit(found) else found

    def class_names(self) -> list[str]:
        """Names of the classes that were scanned. Raises `InputError` without a usable summary."""
        try:
            return [str(name) for name in self.summary()["dataset"]["classes"]]
        except KeyError:
            raise InputError(f"Run {self.id!r} has no usable summary: resume the scan, or scan again.") from None

    def has_scores(self) -> bool:
        return (self.folder / "scores.parquet").is_file()

    def scores(self, wanted: Callable[[str], bool] | None = None) -> pd.DataFrame:
        """scores.parquet. wanted: which columns are read (default: all). Raises `InputError` while no detector has
        finished."""
        from pyarrow import parquet

        try:
            with open_regular(self.folder / "scores.parquet") as handle:
                file = parquet.ParquetFile(handle)
                table = file.read([name for name in file.schema_arrow.names if wanted is None or wanted(name)])
            if problem := scores_misfit(table, every=wanted is None):
                raise ValueError(problem)
            # In one piece a column: rows are looked up far faster than in the pieces that a file is read in.
            found: pd.DataFrame = table.combine_chunks().to_pandas()
            if list(found.columns) != table.column_names:  # what a file says of pandas' index may hide columns
                raise ValueError("a column is hidden")
            return found
        except (FileNotFoundError, NotADirectoryError):
            raise InputError("This run has no scores yet: wait for its first detector to finish.") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, NotImplementedError) as error:
            why = one_line(error)
            raise InputError(f"The scores of run {self.id!r} cannot be read ({why}): run the scan again.") from None

    def masks(self) -> dict[str, np.ndarray]:
        """All learned masks so far: `mspc` [rounds + 1, H, W], `transplant` and `pattern`
        [C, H, W]; {} while there are none."""
        try:
            found = read_arrays(self.folder / "masks.npz")
            if problem := masks_misfit(found):
                raise ValueError(problem)
            return found
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            why = one_line(error)
            raise InputError(f"The masks of run {self.id!r} cannot be read ({why}): run the scan again.") from None

    # --- writing, by the worker alone -------------------------------------------------------------------------------

    def save_config(self, config: ScanConfig) -> None:
        atomic.write_json(self.folder / "config.json", config.as_json())

    def save_stage(self, detector: Detector, record: dict[str, Any]) -> None:
        """Keep one finished detector: arrays first, the record last, so that the record vouches for the arrays."""
        folder = self.folder / "stages"
        folder.mkdir(exist_ok=True)
        arrays = {"scores": detector.decision_scores_, "flagged": detector.labels_}
        arrays |= {f"mask.{name}": mask for name, mask in detector.artifacts_.masks.items()}
        atomic.write_with(folder / f"{detector.name}.npz", lambda handle: _write_arrays(handle, arrays))
        atomic.write_json(folder / f"{detector.name}.json", record)

    def stage(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and record of a finished detector, or None."""
        folder = self.folder / "stages"
        try:
            record = atomic.read_object(folder / f"{name}.json")
            return read_arrays(folder / f"{name}.npz"), record
        except (OSError, ValueError):
            return None

    def save_scores(self, scores: pd.DataFrame) -> None:
        atomic.write_with(self.folder / "scores.parquet", lambda handle: scores.to_parquet(handle, index=False))

    def save_masks(self, masks: dict[str, np.ndarray]) -> None:
        atomic.write_with(self.folder / "masks.npz", lambda handle: _write_arrays(handle, masks))

    def save_summary(self, summary: dict[str, Any]) -> None:
        atomic.write_json(self.folder / "summary.json", summary)


def _write_arrays(handle: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(handle, allow_pickle=False, **arrays)


def open_run(name: str) -> Run:
    """A run by its id, or by the path of its folder. Raises `InputError` when there is none."""
    folder = Path(name) if "/" in name else home.runs_folder() / home.check_name(name)
    jobs.read_config(folder)
    return Run(folder)


def list_runs() -> list[Run]:
    """All runs in the home folder, newest first."""
    found = [Run(folder) for folder in jobs.folders_in(home.runs_folder()) if (folder / "config.json").is_file()]
    return sorted(found, key=_made, reverse=True)


def _made(run: Run) -> str:
    """When a run was made, as most names begin with it; what has a name of somebody's own (`--out`) is as old as its
    status says. A run without a readable one comes last."""
    if _STAMPED.match(run.id):
        return run.id
    try:
        return datetime.fromtimestamp(run.status().created).strftime(jobs.STAMP)
    except (InputError, ValueError, OverflowError, OSError):
        return ""


def check_same_data(dataset: Dataset, config: ScanConfig) -> None:
    """Raises `InputError` if the stored data set is not the one this run scanned (another one took its name)."""
    if config.content_key and config.content_key != dataset.info.content_key:
        raise InputError(
            f"The data set {config.dataset!r} was replaced since this run scanned it: its images cannot be shown or "
            "scanned again; start a new scan."
        )


def create_run(config: ScanConfig, out: Path | None = None, fill: Callable[[Path], object] | None = None) -> Run:
    """A queued run, in the home folder or at `out`. fill: writes what else it needs, see `jobs.prepare`."""
    config = replace(config, versions=versions())
    if out is None:
        label = config.dataset or Path(config.source).stem or "scan"
        return Run(jobs.create(home.runs_folder(), config.as_json(), label, fill))
    jobs.prepare(out, config.as_json(), fill)
    return Run(out)


def delete_run(run: Run) -> None:
    """Remove a run that is not running, and not another user's."""
    access.check_owner(run.folder)
    try:
        running = run.status().state == "running"
    except InputError:  # damaged or gone: deleting is all that can be done with it
        running = False
    if any(locked(lock) for lock in run.folder.glob("retrains/*/.lock")):
        raise InputError("This run is being retrained: cancel that first.")
    if locked(run.folder / "map" / ".lock"):
        raise InputError("The map of this run is being made: cancel that first.")
    if running:
        raise InputError("This run is still at work: cancel it first.")
    doomed = atomic.temporary_for(run.folder)
    try:
        run.folder.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)
