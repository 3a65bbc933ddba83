"""Inline SVG, compared with positions worked out by hand."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from mspc_core.distributions import histogram as bins_of
from mspc_core.distributions import roc as roc_of
from mspc_core.report import charts


def parts(svg: str, tag: str) -> list[dict[str, str]]:
    return [dict(element.attrib) for element in ElementTree.fromstring(svg).iter() if element.tag == tag]


def test_bars_are_as_high_as_their_counts() -> None:
    scores = np.array([0.0] * 8 + [0.5] * 4 + [1.0] * 2)
    svg = charts.histogram(bins_of(scores, None, (0.0, 1.0)), 0.5, title="SPC", number=1, flagged=2)
    bars = [float(bar["height"]) for bar in parts(svg, "rect")]
    assert len(bars) == 3
    assert bars[0] == pytest.approx(2 * bars[1], abs=0.2)
    assert bars[0] == pytest.approx(4 * bars[2], abs=0.2)
    lefts = [float(bar["x"]) for bar in parts(svg, "rect")]
    assert lefts == sorted(lefts)


def test_truth_draws_two_bars_with_a_pattern_of_their_own() -> None:
    truth = np.array([False] * 10 + [True] * 5)
    bins = bins_of(np.linspace(0, 1, 15), truth)
    svg = charts.histogram(bins, 0.5, title="x", number=7, flagged=1)
    fills = {bar["fill"] for bar in parts(svg, "rect")}
    assert {charts.CLEAN, "url(#hatch7)"} <= fills
    assert 'id="hatch7"' in svg


def test_few_among_thousands_are_seen() -> None:
    scores = np.array([0.0] * 5000 + [1.0])
    svg = charts.histogram(bins_of(scores, None, (0.0, 1.0)), 0.5, title="x", number=1, flagged=1)
    heights = sorted(float(bar["height"]) for bar in parts(svg, "rect"))
    assert "samples (log)" in svg
    assert heights[0] > 5


def test_threshold_is_between_the_last_kept_and_the_first_flagged_bar() -> None:
    scores = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    svg = charts.histogram(bins_of(scores, None, (0.0, 1.0)), 0.5, title="x", number=1, flagged=2)
    at = next(float(line["x1"]) for line in parts(svg, "line") if "stroke-dasharray" in line)
    bars = [(float(bar["x"]), float(bar["x"]) + float(bar["width"])) for bar in parts(svg, "rect")]
    assert bars[2][1] < at < bars[3][0]


def test_no_finite_score_draws_an_empty_chart() -> None:
    bins = bins_of(np.full(5, np.nan), None)
    assert parts(charts.histogram(bins, 0.0, title="x", number=1, flagged=0), "rect") == []


def test_roc_goes_through_its_operating_point() -> None:
    truth = np.array([True, True, False, False])
    perfect = roc_of(np.array([0.9, 0.8, 0.1, 0.2]), truth, 0.5)
    wrong = roc_of(np.array([0.1, 0.2, 0.9, 0.8]), truth, 0.5)
    assert perfect
    assert wrong
    svg = charts.roc([charts.Curve("wrong <b>", wrong), charts.Curve("good", perfect)])
    legend = {text.text: float(text.attrib["y"]) for text in ElementTree.fromstring(svg).iter() if text.tag == "text"}
    assert legend["good · AUROC 1.0000"] < legend["wrong <b> · AUROC 0.0000"]
    marks = [(float(mark["cx"]), float(mark["cy"])) for mark in parts(svg, "circle")]
    assert (46.0, 12.0) in marks  # FPR 0, TPR 1: the upper left corner


def test_texts_are_escaped() -> None:
    svg = charts.histogram(bins_of(np.arange(5.0), None), 2, title='"><script>', number=1, flagged=2)
    assert "<script" not in svg
    assert ElementTree.fromstring(svg).attrib["aria-label"].startswith('Histogram of the "><script> score; 2 samples')


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.25, 0.5, 0.75, 1.0]), (-1, 1, [-1, -0.5, 0, 0.5, 1]), (0, 7, [0, 2, 4, 6]), (3.2, 3.2, [3.2])],
)
def test_round_values(low: float, high: float, expected: list[float]) -> None:
    assert charts._round_values(low, high, 4) == pytest.approx(expected)
