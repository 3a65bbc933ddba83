"""Agreement of detectors on eight samples, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ui import agreement, figures_matrix, filters
from ui.agreement import Pattern
from ui.filters import Agreement, SampleFilter

NAMES = ["spc", "mspc", "transplant"]
FLAGS = np.array(
    [  # SPC, MSPC, transplant
        [1, 1, 1],
        [1, 1, 1],
        [1, 1, 0],
        [1, 0, 0],
        [1, 0, 0],
        [0, 0, 1],
        [0, 0, 0],
        [0, 0, 0],
    ],
    dtype=bool,
)
TRUTH = np.array([1, 1, 0, 0, 0, 1, 1, 0], dtype=bool)


@pytest.fixture
def scores() -> pd.DataFrame:
    columns = {f"{name}_flagged": FLAGS[:, place] for place, name in enumerate(NAMES)}
    columns |= {f"{name}_score": FLAGS[:, place].astype(float) for place, name in enumerate(NAMES)}
    return pd.DataFrame({"sample_id": list("abcdefgh"), "predicted": 0, **columns})


def test_flags_are_in_the_order_asked_for(scores: pd.DataFrame) -> None:
    assert (agreement.flag_matrix(scores, ["transplant", "spc"]) == FLAGS[:, [2, 0]]).all()
    assert agreement.flag_matrix(scores, []).shape == (8, 0)
    assert not agreement.flag_matrix(scores, ["not finished"]).any()


def test_overlap_by_hand() -> None:
    found = agreement.pairwise(FLAGS, "jaccard")
    assert found == pytest.approx(np.array([[1, 3 / 5, 2 / 6], [3 / 5, 1, 2 / 4], [2 / 6, 2 / 4, 1]]))


def test_the_share_that_the_other_flags_too_depends_on_the_side() -> None:
    found = agreement.pairwise(FLAGS, "also")
    assert found[0] == pytest.approx([1, 3 / 5, 2 / 5])  # of SPC's five
    assert found[:, 0] == pytest.approx([1, 1, 2 / 3])  # all of MSPC's three, two of the transplant's three


def test_a_detector_that_flags_nothing_agrees_with_nobody() -> None:
    flags = np.array([[1, 0], [1, 0]], dtype=bool)
    assert np.array_equal(agreement.pairwise(flags, "jaccard"), [[1, 0], [0, np.nan]], equal_nan=True)
    assert np.array_equal(agreement.pairwise(flags, "also"), [[1, 0], [np.nan, np.nan]], equal_nan=True)


def test_votes_by_hand() -> None:
    found = agreement.votes(FLAGS, TRUTH)
    assert found.samples.tolist() == [2, 3, 1, 2]
    assert found.backdoors is not None
    assert found.backdoors.tolist() == [1, 1, 0, 2]
    assert agreement.votes(FLAGS, None).backdoors is None
    table = agreement.votes_table(found)
    assert table["share of backdoors"].tolist() == pytest.approx([1 / 2, 1 / 3, 0, 1])


@pytest.mark.parametrize(
    ("points", "k"),
    [([{"x": 2.8, "point_index": 3}], 3), ([{"x": 2, "point_index": 2}, {"point_index": 0}], 2), ([], None)],
)
def test_a_click_on_a_bar_names_its_votes(points: list[dict[str, float]], k: int | None) -> None:
    assert agreement.clicked_votes({"selection": {"points": points}}, agreement.votes(FLAGS, TRUTH)) == k


def test_a_click_beside_the_bars_chooses_nothing() -> None:
    voted = agreement.votes(np.zeros((3, 2), dtype=bool), None)
    for event in ({}, {"selection": {"points": [{"point_index": 9}]}}, {"selection": {"points": [{"point_index": 1}]}}):
        assert agreement.clicked_votes(event, voted) is None


def test_nobody_voting_is_counted_too() -> None:
    found = agreement.votes(np.zeros((3, 2), dtype=bool), np.array([True, False, False]))
    assert found.samples.tolist() == [3, 0, 0]
    assert np.isnan(agreement.votes_table(found)["share of backdoors"].to_numpy()[1:]).all()


def test_patterns_by_hand_with_ties_in_a_fixed_order() -> None:
    found = agreement.patterns(FLAGS, NAMES, TRUTH)
    assert found == [
        Pattern(("spc",), 2, 0),
        Pattern(("spc", "mspc", "transplant"), 2, 2),
        Pattern(("transplant",), 1, 1),
        Pattern(("spc", "mspc"), 1, 0),
    ]
    assert agreement.patterns(FLAGS, NAMES, None, most=1) == [Pattern(("spc",), 2, None)]
    assert agreement.patterns(np.zeros((4, 3), dtype=bool), NAMES, None) == []


def test_patterns_agree_with_counting_one_by_one() -> None:
    generator = np.random.default_rng(3)
    flags, truth = generator.random((400, 5)) < 0.3, generator.random(400) < 0.2
    names = list("abcde")
    counted: dict[tuple[str, ...], list[bool]] = {}
    for row, bad in zip(flags, truth, strict=True):
        members = tuple(name for name, here in zip(names, row, strict=True) if here)
        counted.setdefault(members, []).append(bool(bad))
    found = {row.detectors: (row.samples, row.backdoors) for row in agreement.patterns(flags, names, truth, most=99)}
    assert found == {members: (len(bad), sum(bad)) for members, bad in counted.items() if members}


def test_the_pattern_table_marks_its_detectors() -> None:
    table = agreement.pattern_table(agreement.patterns(FLAGS, NAMES, TRUTH), NAMES)
    assert list(table.columns) == ["images", "true backdoors", "flagged by exactly", "SPC", "MSPC", "Transplant"]
    assert table.iloc[3].tolist() == [1, 0, "SPC + MSPC", "●", "●", ""]


def test_a_choice_lists_exactly_its_samples(scores: pd.DataFrame) -> None:
    def ids(wanted: Agreement) -> str:
        return "".join(scores["sample_id"].to_numpy()[filters.positions(scores, SampleFilter(agreement=wanted))])

    among = tuple(NAMES)
    assert [ids(Agreement(among, votes=k)) for k in range(4)] == ["gh", "def", "c", "ab"]
    assert ids(Agreement(among, pattern=("spc", "mspc"))) == "c"
    assert ids(Agreement(("spc", "mspc"), pattern=("spc", "mspc"))) == "abc"
    assert ids(Agreement(("mspc", "transplant"), votes=1)) == "cf"


@pytest.mark.parametrize(
    "wanted",
    [Agreement(("spc", "ibd_psc"), votes=0), Agreement(("spc", "ibd_psc", "mspc"), pattern=("ibd_psc", "mspc"))],
)
def test_a_choice_survives_the_address(wanted: Agreement) -> None:
    assert agreement.from_text(agreement.as_text(wanted), ["ibd_psc", "mspc", "spc"]) == wanted


@pytest.mark.parametrize(
    "text", [None, "", "~", "2", "9~spc", "2~", "spc~", "gone~spc", "1~gone", "<b>~spc", "-1~spc", "9999999999~spc"]
)
def test_anything_else_in_the_address_is_ignored(text: str | None) -> None:
    assert agreement.from_text(text, ["spc", "mspc"]) is None


def test_the_heat_map_shows_its_numbers_and_leaves_gaps_blank() -> None:
    figure = figures_matrix.heat_figure(np.array([[0.25, np.nan]]), ["<b>x</b>"], ["a", "a"])
    (trace,) = figure.data
    assert trace.text.tolist() if hasattr(trace.text, "tolist") else list(map(list, trace.text)) == [["25", ""]]
    assert trace.y[0] == "&lt;b&gt;x&lt;/b&gt;"
    assert trace.x[0] != trace.x[1]  # plotly would draw columns of one name on top of each other


def test_the_bars_of_votes_split_by_truth() -> None:
    figure = figures_matrix.votes_figure(agreement.votes(FLAGS, TRUTH), chosen=3)
    assert [list(trace.y) for trace in figure.data] == [[1, 2, 1, 0], [1, 1, 0, 2]]
    assert list(figure.data[0].marker.opacity) == [0.35, 0.35, 0.35, 1.0]
