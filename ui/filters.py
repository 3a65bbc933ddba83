"""Which samples, in which order: one filter that galleries, counts and downloads share. Pure functions on tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.export.tables import csv_text
from mspc_core.export.tables import safe_cell as safe_cell
from ui.detector_facts import MEMBERS, SUSPECT, TELLING, ordered_names
from ui.detector_facts import title_of as title_of

if TYPE_CHECKING:
    import pandas as pd

UNDECIDED = "open"
CODES = (UNDECIDED, "keep", "remove", "unsure")


@dataclass(frozen=True)
class Agreement:
    """among: the detectors that are counted. votes: exactly so many of them flag the sample. pattern: these flag it and
    the others among them do not. One of the two is given."""

    among: tuple[str, ...]
    votes: int | None = None
    pattern: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SampleFilter:
    """Empty fields let everything pass. classes: predicted classes. flagged: by at least one detector. flagged_by: by
    all of these.
    decisions: any of keep, remove, unsure, open. disagreement: some detectors flag it and others do not.
    ranges: (detector, low, high), at most one of each detector. text: part of the path or of the sample id, in any
    case. agreement: which of some detectors flag it. picked: name of a saved pick (`mspc_core.picks`)."""

    suspects: bool = False
    flagged: bool = False
    classes: tuple[int, ...] = ()
    flagged_by: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    disagreement: bool = False
    ranges: tuple[tuple[str, float, float], ...] = ()
    text: str = ""
    agreement: Agreement | None = None
    picked: str = ""

    def range_of(self, detector: str) -> tuple[float, float] | None:
        """The range of a detector's scores that passes, or None when all do."""
        return next(((low, high) for name, low, high in self.ranges if name == detector), None)

    def with_range(self, detector: str, chosen: tuple[float, float] | None) -> SampleFilter:
        """The same with another range of a detector's scores; None: without one."""
        others = tuple(part for part in self.ranges if part[0] != detector)
        return replace(self, ranges=others if chosen is None else (*others, (detector, *chosen)))


@dataclass(frozen=True)
class View:
    """What a filter leaves of a run's table. positions: in the table, ascending, read-only, int64. token: names the
    filter and the decisions it looked at, for caches; empty where everything passes."""

    wanted: SampleFilter
    positions: np.ndarray
    token: str = ""

    @property
    def everything(self) -> bool:
        return not self.token

    @property
    def part(self) -> np.ndarray | None:
        """`positions`, or None where everything passes: then nothing has to be picked out."""
        return None if self.everything else self.positions


def detector_names(columns: Any) -> list[str]:
    """Detectors whose score is in a table: the default ones first, then in the catalogue's order."""
    found = (str(name).removesuffix("_score") for name in columns if str(name).endswith("_score"))
    return ordered_names(name for name in found if name != SUSPECT)


def known_truth(scores: pd.DataFrame) -> np.ndarray | None:
    """`is_backdoor` as bool [N], or None unless it is known of every sample."""
    if "is_backdoor" not in scores or scores["is_backdoor"].isna().any() or not len(scores):
        return None
    return scores["is_backdoor"].to_numpy(dtype=bool)


def flags_of(scores: pd.DataFrame, detector: str) -> np.ndarray:
    """A detector's flags, bool [N]; nothing is flagged while it has not finished. `SUSPECT`: the verdict's suspects."""
    if detector == SUSPECT:
        return suspects_of(scores)
    column = f"{detector}_flagged"
    if column not in scores:
        return np.zeros(len(scores), dtype=bool)
    return scores[column].fillna(False).to_numpy(dtype=bool)


def suspects_of(scores: pd.DataFrame) -> np.ndarray:
    """The verdict's suspects, bool [N]; none while there is no verdict."""
    if "suspect" not in scores:
        return np.zeros(len(scores), dtype=bool)
    return scores["suspect"].fillna(False).to_numpy(dtype=bool)


def flagged_by_any(scores: pd.DataFrame) -> np.ndarray:
    """Flagged by at least one detector, bool [N]."""
    found = np.zeros(len(scores), dtype=bool)
    for name in detector_names(scores.columns):
        found |= flags_of(scores, name)
    return found


def agreeing(scores: pd.DataFrame, wanted: Agreement) -> np.ndarray:
    """Samples that the detectors agree on as wanted, bool [N]."""
    flags = {name: flags_of(scores, name) for name in wanted.among}
    if wanted.pattern is not None:
        kept = np.ones(len(scores), dtype=bool)
        for name, flagged in flags.items():
            kept &= flagged == (name in wanted.pattern)
        return kept
    votes = np.zeros(len(scores), dtype=int)
    for flagged in flags.values():
        votes += flagged
    found: np.ndarray = votes == wanted.votes
    return found


def decision_codes(index: pd.Index, decisions: dict[str, str]) -> np.ndarray:
    """Each sample's decision as its place in `CODES`: int8 [N]. index: the sample ids."""
    found = np.zeros(len(index), dtype=np.int8)
    if not decisions:
        return found
    import pandas as pd

    numbers = {name: number for number, name in enumerate(CODES)}
    if not index.is_unique:
        return index.to_series().map(decisions).map(numbers).fillna(0).to_numpy(dtype=np.int8)
    places = index.get_indexer(pd.Index(list(decisions), dtype=object))
    codes = np.fromiter((numbers.get(name, 0) for name in decisions.values()), dtype=np.int8, count=len(decisions))
    found[places[places >= 0]] = codes[places >= 0]
    return found


