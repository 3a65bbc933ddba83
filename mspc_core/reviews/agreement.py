"""How reviewers agree: what each decided, who looked at the same samples, and where they differ. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

KINDS = ("remove", "keep", "unsure")


@dataclass(frozen=True)
class PairAgreement:
    """Two reviewers on the `shared` samples that both decided. same: with the same decision. kappa: Cohen's, None where
    it is undefined (nothing shared, or both gave one and the same decision to all)."""

    first: str
    second: str
    shared: int
    same: int
    kappa: float | None

    @property
    def raw(self) -> float | None:
        """The share decided alike."""
        return self.same / self.shared if self.shared else None


@dataclass(frozen=True)
class Agreement:
    """counts: reviewer → decision → samples, by each reviewer's latest decisions. shared: samples that two or more
    reviewers decided. conflicts: those of them on which the latest decisions differ, oldest first."""

    counts: dict[str, Counter[str]]
    shared: int
    pairs: tuple[PairAgreement, ...]
    conflicts: tuple[str, ...]


def agreement(opinions: Iterable[tuple[str, str, str]], most_pairs: int = 30) -> Agreement:
    """From (reviewer, sample_id, decision), one for each reviewer and sample. Pairs that share most come first, at most
    `most_pairs` of them; pairs that share nothing are left out."""
    by_reviewer: dict[str, dict[str, str]] = {}
    by_sample: dict[str, list[str]] = {}
    for reviewer, sample, decision in opinions:
        by_reviewer.setdefault(reviewer, {})[sample] = decision
        by_sample.setdefault(sample, []).append(decision)
    several = {sample: found for sample, found in by_sample.items() if len(found) > 1}
    pairs = [_pair(one, two, by_reviewer[one], by_reviewer[two]) for one, two in combinations(sorted(by_reviewer), 2)]
    pairs = sorted((pair for pair in pairs if pair.shared), key=lambda pair: -pair.shared)[:most_pairs]
    return Agreement(
        counts={name: Counter(found.values()) for name, found in by_reviewer.items()},
        shared=len(several),
        pairs=tuple(pairs),
        conflicts=tuple(sample for sample, found in several.items() if len(set(found)) > 1),
    )


def kappa(first: list[str], second: list[str]) -> float | None:
    """Cohen's kappa of two lists of decisions (Cohen, 1960); None where it is undefined."""
    if not first or len({*first, *second}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(first, second, labels=[*KINDS]))


def _pair(one: str, two: str, first: dict[str, str], second: dict[str, str]) -> PairAgreement:
    shared = [sample for sample in first if sample in second]
    left, right = [first[sample] for sample in shared], [second[sample] for sample in shared]
    same = sum(a == b for a, b in zip(left, right, strict=True))
    return PairAgreement(one, two, len(shared), same, kappa(left, right))
