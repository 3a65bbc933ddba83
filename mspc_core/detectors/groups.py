"""Does a class fall into two groups, and which of them was planted? The statistics behind SCAn and the feature mixture.

Pure functions on arrays. Features are scaled to unit length first: their direction says what the network sees, their
length how sure it is, and the length of an honest class varies more than anything else.

Two facts are asked for, because each alone can be had by accident. J, the gain of two groups over one as in SCAn (Tang
et al., USENIX Security 2021), says how far apart the groups are, in units of how much samples of *other* classes vary.
The share of variance that the split explains along the line between the groups, in samples that did not choose this
line, says whether there are two groups at all: 2-means explains 2/π = 64 % of a Gaussian, and 75 % of a uniform
distribution, the flattest with a single mode.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf_shrinkage

_MOST_APART = 50  # classes; with more, one is so small a part that leaving it out changes little
_MOST_READ = 50_000  # samples that the shrinkage is worked out from,
_MOST_VALUES = 25_000 * 512  # and values: 100 MB, and as much again while it is worked out
_TINY = 1e-12


class Split(NamedTuple):
    """One class in two groups. margin: float64 [n], positive in the group called second. statistic: J. explained: in
    [0, 1]. second: bool [n]."""

    margin: np.ndarray
    statistic: float
    explained: float

    @property
    def second(self) -> np.ndarray:
        found: np.ndarray = self.margin > 0
        return found

    def turned_over(self) -> Split:
        """The same with the groups exchanged."""
        return self._replace(margin=-self.margin)


class TwoMeans(NamedTuple):
    """sizes: of both groups, int [2]. margin: float64 [n], the log likelihood ratio of the smaller group to the other.
    statistic: J, by how much the mean squared distance to the centre drops."""

    fitted: KMeans
    sizes: np.ndarray
    margin: np.ndarray
    statistic: float


def unit_length(features: np.ndarray) -> np.ndarray:
    """[N, D] → every row of length 1 (rows of zeros stay)."""
    found: np.ndarray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _TINY)
    return found


def split_classes(features: np.ndarray, members: dict[int, np.ndarray], seed: int) -> dict[int, Split]:
    """Each class in two groups; a class whose samples all have the same features is left out.

    features: float [N, D]; members: class → its rows. Distances in a class are in units of the variation within the
    other classes, S_e^(-1/2) (r − r̄): no clean data is needed for it, because what is planted in one class stays out of
    its own measure (above 50 classes, one measure does for all). S_e is shrunk towards a multiple of the identity by
    the share of Ledoit & Wolf (2004).
    """
    whole, count = np.zeros((features.shape[1], features.shape[1])), 0
    for rows in members.values():
        own = _centred(features[rows])
        whole, count = whole + own.T @ own, count + len(own)
    shrinkage = _shrinkage(features, members, count)
    common = whitener(whole / max(1, count), shrinkage)
    apart = 1 < len(members) <= _MOST_APART
    found = {}
    for label, rows in members.items():
        own, white = _centred(features[rows]), common
        if apart:
            white = whitener((whole - own.T @ own) / (count - len(rows)), shrinkage)
        points = own @ white
        del own  # as large as the points; of a large class there should be few of these
        split = two_groups(points, seed)
        if split is not None:
            found[label] = split
    return found


def kinds(logits: np.ndarray, label: int) -> float:
    """How mixed the contents of a group are: the entropy in nats of the class that comes next after `label`.

    logits: [n, C]. What looks like the class without belonging to it can look like anything underneath, whereas honest
    samples share what they are confused with. Corrected for the size of the group (Miller 1955).
    """
    beside = logits.astype(np.float64).copy()
    beside[:, label] = -np.inf
    counts = np.bincount(beside.argmax(1), minlength=logits.shape[1])
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() + (len(shares) - 1) / (2 * len(logits)))


def _shrinkage(features: np.ndarray, members: dict[int, np.ndarray], count: int) -> float:
    """How much S_e is shrunk. From every k-th sample where there are many: the share falls with their number."""
    step = -(-count // max(1, min(_MOST_READ, _MOST_VALUES // max(1, features.shape[1]))))
    # Copies: a view would hold all samples of its class.
    rest = np.concatenate([_centred(features[rows])[::step].copy() for rows in members.values()])
    return float(ledoit_wolf_shrinkage(rest, assume_centered=True)) * len(rest) / max(1, count)


def _centred(features: np.ndarray) -> np.ndarray:
    values: np.ndarray = features.astype(np.float64)
    values -= values.mean(0)
    return values


def whitener(within: np.ndarray, shrinkage: float) -> np.ndarray:
    """S_e^(-1/2), [D, D], of a covariance [D, D] that is shrunk by this share towards a multiple of the identity."""
    size = max(float(np.trace(within)) / len(within), _TINY)
    values, vectors = np.linalg.eigh((1 - shrinkage) * within + shrinkage * size * np.eye(len(within)))
    found: np.ndarray = (vectors / np.sqrt(values.clip(1e-9 * size))) @ vectors.T
    return found


def two_groups(white: np.ndarray, seed: int) -> Split | None:
    """2-means of whitened features [n, D]; the smaller group is the second. None if all features are the same."""
    found = two_means(white, seed)
    return None if found is None else Split(found.margin, found.statistic, explained(white, seed))


def two_means(white: np.ndarray, seed: int) -> TwoMeans | None:
    """2-means of whitened features [n, D] and what it gains. None if all features are the same."""
    centred = white - white.mean(0)
    if max(centred.max(), -centred.min()) <= 1e-6 * max(1.0, white.max(), -white.min()):
        return None
    whole = float(np.square(centred, out=centred).sum())
    del centred  # as large as the features
    fitted = KMeans(2, n_init=10, random_state=seed).fit(white)
    sizes = np.bincount(fitted.labels_, minlength=2)
    if not sizes.all():
        return None
    squared = fitted.transform(white) ** 2
    small = int(sizes.argmin())
    margin = (squared[:, 1 - small] - squared[:, small]) / 2
    statistic = float(whole - squared.min(1).sum()) / len(white)
    return TwoMeans(fitted, sizes, margin, statistic)


def explained(white: np.ndarray, seed: int) -> float:
    """Share of the variance along the line between two groups that the split explains; white: [n, D], centred.

    The line comes from one half of the samples and the share from the other, both ways: among many dimensions there is
    always some line along which the samples that chose it fall apart.
    """
    half = np.random.default_rng(seed).permutation(len(white)) % 2 == 0
    found = []
    for chosen in (half, ~half):
        if not len(white[~chosen]) or (white[chosen] == white[chosen][:1]).all():
            return 0.0
        centres = KMeans(2, n_init=10, random_state=seed).fit(white[chosen]).cluster_centers_
        found.append(_best_cut((white[~chosen] @ (centres[1] - centres[0])).astype(np.float64)))
    return float(np.mean(found))


def _best_cut(values: np.ndarray) -> float:
    """The largest share of the variance of [n] numbers that two groups explain, by trying every border."""
    ordered = np.sort(values - values.mean())
    whole = float((ordered**2).sum())
    if whole <= _TINY:
        return 0.0
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)[:-1]
    between = sums**2 / below + sums**2 / (len(ordered) - below)  # the means sum to 0
    return float(between.max()) / whole
