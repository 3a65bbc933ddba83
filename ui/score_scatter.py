"""The Scores page's figures of many samples: one detector against another, and the chosen score class by class."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, figures_scatter, filters, shared_filter, state
from ui.errors import friendly
from ui.filters import View
from ui.text import count, percent, plain
from ui.theme import PLOTLY_CONFIG

CLASSES_SHOWN, ACROSS = 12, 4


def show_pairs(run: Run, finished: list[str], detector: str, shown: View, selected: str | None) -> None:
    """One detector's score against another's: where they disagree is where to look."""
    st.header("One detector against another")
    if len(finished) < 2:
        st.caption("There is nothing to compare yet: this takes two finished detectors.")
        return
    st.fragment(_pairs)(run, finished, detector, shown, selected)


def _pairs(run: Run, finished: list[str], detector: str, shown: View, selected: str | None) -> None:
    with friendly():
        shared_filter.follow(run, shown, selected)
        other = next((name for name in ("spc", "mspc", *finished) if name in finished and name != detector), detector)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            across, up = (
                st.selectbox(
                    label,
                    finished,
                    index=finished.index(first),
                    format_func=filters.title_of,
                    key=f"scatter-{axis}-{run.id}",
                    width=200,
                )
                for label, first, axis in (("Across", detector, "x"), ("Up", other, "y"))
            )
        if across == up:
            st.caption("Choose two different detectors.")
            return
        _draw_pairs(run, str(across), str(up), shown, selected)


def _draw_pairs(run: Run, across: str, up: str, shown: View, selected: str | None) -> None:
    scores = cache.scores_of(run)
    x, y = (scores[f"{name}_score"].to_numpy(dtype=float) for name in (across, up))
    truth = filters.known_truth(scores)
    flagged = filters.flags_of(scores, across) | filters.flags_of(scores, up)
    inside = shown.positions[np.isfinite(x[shown.positions]) & np.isfinite(y[shown.positions])]
    told = flagged if truth is None else flagged | truth
    places = inside[figures_scatter.thinned(told[inside])]
    key = f"scatter-{run.id}-{across}-{up}"

    def choose() -> None:
        event = st.session_state[key]
        box = figures_scatter.chosen_box(event)
        found = figures_scatter.chosen_places(event)
        if box is not None:
            wanted = shared_filter.current(run).with_range(across, box[0]).with_range(up, box[1])
            shared_filter.change(run, ranges=wanted.ranges)
        elif len(found) == 1:
            state.select_sample(str(scores["sample_id"].iloc[int(found[0])]))
        elif len(found):
            shared_filter.pick(run, found)

    figure = figures_scatter.scatter_figure(
        x,
        y,
        places,
        figures_scatter.groups_of(truth, flagged, filters.suspects_of(scores)),
        axes=(f"{filters.title_of(across)} score", f"{filters.title_of(up)} score"),
        limits=(evidence.natural_threshold(run, across), evidence.natural_threshold(run, up)),
        marked=cache.position_of(run, selected),
        jitter=(_spread(x[inside]), _spread(y[inside])),
    )
    st.plotly_chart(
        figure,
        key=key,
        on_select=choose,
        selection_mode=("points", "box", "lasso"),
        config=PLOTLY_CONFIG,
        alt="Every image by two detectors' scores; how many lie on which side of both thresholds is in the table.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        evidence.table_under(quadrants(scores.iloc[shown.positions], across, up), key=f"{key}-table")
        drawn = f"{count(len(places))} of {count(len(inside))} images drawn. " if len(places) < len(inside) else ""
        st.caption(
            f"{drawn}Dashed: each detector's threshold. Drag a box or a lasso to filter the page; click a dot to "
            "select its image. Dots of equal scores are spread a little.",
            width="stretch",
        )


def quadrants(scores: pd.DataFrame, across: str, up: str) -> pd.DataFrame:
    """How many samples both, one or neither of two detectors flag; and backdoors among them where that is known."""
    first, second = filters.flags_of(scores, across), filters.flags_of(scores, up)
    truth = filters.known_truth(scores)
    names = filters.title_of(across), filters.title_of(up)
    parts = {
        "both": first & second,
        f"only {names[0]}": first & ~second,
        f"only {names[1]}": second & ~first,
        "neither": ~first & ~second,
    }
    rows = []
    for name, part in parts.items():
        known = {} if truth is None else {"true backdoors": int((part & truth).sum())}
        rows.append({"flagged by": name, "images": int(part.sum()), **known})
    return pd.DataFrame(rows)


def _spread(values: np.ndarray) -> float:
    """Half the width of the jitter: a part of the smallest step between scores that take few values, at most a fiftieth
    of their range; else none."""
    distinct = np.unique(values)
    if not 2 <= len(distinct) <= 64:
        return 0.0
    return min(0.35 * float(np.diff(distinct).min()), 0.02 * float(distinct[-1] - distinct[0]))


def show_class_histograms(run: Run, detector: str, shown: View) -> None:
    """The chosen score in every predicted class: a poisoned class has a second hump."""
    st.header("Class by class")
    st.fragment(_class_histograms)(run, detector, shown)


def _class_histograms(run: Run, detector: str, shown: View) -> None:
    rows = [row for row in evidence.class_rows_of(run, shown) if row.samples]
    if not rows:
        st.caption("No image passes the filter.")
        return
    rows.sort(key=lambda row: (not row.target, -row.flagged.get(detector, 0) / row.samples))
    pages = -(-len(rows) // CLASSES_SHOWN)
    page = st.pagination(pages, key=f"class-histograms-{run.id}") if pages > 1 else 1
    numbers = tuple(row.number for row in rows[(page - 1) * CLASSES_SHOWN : page * CLASSES_SHOWN])
    bins, labels = evidence.bins_of(run, detector), evidence.class_labels(run)
    stamp, part = cache.stamp(run.folder / "scores.parquet"), shown.part
    counts = _class_counts(str(run.folder), stamp, detector, numbers, shown.token, part, bins.edges)
    threshold = evidence.natural_threshold(run, detector)
    for start in range(0, len(numbers), ACROSS):
        columns = st.columns(ACROSS, gap="small")
        for column, number in zip(columns, numbers[start : start + ACROSS], strict=False):
            row = next(row for row in rows if row.number == number)
            flagged = percent(row.flagged.get(detector, 0) / row.samples, 0)
            mark = "◆ " if row.target else ""
            title = f"{mark}{labels[number]}"
            draw = partial(figures_scatter.class_figure, bins, counts[number], f"{title} · {flagged}", threshold)
            kind = ("class", detector, number, title, flagged, threshold)
            figure = cache.figure_of((*evidence.figure_key(run, shown), *kind), draw)
            column.plotly_chart(
                figure,
                key=f"class-histogram-{run.id}-{number}",
                config={"displayModeBar": False},
                alt=f"Histogram of the {filters.title_of(detector)} score in one class; numbers in the table below.",
            )
    with st.container(horizontal=True, vertical_alignment="center"):
        evidence.table_under(class_table(bins.edges, counts, numbers, labels), key=f"class-histograms-{run.id}-table")
        st.caption(
            f"{plain(filters.title_of(detector), 40)} scores of each predicted class, and the share flagged; those "
            "that stand out come first (◆ suspected target). Dashed: the threshold.",
            width="stretch",
        )


def class_table(
    edges: np.ndarray, counts: dict[int, np.ndarray], numbers: tuple[int, ...], labels: list[str]
) -> pd.DataFrame:
    """One row a class and bar with samples."""
    rows = []
    for number in numbers:
        both = np.atleast_2d(counts[number])
        for bar in np.flatnonzero(both.sum(axis=0)):
            known = {"clean": int(both[0, bar]), "backdoor": int(both[1, bar])} if len(both) == 2 else {}
            rows.append(
                {
                    "class": labels[number],
                    "from": round(float(edges[bar]), 4),
                    "to": round(float(edges[bar + 1]), 4),
                    **(known or {"samples": int(both[0, bar])}),
                }
            )
    return pd.DataFrame(rows)


@st.cache_data(max_entries=24, show_spinner=False)
def _class_counts(
    folder: str,
    changed: int,
    detector: str,
    numbers: tuple[int, ...],
    token: str,
    _positions: np.ndarray | None,
    edges: np.ndarray,
) -> dict[int, np.ndarray]:
    scores = cache.scores_of(Run(Path(folder)))
    truth, predicted = filters.known_truth(scores), scores["predicted"].to_numpy()
    values = scores[f"{detector}_score"].to_numpy(dtype=float)
    if _positions is not None:
        values, predicted = values[_positions], predicted[_positions]
        truth = None if truth is None else truth[_positions]
    found = {}
    for number in numbers:
        here = (predicted == number) & np.isfinite(values)
        if truth is None:
            found[number] = np.histogram(values[here], edges)[0]
        else:
            found[number] = np.stack([np.histogram(values[here & part], edges)[0] for part in (~truth, truth)])
    return found
