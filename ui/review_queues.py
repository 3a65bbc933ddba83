"""The queues of the Review page: which samples, in which order, and what an audit of the unflagged has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.reviews import ReviewStore
from mspc_core.reviews.agreement import Agreement, agreement
from mspc_core.reviews.audit import MissRate, audit_order, miss_rate, without_gap
from mspc_core.runs import Run
from ui import cache, evidence, filters, shared_filter
from ui.filters import CODES, SampleFilter
from ui.text import count, percent, plural

AUDIT, CONFLICTS = "audit", "conflicts"
KINDS = {
    "suspects": "Suspects",
    "flagged": "Flagged by any",
    "disagree": "Detectors disagree",
    AUDIT: "Random audit of the unflagged",
    CONFLICTS: "Reviewers disagree",
    "all": "All",
}
PARAMETER = "queue"  # in the address
OPEN = "review-open"  # a queue that a button asks for


@dataclass(frozen=True)
class Audit:
    """The random audit of a run. order: positions of the unflagged samples, in the order that `seed` gives."""

    order: np.ndarray
    seed: int


def kinds_of(scores: pd.DataFrame) -> list[str]:
    """Queues that make sense for a run: no suspects where the verdict has none."""
    return [kind for kind in KINDS if kind != "suspects" or filters.suspects_of(scores).any()]


def unflagged(scores: pd.DataFrame) -> np.ndarray:
    """Positions that the verdict does not suspect (flagged by no detector, while there is no verdict), ascending."""
    flagged = filters.suspects_of(scores) if "suspect" in scores else filters.flagged_by_any(scores)
    return np.flatnonzero(~flagged)


def audit_of(run: Run) -> Audit:
    """The audit's order; its seed is drawn once for a run and recorded."""
    store = ReviewStore()
    seed = _seed(store.url, run.id)
    return Audit(_audit(str(run.folder), cache.stamp(run.folder / "scores.parquet"), seed), seed)


def estimate(order: np.ndarray, codes: np.ndarray) -> MissRate:
    """What the audit says so far. codes: each sample's decision, as in `filters.CODES`, int8 [N]."""
    decided = codes[order]
    audited = decided[: without_gap(decided != 0)]
    kept, missed, unsure = (int((audited == CODES.index(name)).sum()) for name in ("keep", "remove", "unsure"))
    return miss_rate(len(order), kept, missed, unsure)


def audit_words(found: MissRate, seed: int, behind: int) -> tuple[str, str]:
    """The audit's result and how it is to be read, as Markdown. behind: decided samples after the first gap."""
    start = f"Audited **{count(found.audited)} of {plural(found.total, 'unflagged image')}**"
    if not found.audited:
        result = f"{start}: look at them in this random order; the estimate appears with the first decision."
    else:
        unsure = f", {count(found.unsure)} unsure" if found.unsure else ""
        share = f"{percent(found.rate)}** (95 % interval {percent(found.low)} to {percent(found.high)})"
        images = f"**{plural(found.images, 'image')}** ({count(found.images_low)} to {count(found.images_high)})"
        misses = f"misses found: **{count(found.missed)}**{unsure}"
        result = f"{start} · {misses} · estimated miss rate **{share}, that is {images}"
    how = (
        "A miss is an unflagged image that you mark as remove. Interval: Clopper-Pearson; unsure counts as missed at "
        f"its upper end. The order is random (seed {seed}) and fixed, so the audit can be continued; filters and "
        "sorting do not change it."
    )
    if behind:
        how += f" {plural(behind, 'decision')} after the first image that was skipped will count once it is decided."
    return result, how


def agreement_of(run: Run) -> Agreement:
    """How the reviewers of a run agree (cached until somebody decides)."""
    return _agreement(ReviewStore().url, run.id, cache.snapshot_of(run).newest)


def positions_of(run: Run, samples: Sequence[str]) -> np.ndarray:
    """Positions of samples in the run's table, in their order; those that are not in it are left out."""
    found = cache.sample_index(run).get_indexer_for(pd.Index(list(samples), dtype=object))
    return np.asarray(found[found >= 0], dtype=np.int64)


def queue_of(run: Run, kind: str, wanted: SampleFilter, by: str, descending: bool) -> np.ndarray:
    """Positions of a queue, in order. The shared filter narrows each but the audit, which would stop being random."""
    if kind == AUDIT:
        return audit_of(run).order
    if kind == CONFLICTS:
        found = positions_of(run, agreement_of(run).conflicts)
        return found[np.isin(found, shared_filter.view_of(run, wanted).positions)]
    wanted = replace(
        wanted,
        suspects=wanted.suspects or kind == "suspects",
        flagged=wanted.flagged or kind == "flagged",
        disagreement=wanted.disagreement or kind == "disagree",
    )
    return evidence.queue_in(run, shared_filter.view_of(run, wanted), by, descending)


@st.cache_resource(max_entries=64, show_spinner=False)
def _seed(url: str, run_id: str) -> int:
    return ReviewStore(url).audit_seed(run_id)


@st.cache_resource(max_entries=4, show_spinner="Drawing the audit …")
def _audit(folder: str, changed: int, seed: int) -> np.ndarray:
    scores = cache.scores_of(Run(Path(folder)))
    chosen = unflagged(scores)
    found: np.ndarray = chosen[audit_order(scores["sample_id"].to_numpy(dtype=object)[chosen], seed)]
    found.setflags(write=False)
    return found


@st.cache_resource(max_entries=4, show_spinner=False)
def _agreement(url: str, run_id: str, newest: int) -> Agreement:
    return agreement(ReviewStore(url).opinions(run_id))
