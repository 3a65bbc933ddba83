"""Bins, counts, ROC curves and figures against values worked out by hand."""

import numpy as np
import pytest

from mspc_core.curves import Intervals, precision_recall
from mspc_core.detectors.classwise import anomaly_border
from ui import figures, figures_curves, figures_data, figures_mixture
from ui.figures_data import counts_at, histogram, line_position, roc, score_range, selected_range


def eleven(*hits: int) -> np.ndarray:
    return np.array(hits) / 11


def test_scores_on_a_grid_get_one_bar_each() -> None:
    bins = histogram(eleven(0, 0, 1, 5, 6, 11), None, (0.0, 1.0))
    assert bins.discrete
    assert len(bins.clean) == 12
    assert bins.clean.tolist() == [2, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1]
    assert bins.centres == pytest.approx(np.arange(12) / 11)
    assert bins.backdoor is None


def test_signed_scores_sit_on_their_grid_too() -> None:
    bins = histogram(2 * eleven(0, 5, 6, 11) - 1, None, (-1.0, 1.0))
    assert bins.discrete
    assert len(bins.clean) == 12
    assert bins.clean[[0, 5, 6, 11]].tolist() == [1, 1, 1, 1]


def test_truth_splits_the_counts() -> None:
    bins = histogram(eleven(0, 1, 1, 11), np.array([False, False, True, True]), (0.0, 1.0))
    assert bins.clean.sum() == 2
    assert bins.backdoor is not None
    assert bins.backdoor[[1, 11]].tolist() == [1, 1]
    assert bins.total.sum() == 4


def test_two_values_far_apart_get_narrow_bars_of_their_own() -> None:
    bins = histogram(np.array([0.0, 0.0, 1.0]), None, (0.0, 1.0))
    assert bins.discrete
    assert bins.clean.tolist() == [2, *[0] * 9, 1]
    assert line_position(bins, 0.5) == pytest.approx(0.55)  # any place between the two bars acts alike


def test_continuous_scores_get_even_bins_over_the_natural_range() -> None:
    values = np.random.default_rng(0).random(1000)
    bins = histogram(values, None, (0.0, 1.0))
    assert not bins.discrete
    assert bins.edges[[0, -1]].tolist() == [0.0, 1.0]
    assert bins.clean.sum() == 1000


def test_values_beyond_the_natural_range_are_not_lost() -> None:
    bins = histogram(np.concatenate([np.random.default_rng(0).random(100), [3.0]]), None, (0.0, 1.0))
    assert bins.clean.sum() == 101


@pytest.mark.parametrize("scores", [[np.nan, np.nan], [], [np.inf]])
def test_nothing_usable_gives_empty_bins(scores: list[float]) -> None:
    bins = histogram(np.array(scores, dtype=float), None, (0.0, 1.0))
    assert bins.total.sum() == 0
    assert bins.missing == len(scores)


def test_missing_scores_are_counted_apart() -> None:
    bins = histogram(np.array([0.0, 1.0, np.nan]), None, (0.0, 1.0))
    assert (bins.total.sum(), bins.missing) == (2, 1)


@pytest.mark.parametrize(
    ("scores", "missing"), [([0.0, 1e308, -1e308, 0.5], 2), ([0.0, 5e-324, 1.0], 0), ([1e308], 1), ([0.0, 1e99], 0)]
)
def test_numbers_that_a_damaged_file_may_hold(scores: list[float], missing: int) -> None:
    """Differences of the first ones are infinite; the smallest step of the others fits in without end."""
    bins = histogram(np.array(scores), None, (0.0, 1.0))
    assert (bins.total.sum(), bins.missing) == (len(scores) - missing, missing)
    assert np.isfinite(bins.edges).all()


def test_a_single_value_is_drawn() -> None:
    assert histogram(np.full(5, 0.25), None, None).total.sum() == 5


def test_the_threshold_is_drawn_between_kept_and_flagged_bars() -> None:
    spc = histogram(eleven(*range(12)), None, (0.0, 1.0))
    assert line_position(spc, 0.5) == pytest.approx(5.5 / 11)
    transplant = histogram(np.arange(17) / 16, None, (0.0, 1.0))
    assert line_position(transplant, 0.5) == pytest.approx(8.5 / 16)  # exactly a half is not a majority
    assert line_position(transplant, 1.0) == pytest.approx(16.5 / 16)


def test_score_range_covers_whole_bars() -> None:
    bins = histogram(eleven(*range(12)), None, (0.0, 1.0))
    assert score_range(bins, 0.5, 0.6) == pytest.approx((5.5 / 11, 6.5 / 11))
    assert score_range(bins, 0.51, 0.53) is None


def test_selection_events_become_score_ranges() -> None:
    bins = histogram(eleven(*range(12)), None, (0.0, 1.0))
    box = {"selection": {"box": [{"x": [0.6, 0.5], "y": [0, 1]}], "points": []}}
    assert selected_range(bins, box) == pytest.approx((5.5 / 11, 6.5 / 11))
    click = {"selection": {"box": [], "points": [{"point_index": 11, "curve_number": 1}]}}
    assert selected_range(bins, click) == pytest.approx((10.5 / 11, 11.5 / 11))
    assert selected_range(bins, {"selection": {"points": [{"point_index": 99}]}}) is None
    assert selected_range(bins, {}) is None


