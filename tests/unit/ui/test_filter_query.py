"""The shared filter in the address: read back as it was written, and never trusted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.filter_query import KEYS, chips, from_query, to_query
from ui.filters import Agreement, SampleFilter

DETECTORS = ("spc", "mspc", "transplant")
score = st.tuples(st.sampled_from(DETECTORS), st.sampled_from([-1.0, 0.0, 0.25]), st.sampled_from([0.5, 1.0]))
wanted_filters = st.builds(
    SampleFilter,
    suspects=st.just(False),
    flagged=st.booleans(),
    classes=st.lists(st.integers(0, 9), unique=True).map(tuple),
    flagged_by=st.lists(st.sampled_from(DETECTORS), unique=True).map(tuple),
    decisions=st.lists(st.sampled_from(["open", "keep", "remove", "unsure"]), unique=True).map(tuple),
    disagreement=st.booleans(),
    ranges=st.lists(score, unique_by=lambda part: part[0]).map(tuple),
    text=st.text(max_size=40).map(str.strip),
    agreement=st.sampled_from([None, Agreement(DETECTORS, votes=2), Agreement(DETECTORS, pattern=("spc",))]),
    picked=st.sampled_from(["", "0123456789abcdef"]),
)


@given(wanted_filters)
def test_it_is_read_back_as_it_was_written(wanted: SampleFilter) -> None:
    query = to_query(wanted)
    assert set(query) <= set(KEYS)
    assert from_query(query, DETECTORS, 10) == (wanted, [])


def test_a_filter_that_lets_all_pass_leaves_no_trace() -> None:
    assert to_query(SampleFilter()) == {}
    assert chips(SampleFilter(), []) == []


@pytest.mark.parametrize(
    "query",
    [
        {"show": "everything"},
        {"class": "10"},
        {"class": "-1"},
        {"class": "<b>"},
        {"by": "nobody"},
        {"decision": "delete"},
        {"score": "spc"},
        {"score": "spc:nan:1"},
        {"score": "nobody:0:1"},
        {"agree": "3~nobody"},
        {"pick": "../../etc/passwd"},
    ],
)
def test_what_does_not_fit_is_dropped_and_said(query: dict[str, str]) -> None:
    wanted, lost = from_query(query, DETECTORS, 10)
    assert wanted == SampleFilter()
    assert len(lost) == 1


def test_what_fits_stays_beside_what_does_not() -> None:
    wanted, lost = from_query({"class": "3,77", "score": "spc:0:1,mspc:x:y"}, DETECTORS, 10)
    assert wanted == SampleFilter(classes=(3,), ranges=(("spc", 0.0, 1.0),))
    assert len(lost) == 2


@given(wanted_filters)
def test_removing_every_chip_lets_all_pass(wanted: SampleFilter) -> None:
    labels = [f"class {number}" for number in range(10)]
    steps = 0
    while found := chips(wanted, labels):
        wanted, steps = found[0].without, steps + 1
        assert steps < 40
    assert to_query(wanted) == {}


def test_chips_show_names_as_text() -> None:
    label = chips(SampleFilter(classes=(0,), text="[a](b)"), ["<img src=x> **bold**"])
    assert [chip.label for chip in label] == [r"class \<img src\=x\> \*\*bold\*\*", r"“\[a\]\(b\)”"]


def test_another_range_of_the_same_detector_takes_its_place() -> None:
    wanted = SampleFilter().with_range("spc", (0.0, 1.0)).with_range("mspc", (0.0, 0.5)).with_range("spc", (0.5, 1.0))
    assert wanted.range_of("spc") == (0.5, 1.0)
    assert wanted.with_range("spc", None).ranges == (("mspc", 0.0, 0.5),)
    assert wanted.range_of("transplant") is None
    assert np.isfinite(wanted.ranges[0][1])
