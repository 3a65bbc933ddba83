"""The map's figure and its layers: every sample in one layer, lassos by the even-odd rule, flagged ones on top."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ui.figures_map import Layer, clicked_in, inside, map_figure, outlines_in
from ui.map_layers import CLASSES_NAMED, layers_of

SQUARE = ((0.0, 2.0, 2.0, 0.0), (0.0, 0.0, 2.0, 2.0))


def slowly_inside(x: float, y: float, corners: list[tuple[float, float]]) -> bool:
    """The ray to the right crosses the outline an odd number of times."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            crossings += 1
    return crossings % 2 == 1


def test_a_square_and_two_outlines() -> None:
    points = np.array([[1, 1], [3, 1], [-1, 1], [1, 2.5], [10.5, 10.5]])
    assert inside(points, [SQUARE]).tolist() == [True, False, False, False, False]
    other = ((10.0, 11.0, 11.0, 10.0), (10.0, 10.0, 11.0, 11.0))
    assert inside(points, [SQUARE, other]).tolist() == [True, False, False, False, True]
    assert not inside(points, []).any()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=3, max_size=12), st.integers(0, 5))
def test_as_the_slow_rule(corners: list[tuple[int, int]], seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-21, 21, (60, 2))
    whole = [(float(x), float(y)) for x, y in corners]
    outline = tuple(x for x, _ in whole), tuple(y for _, y in whole)
    assert inside(points, [outline]).tolist() == [slowly_inside(x, y, whole) for x, y in points]


def test_events() -> None:
    event = {
        "selection": {"lasso": [{"x": [0, 1, 1], "y": [0, 0, 1]}], "box": [{"x": [0, 2], "y": [0, 2]}], "points": []}
    }
    assert outlines_in(event) == [((0.0, 1.0, 1.0), (0.0, 0.0, 1.0)), SQUARE]
    click = {"selection": {"points": [{"customdata": 4}]}}
    assert clicked_in(click) == 4
    assert outlines_in(click) == []
    assert clicked_in({"selection": {**event["selection"], "points": [{"customdata": 4}]}}) is None
    assert clicked_in({}) is None
    assert clicked_in({"selection": {"points": [{"customdata": "x"}, {}]}}) is None


def table(count: int = 60, classes: int = 4) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    scores = generator.random(count)
    scores[:3] = np.nan
    return pd.DataFrame(
        {
            "sample_id": [f"id{n}" for n in range(count)],
            "predicted": np.arange(count) % classes,
            "spc_score": scores,
            "spc_flagged": scores > 0.8,
            "is_backdoor": pd.array([None if n % 7 == 0 else n % 2 == 0 for n in range(count)], "boolean"),
        }
    )


@pytest.mark.parametrize("by", ["Score", "Class", "Decision", "Truth"])
@pytest.mark.parametrize("classes", [4, CLASSES_NAMED + 1, 1000])
def test_every_sample_is_in_exactly_one_layer(by: str, classes: int) -> None:
    scores = table(2000, classes)
    places = np.arange(5, 1900, 3)
    labels = [f"class {n}" for n in range(classes)]
    decisions = {"id5": "remove", "id8": "keep", "nobody": "keep"}
    found = layers_of(scores, places, by, detector="spc", labels=labels, first=[8 % classes], decisions=decisions)
    assert sorted(np.concatenate([layer.positions for layer in found]).tolist()) == places.tolist()
    assert len(found) <= CLASSES_NAMED + 2
    if by == "Class":
        assert found[-1].name == f"◆ class {8 % classes}", "a suspected target is drawn last, on top, whatever its size"
    if by == "Score":
        assert found[-1].name == "flagged"
        assert all(np.isfinite(layer.values).all() for layer in found if layer.values is not None)
    if by == "Truth":
        assert {layer.name for layer in found} == {"not known", "clean", "backdoor"}


def test_the_figure_carries_positions_and_harmless_names() -> None:
    points = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    layers = [Layer("<b>x</b>", np.arange(6)), Layer("flagged", np.arange(6, 9), values=np.array([0.1, 0.2, 0.3]))]
    names = ["<img src=x>"] * 10
    figure = map_figure(points, layers, np.array([9]), axes=("a", "b"), names=names, marked=4, outlines=[SQUARE])
    assert figure.data[1].customdata.tolist() == [0, 1, 2, 3, 4, 5]
    assert figure.data[-1].customdata.tolist() == [4] if hasattr(figure.data[-1].customdata, "tolist") else True
    assert "<" not in figure.data[1].name
    assert figure.data[1].text[0] == "&lt;img src=x&gt;"
    assert all(trace.type == "scattergl" for trace in figure.data)
    assert figure.layout.legend.itemclick is False
    assert len(figure.layout.shapes) == 1
    assert figure.layout.coloraxis.cmin == 0.1


def test_fifty_thousand_dots_are_sent_without_names() -> None:
    points = np.zeros((50_000, 2), np.float32)
    figure = map_figure(
        points, [Layer("all", np.arange(50_000))], np.zeros(0, int), axes=("", ""), names=["x"] * 50_000
    )
    assert figure.data[0].text is None
    assert len(figure.to_json()) < 2_500_000
