"""What a report is made of: everything it reads from a run, loaded once, with a sentence for whatever is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import atomic
from mspc_core.data.store import Dataset
from mspc_core.errors import InputError
from mspc_core.job_status import JobStatus
from mspc_core.reviews import DecisionRecord, ReviewStore
from mspc_core.runs import Run, ScanConfig
from mspc_core.words import short

if TYPE_CHECKING:
    import pandas as pd

NAME_LIMIT = 80  # characters of a class name or reviewer that a report shows


@dataclass(frozen=True)
class Material:
    """A run as the report sees it. scores: the run's table, [N] rows. dataset: None when it was deleted or replaced;
    then `data_gone` says so in a sentence. retrain: what retrain.json holds, or None. unreadable: sentences on files of
    the run that are there but cannot be read."""

    run: Run
    config: ScanConfig
    status: JobStatus
    summary: dict[str, Any]
    scores: pd.DataFrame
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    dataset: Dataset | None = None
    data_gone: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    decisions: dict[str, str] = field(default_factory=dict)
    history: list[DecisionRecord] = field(default_factory=list)
    retrain: dict[str, Any] | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by number."""
        return [str(name) for name in self.summary["dataset"]["classes"]]

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """Finished detectors: name → record."""
        found: dict[str, dict[str, Any]] = self.summary.get("detectors") or {}
        return found

    @property
    def complete(self) -> bool:
        return bool(self.summary.get("complete"))

    def name_of(self, number: int) -> str:
        """A class's name on one line; its number where it has none."""
        known = 0 <= number < len(self.classes) and self.classes[number].strip()
        return short(self.classes[number], NAME_LIMIT) if known else f"class {number}"

    def truth(self) -> np.ndarray | None:
        """Which samples are poisoned, bool [N]; None where it is not known of all of them."""
        if "is_backdoor" not in self.scores or self.scores["is_backdoor"].isna().any():
            return None
        found: np.ndarray = self.scores["is_backdoor"].to_numpy(dtype=bool)
        return found

    def flags(self, detector: str) -> np.ndarray:
        """What a detector flags (or `suspect`, the verdict), bool [N]; nothing where it has not run."""
        column = detector if detector == "suspect" else f"{detector}_flagged"
        if column not in self.scores:
            return np.zeros(len(self.scores), dtype=bool)
        found: np.ndarray = self.scores[column].fillna(False).to_numpy(dtype=bool)
        return found

    def values(self, detector: str) -> np.ndarray:
        """A detector's scores, float64 [N]; NaN where there is none."""
        column = f"{detector}_score"
        if column not in self.scores:
            return np.full(len(self.scores), np.nan)
        found: np.ndarray = self.scores[column].to_numpy(dtype=np.float64, na_value=np.nan)
        return found

    def pictures(self, positions: np.ndarray) -> np.ndarray | None:
        """Pixels of samples by their positions in the table [K], uint8 [K, H, W, 3]; None when the data is gone."""
        if self.dataset is None:
            return None
        rows = self.scores["row"].to_numpy()[positions]
        if len(rows) and int(rows.max()) >= len(self.dataset.pixels):
            return None
        found: np.ndarray = np.array(self.dataset.pixels[rows])
        return found


def load(run: Run) -> Material:
    """Read a run. Raises `InputError` while it has no result at all, or when it cannot be read."""
    config, status = run.config(), run.status()
    summary = run.summary()
    if not summary or not run.has_scores():
        raise InputError(f"Run {run.id!r} has no results yet: wait until its first detector has finished.")
    problems: list[str] = []
    masks: dict[str, np.ndarray] = {}
    try:
        masks = run.masks()
    except InputError as error:
        problems.append(str(error))
    dataset, gone = None, ""
    try:
        dataset = run.dataset()
    except (InputError, OSError) as error:
        gone = str(error)
    decisions: dict[str, str] = {}
    history: list[DecisionRecord] = []
    try:
        store = ReviewStore()
        decisions, history = store.current(run.id), store.history(run.id)
    except InputError as error:
        problems.append(str(error))
    return Material(
        run=run,
        config=config,
        status=status,
        summary=summary,
        scores=run.scores(),
        masks=masks,
        dataset=dataset,
        data_gone=gone,
        model=_optional(run, "model.json", problems) or {},
        decisions=decisions,
        history=history,
        retrain=_optional(run, "retrain.json", problems),
        unreadable=tuple(problems),
    )


def _optional(run: Run, name: str, problems: list[str]) -> dict[str, Any] | None:
    """A JSON object of the run, or None where there is none; a damaged one is noted."""
    try:
        return atomic.read_object(run.folder / name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        problems.append(f"{name} of this run cannot be read; what it holds is missing here.")
        return None
