"""Two runs of the same images, sample by sample: what one flags and the other does not. Pure functions on tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ui.compare_data import VERDICT, RunFacts
from ui.filters import flags_of, known_truth
from ui.filters import suspects_of as suspects_of

if TYPE_CHECKING:
    import pandas as pd

GROUPS = {"first": "Only in the first", "second": "Only in the second", "both": "In both", "neither": "In neither"}


@dataclass(frozen=True)
class Difference:
    """groups: first, second, both, neither → positions in the first run's table, int [n]. partner: position in the
    second's table of each position in the first's, int [N], −1 where it has no such sample. backdoors: how many of each
    group are backdoored, None while that is not known. alone: samples that only one of the runs scanned (first,
    second)."""

    groups: dict[str, np.ndarray]
    partner: np.ndarray
    backdoors: dict[str, int] | None
    alone: tuple[int, int]

    @property
    def shared(self) -> int:
        return sum(len(found) for found in self.groups.values())


def comparable(rows: list[RunFacts], first: RunFacts) -> list[RunFacts]:
    """Runs that may have scanned the same images as the first: of a data set with the same name or source."""
    return [row for row in rows if row.id != first.id and (row.data == first.data or row.source == first.source)]


def shared_detectors(first: RunFacts, second: RunFacts) -> list[str]:
    """Detectors (and the verdict, first) that finished in both runs."""
    names = [name for name in first.figures if name in second.figures]
    return sorted(names, key=lambda name: name != VERDICT)


def flags(scores: pd.DataFrame, detector: str) -> np.ndarray:
    """What a detector flags, or what the verdict suspects, bool [N]."""
    return suspects_of(scores) if detector == VERDICT else flags_of(scores, detector)


def difference(first: pd.DataFrame, second: pd.DataFrame, detector: str) -> Difference:
    """Compare what a detector flags in two runs' tables; samples are the same where their ids are."""
    import pandas as pd

    index = pd.Index(second["sample_id"])
    if not index.is_unique:  # the second of two equal ids cannot be told from the first
        index = pd.Index(index.where(~index.duplicated(), None))
    partner = index.get_indexer(pd.Index(first["sample_id"]))
    here = partner >= 0
    one = flags(first, detector)
    other = np.zeros(len(first), dtype=bool)
    other[here] = flags(second, detector)[partner[here]]
    parts = {"first": one & ~other, "second": other & ~one, "both": one & other, "neither": ~one & ~other}
    groups = {name: np.flatnonzero(part & here) for name, part in parts.items()}
    truth = known_truth(first)
    backdoors = None if truth is None else {name: int(truth[found].sum()) for name, found in groups.items()}
    return Difference(groups, partner, backdoors, (int((~here).sum()), len(second) - int(here.sum())))


def difference_table(
    first: pd.DataFrame, second: pd.DataFrame, found: Difference, group: str, detector: str, classes: list[str]
) -> pd.DataFrame:
    """The samples of a group: sample, path, label and prediction by name, and both runs' scores."""
    import pandas as pd

    here = found.groups[group]
    there = found.partner[here]
    names = dict(enumerate(classes))
    column = "suspect_score" if detector == VERDICT else f"{detector}_score"
    one, other = first.iloc[here], second.iloc[there]
    parts = {
        "sample_id": one["sample_id"].to_numpy(),
        "path": one["path"].to_numpy(),
        "label": one["label"].map(names).to_numpy(),
        "predicted by the first": one["predicted"].map(names).to_numpy(),
        "predicted by the second": other["predicted"].map(names).to_numpy(),
    }
    for label, table in (("score in the first", one), ("score in the second", other)):
        if column in table:
            parts[label] = table[column].to_numpy(dtype=float)
    return pd.DataFrame(parts)
