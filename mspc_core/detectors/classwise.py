"""What detectors share that look at one class after the other: its members, the anomaly index, one score for two facts.

The anomaly index is the distance from the median in robust standard deviations, 1.4826 · MAD (Wang et al., "Neural
Cleanse", IEEE S&P 2019, section IV; Tang et al., USENIX Security 2021, and Ma et al., NDSS 2023, compare it with e²).
"""

from __future__ import annotations

import numpy as np

from mspc_core.errors import InputError

EXP_2 = float(np.exp(2.0))  # 7.389, the published threshold of the anomaly index
UNIMODAL = 0.75  # of the variance: what a split in two of a uniform distribution explains, the flattest with one mode
_MAD_TO_STD = 1.4826  # standard deviations of a Gaussian for one MAD,
_MEAN_TO_STD = 1.2533  # and for one mean absolute deviation


def check_labels(labels: np.ndarray, count: int) -> np.ndarray:
    """Labels as int64 [N]. Raises `InputError` unless there is one for each image."""
    found = np.asarray(labels).astype(np.int64).ravel()
    if len(found) != count:
        raise InputError(f"There are {len(found)} labels for {count} images: give one label for each image.")
    return found


def members_of(labels: np.ndarray, minimum: int) -> tuple[dict[int, np.ndarray], list[str]]:
    """Rows of each class that has at least `minimum` members, and a note on the classes that have fewer."""
    rows = {int(c): np.flatnonzero(labels == c) for c in np.unique(labels)}
    small = [c for c, members in rows.items() if len(members) < minimum]
    notes = []
    if small:
        named = ", ".join(str(c) for c in small[:10]) + (", …" if len(small) > 10 else "")
        notes.append(f"Fewer than {minimum} samples in class {named}: score 0, nothing flagged there.")
    return {c: members for c, members in rows.items() if c not in small}, notes


def note_constant(classes: list[int]) -> list[str]:
    """A note on classes whose samples all have the same features, or none."""
    if not classes:
        return []
    named = ", ".join(str(c) for c in classes[:10]) + (", …" if len(classes) > 10 else "")
    return [f"All samples of class {named} have the same features: score 0, nothing flagged there."]


def anomaly_index(values: np.ndarray) -> np.ndarray:
    """(x − median) / (1.4826 · MAD) for each value, float64 [C]; signed, 0 for all where C < 3 or all are the same.

    The published index is its absolute value; only the upper side, more evidence than in other classes, is suspicious.
    Where the MAD is 0 (half of the values are the same), 1.2533 times the mean absolute deviation takes its place.
    """
    values = np.asarray(values, dtype=np.float64)
    spread = _spread(values)
    return (values - np.median(values)) / spread if spread else np.zeros(len(values))


def anomaly_border(values: np.ndarray, limit: float) -> float | None:
    """The value whose anomaly index among `values` is `limit`; None where every index is 0."""
    values = np.asarray(values, dtype=np.float64)
    spread = _spread(values)
    return float(np.median(values)) + limit * spread if spread else None


def _spread(values: np.ndarray) -> float:
    """The unit of the anomaly index; 0 where none stands out from the others."""
    if len(values) < 3:
        return 0.0
    distance = np.abs(values - np.median(values))
    tiny = 1e-12 * max(1.0, float(np.abs(values).max()))
    spread = _MAD_TO_STD * float(np.median(distance))
    if spread <= tiny:
        spread = _MEAN_TO_STD * float(distance.mean())
    return spread if spread > tiny else 0.0


def side(margin: np.ndarray) -> np.ndarray:
    """A signed margin as a number in (0, 1), above 0.5 exactly where it is positive; monotone, without saturating as a
    logistic would (1/2 + arctan(margin / typical)/π)."""
    typical = float(np.median(np.abs(margin))) if len(margin) else 0.0
    if typical <= 0:
        typical = float(np.abs(margin).max(initial=0.0)) or 1.0
    found: np.ndarray = 0.5 + np.arctan(margin / typical) / np.pi
    return found


def both(class_ratio: float, margin: np.ndarray) -> np.ndarray:
    """One score, above 0.5 exactly where the class is suspicious *and* the sample lies on the suspicious side.

    class_ratio: evidence against the class divided by its threshold (> 1 is suspicious). margin: signed distance of
    each sample to the border inside the class, positive on the suspicious side. In a suspicious class the score is
    `side(margin)`; elsewhere the same, shrunk below 0.5 in proportion to the evidence.
    """
    factor = 1.0 if class_ratio > 1.0 else 0.5 * min(max(class_ratio, 0.0), 1.0)
    return factor * side(margin)


def top_share(scores: np.ndarray, share: float) -> np.ndarray:
    """Scores ≥ 0 divided by the value that just `round(share · n)` of them exceed (ties aside); 0 where all are 0.

    Values above 1 are the removed part of the class.
    """
    removed = min(round(share * len(scores)), len(scores) - 1)
    cutoff = float(np.sort(scores)[len(scores) - removed - 1])
    if cutoff <= 0:
        return np.where(scores > 0, 2.0, 0.0)
    return scores / cutoff
