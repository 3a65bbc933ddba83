"""Retraining jobs: what is asked, where it is kept, and what came out. Loads no torch.

<run>/retrains/<name>/
  config.json  status.json  log.txt     as of every job (`mspc_core.jobs`)
  selection.csv       the samples left out or relabelled, fixed when the job was created
  trainings/<kind>-<seed>/   one training: figures, weights while they are needed
  suggestions.csv     a class for each selected sample, to be confirmed by a person (`relabel`)
  retrain.json        the figures; a copy of the latest one is <run>/retrain.json
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspc_core import atomic, jobs
from mspc_core.errors import InputError
from mspc_core.retrain.kept import FILE, Choice, read_choice, write_choice
from mspc_core.runs import Run, versions

if TYPE_CHECKING:
    import pandas as pd

FOLDER, RESULT, SUGGESTIONS = "retrains", "retrain.json", "suggestions.csv"
RELABEL = ("", "confirmed")


@dataclass(frozen=True)
class RetrainConfig:
    """drop: flagged, rejected, reviewed, detector:<name> or file:<path> (`mspc_core.selection`). seeds: one training
    each; empty stands for the scan's seed. relabel: "confirmed" keeps selected samples whose new label a person
    confirmed, under that label; "" drops all. references: also train on everything and on the truly clean part."""

    drop: str = "flagged"
    seeds: tuple[int, ...] = ()
    relabel: str = ""
    references: bool = False
    device: str = "auto"
    run: str = ""
    kind: str = "retrain"
    versions: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> RetrainConfig:
        try:
            return cls(**{**raw, "seeds": tuple(raw["seeds"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"The configuration of this retraining is not usable ({error}): start it again.") from None


class Retraining:
    """A retraining's folder, opened for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def run(self) -> Run:
        return Run(self.folder.parent.parent)

    def config(self) -> RetrainConfig:
        return RetrainConfig.from_json(jobs.read_config(self.folder))

    def status(self) -> jobs.JobStatus:
        return jobs.read_status(self.folder)

    def choice(self) -> Choice:
        return read_choice(self.folder / FILE)

    def result(self) -> dict[str, Any]:
        """retrain.json, {} while there is none."""
        return _read(self.folder / RESULT)

    def suggestions(self) -> pd.DataFrame:
        """`sample_id, label, predicted, suggested_label, confidence, how`; no rows while there are none."""
        import pandas as pd

        try:
            return pd.read_csv(self.folder / SUGGESTIONS, dtype={"sample_id": "str"})
        except FileNotFoundError:
            return pd.DataFrame(columns=["sample_id", "label", "predicted", "suggested_label", "confidence", "how"])
        except (OSError, ValueError) as error:
            raise InputError(f"The suggested labels cannot be read ({error}): retrain again.") from None


def create(run: Run, config: RetrainConfig, choice: Choice) -> Retraining:
    """A queued retraining. config: with seeds filled in; choice: of `plan.make_plan`."""
    raw = {**config.as_json(), "run": run.id, "versions": versions()}
    fill = partial(_write_choice, choice=choice)
    return Retraining(jobs.create(run.folder / FOLDER, raw, config.drop, fill))


def _write_choice(folder: Path, choice: Choice) -> None:
    write_choice(folder / FILE, choice)


def list_retrainings(run: Run) -> list[Retraining]:
    """All retrainings of a run, newest first."""
    found = jobs.folders_in(run.folder / FOLDER)
    return [Retraining(folder) for folder in found if (folder / "config.json").is_file()]


def latest_result(run: Run) -> dict[str, Any]:
    """The figures of the retraining that finished last, {} if none has."""
    return _read(run.folder / RESULT)


def is_retraining(folder: Path) -> bool:
    """Is this job folder a retraining (and not a scan)?"""
    return jobs.read_config(folder).get("kind") == "retrain"


def _read(path: Path) -> dict[str, Any]:
    try:
        return atomic.read_object(path)
    except (OSError, ValueError):
        return {}