def test_counts_at_a_threshold() -> None:
    scores = np.array([0.9, 0.5, 0.6, 0.1, np.nan])
    truth = np.array([True, True, False, False, True])
    found = counts_at(scores, truth, 0.5)
    assert (found.flagged, found.kept) == (2, 3)
    assert (found.caught, found.missed, found.false_alarms) == (1, 2, 1)
    assert found.tpr == pytest.approx(1 / 3)
    assert found.fpr == pytest.approx(1 / 2)


def test_counts_without_truth_and_without_backdoors() -> None:
    assert counts_at(np.array([0.9, 0.1]), None, 0.5) == figures_data.Counts(1, 1)
    found = counts_at(np.array([0.9, 0.1]), np.array([False, False]), 0.5)
    assert (found.tpr, found.fpr) == (None, 0.5)


def test_roc_by_hand() -> None:
    curve = roc(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]), 0.75)
    assert curve is not None
    assert curve.auroc == pytest.approx(0.75)  # of four pairs one is in the wrong order
    assert curve.point == (0.5, 0.5)
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)


def test_roc_halves_ties_and_puts_missing_scores_last() -> None:
    tied = roc(np.array([0.5, 0.5]), np.array([True, False]), 0.5)
    assert tied is not None
    assert tied.auroc == pytest.approx(0.5)
    missing = roc(np.array([np.nan, 0.5]), np.array([True, False]), 0.4)
    assert missing is not None
    assert (missing.auroc, missing.point) == (0.0, (1.0, 0.0))


def test_roc_needs_both_kinds() -> None:
    assert roc(np.array([0.1, 0.2]), np.array([False, False]), 0.5) is None


def test_long_roc_curves_are_thinned_but_their_area_is_exact() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(20_000) < 0.3
    scores = generator.random(20_000) + 0.3 * truth
    thin, whole = roc(scores, truth, 0.5), roc(scores, truth, 0.5, most=10**9)
    assert thin is not None
    assert whole is not None
    assert len(thin.fpr) <= 400 < len(whole.fpr)
    assert thin.auroc == whole.auroc


def test_histogram_figure_has_one_bar_series_without_truth_and_two_with() -> None:
    scores, truth = eleven(0, 3, 11), np.array([False, False, True])
    plain = figures.histogram_figure(histogram(scores, None, (0.0, 1.0)), 0.5, 0.5)
    assert [trace.name for trace in plain.data] == ["all samples"]
    split = figures.histogram_figure(histogram(scores, truth, (0.0, 1.0)), 0.3, 0.5, log=True)
    assert [trace.name for trace in split.data] == ["clean", "backdoor"]
    assert split.layout.yaxis.type == "log"
    assert len(split.layout.shapes) == 2  # the moved threshold, and where the natural rule is


def test_histogram_table_says_what_the_figure_shows() -> None:
    table = figures.histogram_table(histogram(eleven(0, 0, 11), np.array([0, 1, 1], bool), (0.0, 1.0)), 0.5)
    assert table.to_dict("list") == {
        "score": [0.0, 1.0],
        "clean": [1, 0],
        "backdoor": [1, 1],
        "flagged": [False, True],
    }


def test_markup_in_class_names_is_escaped_in_figures() -> None:
    figure = figures.probability_figure(
        np.array([1.0, 2.0]), np.eye(2), [0, 1], ["<b>x</b>", "y"], 0, np.zeros(2), at=1.0
    )
    assert "&lt;b&gt;x" in figure.data[1].name


def test_the_table_of_curves_has_areas_intervals_and_rates() -> None:
    scores, truth = np.array([0.9, 0.1]), np.array([True, False])
    curve, precision = roc(scores, truth, 0.5), precision_recall(scores, truth, 0.5)
    assert curve is not None
    assert precision is not None
    sure = Intervals((0.9, 1.0), (0.8, 1.0))
    table = figures_curves.curves_table({"spc": curve}, {"spc": precision}, {"spc": sure}, {"spc": 1.0})
    assert table.iloc[0].to_dict() == {
        "detector": "SPC",
        "AUROC": 1.0,
        "AUROC 95 %": "0.9000 – 1.0000",
        "AP": 1.0,
        "AP 95 %": "0.8000 – 1.0000",
        "TPR": 1.0,
        "FPR": 0.0,
        "TPR@1%": 1.0,
    }
    assert len(figures_curves.roc_figure({"spc": curve}, log=True).data) == 2
    assert len(figures_curves.precision_figure({"spc": precision}).data) == 2


def test_the_figure_of_the_feature_mixture_shows_its_limits() -> None:
    rows = [
        {"class": number, "statistic": gain, "explained": share, "flagged": flagged}
        for number, (gain, share, flagged) in enumerate(
            [(5.0, 0.65, 0), (6.0, 0.66, 0), (7.0, 0.7, 0), (90.0, 0.94, 40)]
        )
    ]
    figure = figures_mixture.mixture_figure(rows, ["a", "b", "<b>c", "d"])
    assert [(trace.name, list(trace.text)) for trace in figure.data] == [
        ("not flagged", ["a", "b", "&lt;b&gt;c"]),
        ("flagged", ["d"]),
    ]
    assert [list(trace.y) for trace in figure.data] == [[5.0, 6.0, 7.0], [90.0]]
    assert figure.layout.shapes[0].x0 == 0.75
    # median 6.5; distances 1.5, 0.5, 0.5, 83.5 with median 1
    assert figure.layout.shapes[1].y0 == pytest.approx(6.5 + np.exp(2) * 1.4826)
    assert anomaly_border(np.array([1.0, 2.0]), 7.39) is None
    assert anomaly_border(np.array([2.0, 2.0, 2.0]), 7.39) is None
