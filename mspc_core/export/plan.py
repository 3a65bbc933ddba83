"""Which samples are exported, counted by class, with what a person should know before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mspc_core import selection
from mspc_core.data.source import shown
from mspc_core.data.store import Dataset
from mspc_core.errors import InputError
from mspc_core.export.config import FORMATS, ExportConfig, check
from mspc_core.retrain import confirmed
from mspc_core.retrain.kept import choice_of

if TYPE_CHECKING:
    import pandas as pd

    from mspc_core.runs import Run

_NAMED = 3  # classes spelled out in a warning


@dataclass(frozen=True, eq=False)
class Plan:
    """config: with `keep` filled in. scores: the run's table. dropped, chosen: bool [N] in its order: what the rule
    drops, what is exported. rows: int64, ascending, the data set's rows to export (scanned and not), empty for tables.
    dataset: None for tables of a data set that is gone."""

    run: Run
    config: ExportConfig
    scores: pd.DataFrame
    dropped: np.ndarray
    chosen: np.ndarray
    classes: tuple[str, ...]
    dataset: Dataset | None
    rows: np.ndarray
    warnings: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """How many samples are exported."""
        return len(self.rows) if FORMATS[self.config.format].images else int(self.chosen.sum())

    def open_dataset(self) -> Dataset:
        """The data set. Raises `InputError` where it is gone."""
        return self.dataset if self.dataset is not None else self.run.dataset()


def make_plan(run: Run, config: ExportConfig) -> Plan:
    """Decide what an export will hold; nothing is written. Raises `InputError` if it would be empty, or if the run has
    no scores, no verdict or (for images) no data set."""
    check(config)
    config = replace(config, keep=config.kept)
    scores = run.scores()
    dropped = selection.dropped(run, config.drop)
    labels = _confirmed(run, scores, dropped) if config.relabel else {}
    if labels:
        dropped &= ~scores["sample_id"].isin(labels).to_numpy()
    chosen = chosen_of(dropped, config.keep)
    if not chosen.any():
        raise InputError(_nothing(config))
    images = FORMATS[config.format].images
    dataset = _dataset(run, needed=images or config.format == "indices")
    classes = dataset.info.classes if dataset else tuple(run.summary().get("dataset", {}).get("classes", ()))
    rows = np.zeros(0, dtype=np.int64)
    if images and dataset is not None:
        dataset = dataset.with_labels(labels)
        gone = choice_of(run.folder, run.config().exclude).dropped
        rows = _rows(dataset, scores, chosen, config, gone)
    warnings = warnings_for(scores["label"].to_numpy(), dropped, classes) if config.keep == "clean" else []
    if config.relabel:
        warnings.append(f"{len(labels):,} samples that the rule drops are kept under the label that was confirmed.")
    if config.format == "indices" and (choice := choice_of(run.folder, run.config().exclude)).labels:
        warnings.append(
            f"Positions point at the source, where {len(choice.labels):,} confirmed labels are not changed."
        )
    return Plan(run, config, scores, dropped, chosen, classes, dataset, rows, warnings)


def _confirmed(run: Run, scores: pd.DataFrame, dropped: np.ndarray) -> dict[str, int]:
    """sample_id → confirmed class, of the samples that are dropped (bool [N])."""
    found = confirmed.read(run)
    return {key: found[key] for key in scores.loc[dropped, "sample_id"] if key in found}


def chosen_of(dropped: np.ndarray, keep: str) -> np.ndarray:
    """bool [N]: what `keep` exports where `dropped` (bool [N]) is dropped."""
    return {"clean": ~dropped, "flagged": dropped, "all": np.ones_like(dropped)}[keep]


def class_table(labels: np.ndarray, dropped: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """What the rule does to each class that was scanned: class, samples, dropped, kept, share dropped (0 … 1).

    labels: int [N]. dropped: bool [N].
    """
    import pandas as pd

    count = max(len(classes), int(labels.max(initial=-1)) + 1)
    samples = np.bincount(labels, minlength=count)
    gone = np.bincount(labels[dropped], minlength=count)
    names = [classes[number] if number < len(classes) else str(number) for number in range(count)]
    table = pd.DataFrame({"class": names, "samples": samples, "dropped": gone, "kept": samples - gone})
    table["share"] = gone / np.maximum(samples, 1)
    return table[table["samples"] > 0].reset_index(drop=True)


def warnings_for(labels: np.ndarray, dropped: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """Sentences about what dropping does: nothing at all, or whole classes."""
    if not dropped.any():
        return ["Nothing is dropped by this rule: what is kept is everything that was scanned."]
    table = class_table(labels, dropped, classes)
    gone = [shown(str(name), 40) for name in table.loc[table["kept"] == 0, "class"]]
    if not gone:
        return []
    names = ", ".join(gone[:_NAMED]) + (f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else "")
    which = "the class" if len(gone) == 1 else f"{len(gone)} classes,"
    return [
        f"Every sample of {which} {names} is dropped: a model trained on the rest will not know it, and in an image "
        "folder the numbers of the other classes change."
    ]


def _nothing(config: ExportConfig) -> str:
    rule = selection.describe(config.drop)
    if config.keep == "flagged":
        return f"Nothing is flagged (by: {rule}): there is nothing to export with keep = flagged."
    return f"Everything is dropped (by: {rule}): nothing would be kept; drop less."


def _dataset(run: Run, *, needed: bool) -> Dataset | None:
    try:
        return run.dataset().with_labels(choice_of(run.folder, run.config().exclude).labels)
    except InputError:
        if needed:
            raise
        return None


def _rows(
    dataset: Dataset, scores: pd.DataFrame, chosen: np.ndarray, config: ExportConfig, gone: Collection[str]
) -> np.ndarray:
    """gone: sample ids that an earlier round of cleaning left out of this scan; they must not come back as the rest."""
    scanned = scores["row"].to_numpy(dtype=np.int64)
    if scanned.max(initial=-1) >= dataset.info.count:
        raise InputError("The scores of this run name images that its data set does not have: scan it again.")
    rows = scanned[chosen]
    if config.keep != "flagged" and not config.scanned_only:
        rest = np.ones(dataset.info.count, dtype=bool)
        rest[scanned] = False
        if gone:
            rest &= ~dataset.manifest["sample_id"].isin(set(gone)).to_numpy()
        rows = np.concatenate([rows, np.flatnonzero(rest)])
    return np.sort(rows)
