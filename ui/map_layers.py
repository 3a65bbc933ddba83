"""How the dots of a map are coloured: by score, class, decision or truth. Free of streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ui import filters
from ui.figures_map import Layer
from ui.filter_query import DECISIONS
from ui.theme import BACKDOOR, CLEAN, FLAGGED, NEUTRAL, line_style

if TYPE_CHECKING:
    import pandas as pd

SCORE, CLASS, DECISION, TRUTH = "Score", "Class", "Decision", "Truth"
CLASSES_NAMED = 7  # with colours that can be told apart; the others are grey
_DECISION_LOOKS = {
    "open": (NEUTRAL, "circle"),
    "keep": ("#009E73", "square"),
    "unsure": ("#8E7CC3", "cross"),
    "remove": (BACKDOOR, "diamond"),
}


def colourings(scores: pd.DataFrame) -> list[str]:
    """What a map of this run can be coloured by; truth only where some of it is known."""
    known = "is_backdoor" in scores and bool(scores["is_backdoor"].notna().any())
    return [SCORE, CLASS, DECISION, *([TRUTH] if known else [])]


def layers_of(
    scores: pd.DataFrame,
    places: np.ndarray,
    by: str,
    *,
    detector: str = "",
    labels: Sequence[str] = (),
    first: Sequence[int] = (),
    decisions: dict[str, str] | None = None,
) -> list[Layer]:
    """The dots at some positions of the table, in layers; the telling ones are drawn last, on top.

    detector: for the score. labels: class names; first: classes that are named before larger ones (suspected targets).
    decisions: by sample id.
    """
    rows = scores.iloc[places]
    if by == SCORE:
        found = _by_score(rows, places, detector)
    elif by == CLASS:
        found = _by_class(rows, places, labels, first)
    elif by == DECISION:
        decided = filters.decision_column(rows, decisions or {})
        found = [
            Layer(DECISIONS[word], places[decided == word], colour, symbol)
            for word, (colour, symbol) in _DECISION_LOOKS.items()
        ]
    else:
        found = _by_truth(rows, places)
    return [layer for layer in found if len(layer.positions)]


def _by_score(rows: pd.DataFrame, places: np.ndarray, detector: str) -> list[Layer]:
    values = rows[f"{detector}_score"].to_numpy(dtype=float)
    flagged, usable = filters.flags_of(rows, detector), np.isfinite(values)
    found = [Layer("no score", places[~usable], NEUTRAL, "circle-open")]
    for name, part, symbol in (("not flagged", usable & ~flagged, "circle"), ("flagged", usable & flagged, "diamond")):
        found.append(Layer(name, places[part], FLAGGED, symbol, values[part].astype(np.float32)))
    return found


def _by_class(rows: pd.DataFrame, places: np.ndarray, labels: Sequence[str], first: Sequence[int]) -> list[Layer]:
    predicted = rows["predicted"].to_numpy()
    numbers, counts = np.unique(predicted, return_counts=True)
    by_size = [int(number) for number in numbers[np.argsort(-counts, kind="stable")]]
    order = [number for number in first if number in by_size]
    named = list(dict.fromkeys([*order, *by_size]))[: CLASSES_NAMED if len(by_size) > CLASSES_NAMED + 1 else None]
    rest = ~np.isin(predicted, named)
    found = [Layer(f"{len(by_size) - len(named)} other classes", places[rest])]
    for place, number in reversed(list(enumerate(named))):
        style = line_style(place)
        symbol = "diamond" if number in order else "circle"
        name = labels[number] if 0 <= number < len(labels) else f"class {number}"
        found.append(Layer(("◆ " if number in order else "") + name, places[predicted == number], style.colour, symbol))
    return found


def _by_truth(rows: pd.DataFrame, places: np.ndarray) -> list[Layer]:
    known = rows["is_backdoor"].notna().to_numpy()
    backdoor = rows["is_backdoor"].fillna(False).to_numpy(dtype=bool)
    return [
        Layer("not known", places[~known], NEUTRAL, "circle-open"),
        Layer("clean", places[known & ~backdoor], CLEAN),
        Layer("backdoor", places[backdoor], BACKDOOR, "diamond"),
    ]
