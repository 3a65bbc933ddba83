"""The random audit: how many of the samples that nobody flagged are backdoored all the same?

Samples are looked at in a random order. Those that have been decided from its beginning on without a gap are a simple
random sample of all, whoever decided them and when, so that their share of misses estimates the share among all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class MissRate:
    """audited of total samples, among them `missed` (decided "remove") and `unsure`.

    rate: missed / audited, NaN before the first. low, high: the interval; its upper end counts every unsure sample as
    missed. images_low, images, images_high: the number among all that these stand for.
    """

    total: int
    audited: int
    missed: int
    unsure: int
    rate: float
    low: float
    high: float
    images_low: int
    images: int
    images_high: int


def clopper_pearson(found: int, drawn: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact two-sided interval of a binomial share (Clopper and Pearson, Biometrika 26, 1934), by quantiles of the
    beta distribution. (0, 1) when nothing was drawn."""
    from scipy.stats import beta

    if not 0 <= found <= drawn:
        raise ValueError(f"{found} of {drawn} is not a share")
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, found, drawn - found + 1)) if found else 0.0
    high = float(beta.ppf(1 - tail, found + 1, drawn - found)) if found < drawn else 1.0
    return low, high


def miss_rate(total: int, kept: int, missed: int, unsure: int, level: float = LEVEL) -> MissRate:
    """Estimate from an audit of `kept + missed + unsure` samples out of `total`.

    The binomial interval leaves out that samples are drawn without replacement, which errs to the wide side; what was
    seen bounds it too: once all are audited, only the unsure ones leave it open.
    """
    audited = kept + missed + unsure
    if audited > total:
        raise ValueError(f"{audited} audited of {total}")
    if not audited:
        return MissRate(total, 0, 0, 0, float("nan"), 0.0, 1.0, 0, 0, total)
    low = max(clopper_pearson(missed, audited, level)[0], missed / total)
    high = min(clopper_pearson(missed + unsure, audited, level)[1], (total - kept) / total)
    rate = missed / audited
    images_low, images_high = int(np.floor(low * total + 1e-9)), int(np.ceil(high * total - 1e-9))
    return MissRate(
        total, audited, missed, unsure, rate, low, high, images_low, max(missed, round(rate * total)), images_high
    )


def audit_order(sample_ids: Sequence[str] | np.ndarray, seed: int) -> np.ndarray:
    """Places of `sample_ids` in the audit's order, int64.

    Each sample's rank comes from a keyed hash of its id and does not depend on the others: when a detector that
    finishes later flags some of them, the rest keep their order and the audit goes on.
    """
    key = seed.to_bytes(8, "big", signed=True)
    ranks = np.fromiter(
        (
            int.from_bytes(hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest())
            for name in sample_ids
        ),
        dtype=np.uint64,
        count=len(sample_ids),
    )
    order: np.ndarray = np.argsort(ranks, kind="stable")
    return order


def without_gap(decided: np.ndarray) -> int:
    """How many samples have been decided from the beginning on. decided: bool [N], in the audit's order."""
    return int(np.argmin(decided)) if not decided.all() else len(decided)
