"""What the Python interface returns: trained models, and the results of a scan under scikit-learn's names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.errors import InputError
from mspc_core.runs import Run

if TYPE_CHECKING:
    import pandas as pd

    from mspc_core.data.store import Dataset
    from mspc_core.models.train import History
    from mspc_core.models.zoo import ModelSpec, Normalised


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What `train` returns. model: a torch module, float [B, 3, H, W] in [0, 1] → logits [B, C]. images: how many it
    was trained on. accuracy: on the test (or validation) split, None without one. attack_success_rate: of the known
    trigger on clean test images, None for data that were not poisoned here."""

    model: Normalised = field(repr=False)
    spec: ModelSpec
    images: int
    accuracy: float | None
    attack_success_rate: float | None
    history: History = field(repr=False)


@dataclass(frozen=True, eq=False)
class DetectorResult:
    """One detector's results, in the order of the scanned rows.

    decision_scores_: float64 [N], higher is more suspicious. threshold_: samples above it are flagged; rule: natural
    (follows from the definition of the score), quantile or manual. labels_: bool [N], True where flagged. metrics:
    AUROC, TPR, FPR, … where the truth is known, else None. tables: evidence by class.
    """

    name: str
    title: str
    decision_scores_: np.ndarray = field(repr=False)
    threshold_: float
    threshold_rule: str
    labels_: np.ndarray = field(repr=False)
    metrics: Mapping[str, float] | None
    seconds: float
    notes: tuple[str, ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class ScanResult:
    """A finished scan. `print(result)` shows what the command line shows.

    run: the run folder (`run.folder`, `run.masks()`). scores: one row a scanned sample, as in scores.parquet; `row` is
    its row in the data set. summary: summary.json. detectors: those that ran, by name; `result["spc"]` is one of them.
    """

    run: Run
    scores: pd.DataFrame = field(repr=False)
    summary: Mapping[str, Any] = field(repr=False)
    detectors: Mapping[str, DetectorResult] = field(repr=False)

    @classmethod
    def of(cls, run: Run) -> ScanResult:
        """Read a finished run. Raises `InputError` if it has not finished or is damaged."""
        summary = run.summary()
        if not summary.get("complete"):
            raise InputError(f"The scan {run.id!r} has not finished: resume it first.")
        scores = run.scores()
        if not {"suspect", "suspect_score", "row"} <= set(scores.columns):
            raise InputError(f"The scan {run.id!r} is of an older version, without the verdict's scores: scan again.")
        found = {name: _detector(name, record, scores) for name, record in summary["detectors"].items()}
        return cls(run, scores, MappingProxyType(summary), MappingProxyType(found))

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return str(self.summary["verdict"]["text"])

    @property
    def poisoned(self) -> bool | None:
        """True: evidence was found. False: none was, which is no proof. None: no test of the verdict has run."""
        return {"poisoned": True, "no_evidence": False}.get(self.summary["verdict"]["level"])

    @property
    def target_classes(self) -> tuple[str, ...]:
        """Names of the classes that the verdict suspects to be the attacker's targets."""
        return tuple(str(row["name"]) for row in self.summary["verdict"]["target_classes"])

    @property
    def decision_scores_(self) -> np.ndarray:
        """The verdict's score, float64 [N] in [0, 1]; suspects lie above 0.5."""
        found: np.ndarray = self.scores["suspect_score"].to_numpy(dtype=np.float64)
        return found

    @property
    def labels_(self) -> np.ndarray:
        """The verdict's suspects, bool [N]."""
        found: np.ndarray = self.scores["suspect"].to_numpy(dtype=bool)
        return found

    @property
    def threshold_(self) -> float:
        """Of `decision_scores_`."""
        return 0.5

    @property
    def suspects(self) -> pd.DataFrame:
        """The rows of `scores` that the verdict suspects, the most suspicious first."""
        return self.scores[self.labels_].sort_values("suspect_score", ascending=False)

    @property
    def suspect_rows(self) -> np.ndarray:
        """Rows of the data set that the verdict suspects, int64, ascending: `result.dataset.pixels[rows]`."""
        return np.sort(self.scores["row"].to_numpy(dtype=np.int64)[self.labels_])

    @property
    def kept_rows(self) -> np.ndarray:
        """The other scanned rows of the data set, int64, ascending: what `train(dataset, rows=…)` trains on again."""
        return np.sort(self.scores["row"].to_numpy(dtype=np.int64)[~self.labels_])

    @property
    def dataset(self) -> Dataset:
        """The scanned data set. Raises `InputError` when it was deleted or replaced since."""
        return self.run.dataset()

    @property
    def not_run(self) -> Mapping[str, str]:
        """Detectors that could not run here, with the reason."""
        return dict(self.summary.get("not_run") or {})

    def __getitem__(self, detector: str) -> DetectorResult:
        """Raises `InputError` for a detector that is not among the results."""
        if detector not in self.detectors:
            reason = self.not_run.get(detector, "it was not asked for")
            raise InputError(f"There are no results of {detector!r} ({reason}): {', '.join(self.detectors)}.")
        return self.detectors[detector]

    def __str__(self) -> str:
        from mspc_core.console import summary_lines

        return "\n".join(summary_lines(self.run.folder, dict(self.summary)))


def _detector(name: str, record: Mapping[str, Any], scores: pd.DataFrame) -> DetectorResult:
    try:
        return DetectorResult(
            name=name,
            title=str(record["title"]),
            decision_scores_=scores[f"{name}_score"].to_numpy(dtype=np.float64),
            threshold_=float(record["threshold"]["value"]),
            threshold_rule=str(record["threshold"]["rule"]),
            labels_=scores[f"{name}_flagged"].to_numpy(dtype=bool),
            metrics=record["metrics"],
            seconds=float(record["seconds"]),
            notes=tuple(record["notes"]),
            tables=json.loads(json.dumps(record["tables"])),
        )
    except KeyError as error:
        raise InputError(f"The results of {name} in this run are damaged ({error} is missing): scan again.") from None
