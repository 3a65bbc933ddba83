"""The audit's estimate against values worked out by hand and a slow definition; its order; what unsure means."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from mspc_core.reviews.audit import audit_order, clopper_pearson, miss_rate, without_gap


def tail_from(found: int, drawn: int, share: float) -> float:
    """The probability of `found` or more in `drawn` trials."""
    return sum(comb(drawn, k) * share**k * (1 - share) ** (drawn - k) for k in range(found, drawn + 1))


def test_values_with_a_closed_form() -> None:
    """None found: (1 - high)^n = 0.025. One of ten: 1 - (1 - low)^10 = 0.025."""
    assert clopper_pearson(0, 100) == pytest.approx((0.0, 0.0362167), abs=1e-7)
    assert clopper_pearson(100, 100) == pytest.approx((1 - 0.0362167, 1.0), abs=1e-7)
    low, high = clopper_pearson(1, 10)
    assert low == pytest.approx(1 - 0.975**0.1)
    assert (1 - high) ** 10 + 10 * high * (1 - high) ** 9 == pytest.approx(0.025)
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@given(drawn=some.integers(1, 60), share=some.floats(0, 1), level=some.sampled_from([0.8, 0.95, 0.99]))
def test_the_ends_are_where_the_tails_hold_half_of_the_rest(drawn: int, share: float, level: float) -> None:
    found = round(share * drawn)
    low, high = clopper_pearson(found, drawn, level)
    assert 0 <= low <= found / drawn <= high <= 1
    if found:
        assert tail_from(found, drawn, low) == pytest.approx((1 - level) / 2, abs=1e-9)
    if found < drawn:
        assert 1 - tail_from(found + 1, drawn, high) == pytest.approx((1 - level) / 2, abs=1e-9)


def test_a_share_that_is_none() -> None:
    with pytest.raises(ValueError, match="is not a share"):
        clopper_pearson(3, 2)
    with pytest.raises(ValueError, match="audited of"):
        miss_rate(5, kept=4, missed=1, unsure=1)


def test_what_a_rate_implies_in_images() -> None:
    """100 of 10,000 audited, none missed: at most 3.62 %, 363 images."""
    found = miss_rate(10_000, kept=100, missed=0, unsure=0)
    assert (found.audited, found.rate, found.low) == (100, 0.0, 0.0)
    assert (found.images_low, found.images, found.images_high) == (0, 0, 363)
    found = miss_rate(1_000, kept=9, missed=1, unsure=0)
    assert found.rate == 0.1
    assert (found.images_low, found.images, found.images_high) == (2, 100, 446)


def test_unsure_counts_as_missed_at_the_upper_end_only() -> None:
    with_unsure = miss_rate(10_000, kept=90, missed=2, unsure=8)
    assert with_unsure.rate == 0.02
    assert with_unsure.low == pytest.approx(clopper_pearson(2, 100)[0])
    assert with_unsure.high == pytest.approx(clopper_pearson(10, 100)[1])


def test_when_all_are_audited_nothing_is_estimated() -> None:
    found = miss_rate(50, kept=45, missed=2, unsure=3)
    assert (found.images_low, found.images, found.images_high) == (2, 2, 5)
    assert (found.low, found.high) == (2 / 50, 5 / 50)


def test_before_the_first_everything_is_possible() -> None:
    found = miss_rate(70, 0, 0, 0)
    assert np.isnan(found.rate)
    assert (found.low, found.high, found.images_low, found.images_high) == (0.0, 1.0, 0, 70)


@given(total=some.integers(1, 400), data=some.data())
def test_images_are_possible_ones(total: int, data: some.DataObject) -> None:
    kept = data.draw(some.integers(0, total))
    missed = data.draw(some.integers(0, total - kept))
    unsure = data.draw(some.integers(0, total - kept - missed))
    found = miss_rate(total, kept, missed, unsure)
    assert missed <= found.images_low <= found.images_high <= total - kept
    if found.audited:
        assert found.images_low <= found.images <= found.images_high


def test_the_interval_covers() -> None:
    """3,000 audits of 60 out of 500 samples, 30 of them missed: the interval holds 6 % in at least 95 %."""
    draw = np.random.default_rng(0)
    held = 0
    for missed in draw.hypergeometric(30, 470, 60, size=3_000):
        found = miss_rate(500, kept=60 - int(missed), missed=int(missed), unsure=0)
        held += found.low <= 0.06 <= found.high
    assert held >= 0.95 * 3_000


def test_the_order_is_fixed_by_seed_and_names() -> None:
    names = np.array([f"sample{number}" for number in range(200)], dtype=object)
    order = audit_order(names, 7)
    assert sorted(order.tolist()) == list(range(200))
    assert audit_order(names, 7).tolist() == order.tolist()
    assert audit_order(names, 8).tolist() != order.tolist()
    assert [names[place] for place in order[:3]] == ["sample133", "sample12", "sample126"], "the same on every machine"


def test_the_rest_keeps_its_order_when_some_are_taken_out() -> None:
    names = np.array([f"sample{number}" for number in range(100)], dtype=object)
    whole = names[audit_order(names, 3)].tolist()
    fewer = names[::3]
    assert fewer[audit_order(fewer, 3)].tolist() == [name for name in whole if name in set(fewer)]


def test_the_order_favours_no_place() -> None:
    """The mean place of the first 50 of 1,000, over 40 seeds, is near the middle."""
    names = [f"{number:020x}" for number in range(1_000)]
    means = [audit_order(names, seed)[:50].mean() for seed in range(40)]
    assert np.mean(means) == pytest.approx(499.5, abs=4 * 288.7 / np.sqrt(50 * 40))


def test_decided_without_a_gap() -> None:
    assert without_gap(np.array([True, True, False, True])) == 2
    assert without_gap(np.array([False, True])) == 0
    assert without_gap(np.array([True, True])) == 2
    assert without_gap(np.array([], dtype=bool)) == 0