def decision_column(scores: pd.DataFrame, decisions: dict[str, str]) -> np.ndarray:
    """Each sample's decision, or `open`: text [N], which compares far faster than objects."""
    found = np.full(len(scores), UNDECIDED, dtype="<U10")
    if decisions:
        here = np.flatnonzero(scores["sample_id"].isin(list(decisions)).to_numpy())
        found[here] = [decisions[identity] for identity in scores["sample_id"].iloc[here]]
    return found


def positions(
    scores: pd.DataFrame,
    wanted: SampleFilter,
    decisions: dict[str, str] | None = None,
    picked: np.ndarray | None = None,
) -> np.ndarray:
    """Positions in the table that pass every part of the filter, ascending, int64. picked: those of the saved pick."""
    kept = np.ones(len(scores), dtype=bool)
    if wanted.picked:
        kept[:] = False
        if picked is not None:
            kept[picked] = True
    if wanted.suspects:
        kept &= suspects_of(scores)
    if wanted.flagged:
        kept &= flagged_by_any(scores)
    if wanted.classes:
        kept &= np.isin(scores["predicted"].to_numpy(), wanted.classes)
    for name in wanted.flagged_by:
        kept &= flags_of(scores, name)
    if wanted.disagreement:
        flags = [flags_of(scores, name) for name in detector_names(scores.columns)]
        kept &= np.logical_or.reduce(flags) & ~np.logical_and.reduce(flags) if flags else False
    for name, low, high in wanted.ranges:
        if f"{name}_score" in scores:
            values = scores[f"{name}_score"].to_numpy(dtype=float)
            kept &= (values >= low) & (values <= high)
    if wanted.agreement is not None:
        kept &= agreeing(scores, wanted.agreement)
    if wanted.decisions:
        decided = decision_column(scores, decisions or {})
        kept &= np.logical_or.reduce([decided == name for name in wanted.decisions])
    if wanted.text.strip():
        kept &= _containing(scores, wanted.text.strip())
    return np.flatnonzero(kept)


def _containing(scores: pd.DataFrame, text: str) -> np.ndarray:
    """Samples whose path or id contains a text, in any case, bool [N]."""
    found = np.zeros(len(scores), dtype=bool)
    for name in ("path", "sample_id"):
        found |= scores[name].astype("str").str.contains(text, case=False, regex=False, na=False).to_numpy(dtype=bool)
    return found


def ordered(scores: pd.DataFrame, chosen: np.ndarray, by: str, descending: bool = True) -> np.ndarray:
    """`chosen` positions sorted by a column; ties keep the table's order, missing values come last either way."""
    if by not in scores or not len(chosen):
        return chosen
    values = scores[by].iloc[chosen].reset_index(drop=True)
    order = values.sort_values(ascending=not descending, kind="stable", na_position="last").index.to_numpy()
    found: np.ndarray = chosen[order]
    return found


def default_sort(scores: pd.DataFrame) -> str:
    """The column that puts the most telling samples first: the verdict's own score where it has suspects, else that of
    `telling_detector`."""
    if f"{SUSPECT}_score" in scores and suspects_of(scores).any():
        return f"{SUSPECT}_score"
    name = telling_detector(scores)
    return f"{name}_score" if name else "confidence"


def telling_detector(scores: pd.DataFrame) -> str | None:
    """The detector to look at first: the test of the verdict that flags most of its suspects. Without suspects, the
    last of `TELLING` that flags any, or else the last that has finished; any other detector where none of these ran."""
    finished, suspects = detector_names(scores.columns), suspects_of(scores)
    shared = {name: int((flags_of(scores, name) & suspects).sum()) for name in MEMBERS if name in finished}
    if any(shared.values()):
        return max(shared, key=lambda name: shared[name])
    names = [name for name in TELLING if name in finished] or finished
    loud = [name for name in names if flags_of(scores, name).any()]
    return (loud or names)[-1] if names else None


def next_open(queue: np.ndarray, decided: np.ndarray, current: int | None) -> int | None:
    """The next undecided position after `current`, going round once; None when nothing is open.

    queue: positions in their order; decided: bool [N] over the whole table.
    """
    here = np.flatnonzero(queue == (-1 if current is None else current))
    turned = np.roll(queue, -(int(here[0]) + 1)) if len(here) else queue
    still = turned[~decided[turned]]
    still = still[still != current]
    return int(still[0]) if len(still) else None


def neighbour(queue: np.ndarray, current: int | None, step: int) -> int | None:
    """The position `step` places on in a queue; its ends hold. From outside the queue: the first."""
    if not len(queue):
        return None
    here = np.flatnonzero(queue == (-1 if current is None else current))
    return int(queue[min(max(int(here[0]) + step, 0), len(queue) - 1)]) if len(here) else int(queue[0])


def safe_csv(table: pd.DataFrame) -> bytes:
    """A table as CSV (UTF-8, with a mark that spreadsheets understand) in which no text cell starts a formula."""
    return ("\ufeff" + csv_text(table)).encode("utf-8", "replace")


def review_table(scores: pd.DataFrame, decisions: dict[str, str], classes: list[str]) -> pd.DataFrame:
    """What a reviewer takes home: sample, path, classes by name, every score and flag, the decision."""
    columns = ["sample_id", "path", "label", "predicted", "confidence"]
    for name in detector_names(scores.columns):
        columns += [f"{name}_score", f"{name}_flagged"]
    columns += [name for name in ("suspect_score", "suspect", "is_backdoor") if name in scores]
    table = scores[[name for name in columns if name in scores]].copy()
    names = {number: name for number, name in enumerate(classes)}
    table.insert(3, "label_name", table["label"].map(names))
    table.insert(5, "predicted_name", table["predicted"].map(names))
    decided = decision_column(scores, decisions)
    table["decision"] = np.where(decided == UNDECIDED, "", decided)
    return table
