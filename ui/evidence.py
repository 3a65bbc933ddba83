"""What the evidence pages share: the verdict on top, watching a running scan, names, cached counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.jobs import JobStatus
from mspc_core.runs import Run
from ui import cache, figures_data, filters, state, verdicts
from ui.class_rows import ClassRow, class_rows
from ui.errors import friendly
from ui.filters import View
from ui.text import percent, plain, short
from ui.theme import LEVELS

_MANY = 20_000  # samples; fewer are sorted on their own at once
DECISION_ICONS = {"keep": ":material/check:", "remove": ":material/delete:", "unsure": ":material/help:"}


def verdict_line(run: Run) -> None:
    """The verdict in one sentence."""
    summary, status = cache.summary_of(run), run.status()
    verdict = summary.get("verdict") or {}
    level = verdicts.level_of(summary)
    words, icon, colour = LEVELS.get(level, LEVELS["unknown"])
    if level == "poisoned":
        classes = len((summary.get("dataset") or {}).get("classes") or ())
        what = (
            f"**{verdict['flagged']:,} of {verdict['scanned']:,}** images; "
            f"{plain(verdicts.target_words(verdict, classes), 200)}; "
            f"found by {verdicts.tests_words(verdicts.having_a_case(verdict))}."
        )
    elif level == "unknown":
        what = (
            f"None of the tests that give it ({verdicts.tests_words(verdicts.MEMBERS)}) has finished; the scores below "
            "are what is there so far."
        )
    else:
        what = f"No test has a case against the {verdict.get('scanned', 0):,} images."
        if not summary.get("complete"):  # a test that is still to come may find what these cannot see
            words, icon, colour = "No evidence so far", ":material/hourglass_top:", "gray"
        elif level == "poor_model":
            what += f" {verdicts.POOR_MODEL}"
    rest = verdicts.rests_on(summary)
    if rest:
        what += f" {rest}" if not status.active else " Not all of its tests have finished."
    st.markdown(f":{colour}-background[{icon} **{words}**] {what}")


def watch(run: Run) -> None:
    """While the scan is at work: one line of progress, and a rerun of the page when new results are there. When the
    scan ended early: why, and the way to go on."""
    status = run.status()
    if status.active:
        st.fragment(_watch, run_every=2.0)(run, cache.stamp(run.folder / "summary.json"))
    elif status.state != "finished":
        _ended_early(status)


def _ended_early(status: JobStatus) -> None:
    icon = LEVELS.get(status.state, LEVELS["unknown"])[1]
    why = f" {plain(status.error, 300)}" if status.error else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"{icon} This scan ended early ({plain(state.state_words(status), 20)}): what is missing below was not "
            f"computed.{why}",
            width="content",
        )
        if st.button("Go to the scan", icon=":material/radar:", type="tertiary", key="ended-early"):
            state.go("scan")


def _watch(run: Run, seen: int) -> None:
    with friendly():
        status = run.status()
        if not status.active or cache.stamp(run.folder / "summary.json") != seen:
            st.rerun(scope="app")
        line = f"{percent(status.progress, 0)} · {status.message or status.stage}"
        st.caption(f":material/progress_activity: Still scanning: {plain(line, 120)}. The page fills in by itself.")


def class_names(run: Run) -> list[str]:
    """Names of the classes, by number; also when the data set was deleted."""
    listed = cache.summary_of(run).get("dataset", {}).get("classes")
    return [str(name) for name in (listed or cache.dataset_of(run).info.classes)]


def name_of(classes: list[str], number: int) -> str:
    """A class's name as it stands (not for Markdown); its number where it has none."""
    return classes[number] if 0 <= number < len(classes) and classes[number].strip() else f"class {number}"


def class_labels(run: Run) -> list[str]:
    """Every class's name on one short line, for lists and tables that show text as it is (cached)."""
    return _labels(str(run.folder), cache.stamp(run.folder / "summary.json"))


def natural_threshold(run: Run, detector: str) -> float:
    """The threshold that the scan used."""
    record = cache.summary_of(run).get("detectors", {}).get(detector, {})
    fallback = 0.0 if detector == "mspc" else 0.5
    return float(record.get("threshold", {}).get("value", fallback))


def pictures_of(run: Run, rows: np.ndarray) -> np.ndarray | None:
    """Pixels of some rows of the data set, uint8 [N, H, W, 3]; None when the data set was deleted."""
    try:
        dataset = cache.dataset_of(run)
        order = np.argsort(rows)  # a memory map is read fastest in order
        found = np.empty((len(rows), *dataset.pixels.shape[1:]), dtype=np.uint8)
        found[order] = dataset.pixels[rows[order]]
        return found
    except (InputError, IndexError, OSError):
        return None


def bins_of(run: Run, detector: str, shown: View | None = None) -> figures_data.Bins:
    """The histogram of a detector's scores (cached). shown: count only these samples, in the bars of all."""
    stamp = cache.stamp(run.folder / "scores.parquet")
    whole = _bins(str(run.folder), stamp, detector)
    if shown is None or shown.everything:
        return whole
    return _bins_within(str(run.folder), stamp, detector, shown.token, shown.positions, whole)


def curves_of(run: Run, shown: View | None = None) -> dict[str, figures_data.Roc]:
    """ROC curves of all finished detectors (cached); {} while the truth is unknown. shown: of these samples only."""
    stamps = cache.stamp(run.folder / "scores.parquet"), cache.stamp(run.folder / "summary.json")
    return _curves(str(run.folder), *stamps, *_within(shown))


def class_rows_of(run: Run, shown: View | None = None) -> list[ClassRow]:
    """The table of classes (cached). shown: count only these samples."""
    stamps = cache.stamp(run.folder / "scores.parquet"), cache.stamp(run.folder / "summary.json")
    return _class_rows(str(run.folder), *stamps, len(class_names(run)), *_within(shown))


def table_of(run: Run, shown: View) -> pd.DataFrame:
    """The rows of the run's table that pass a filter."""
    scores = cache.scores_of(run)
    return scores if shown.everything else scores.iloc[shown.positions]


def _within(shown: View | None) -> tuple[str, np.ndarray | None]:
    """A filter's token and positions for caches; the same whether there is no filter or one that lets all pass."""
    return ("", None) if shown is None else (shown.token, shown.part)


def figure_key(run: Run, shown: View) -> tuple[str, int, int, str]:
    """What a figure of the run's scores depends on besides its own settings, for `cache.figure_of`."""
    stamps = cache.stamp(run.folder / "scores.parquet"), cache.stamp(run.folder / "summary.json")
    return str(run.folder), *stamps, shown.token


def queue_in(run: Run, shown: View, by: str, descending: bool = True) -> np.ndarray:
    """Positions that pass a filter, sorted (cached)."""
    stamp = cache.stamp(run.folder / "scores.parquet")
    return _queue_in(str(run.folder), stamp, shown.token, by, descending, shown.positions)


def table_under(table: pd.DataFrame, label: str = "Table", key: str | None = None, **config: Any) -> None:
    """The same numbers as the figure above, for readers who cannot see it or want the values."""
    with st.popover(label, icon=":material/table:", key=key):
        st.dataframe(table, hide_index=True, width="stretch", height=min(420, 38 + 35 * max(1, len(table))), **config)


@st.cache_resource(max_entries=8, show_spinner=False)
def _labels(folder: str, changed: int) -> list[str]:
    classes = class_names(Run(Path(folder)))
    return [short(name_of(classes, number), 80) for number in range(len(classes))]


@st.cache_data(max_entries=24, show_spinner=False)
def _bins(folder: str, changed: int, detector: str) -> figures_data.Bins:
    scores = cache.scores_of(Run(Path(folder)))
    values = scores[f"{detector}_score"].to_numpy(dtype=float)
    return figures_data.histogram(values, filters.known_truth(scores), figures_data.NATURAL_RANGE.get(detector))


@st.cache_data(max_entries=48, show_spinner=False)
def _bins_within(
    folder: str, changed: int, detector: str, token: str, _positions: np.ndarray, _whole: figures_data.Bins
) -> figures_data.Bins:
    scores = cache.scores_of(Run(Path(folder)))
    truth = filters.known_truth(scores)
    values = scores[f"{detector}_score"].to_numpy(dtype=float)[_positions]
    return figures_data.rebinned(_whole, values, None if truth is None else truth[_positions])


@st.cache_resource(max_entries=24, show_spinner=False)
def _queue_in(folder: str, changed: int, token: str, by: str, descending: bool, _positions: np.ndarray) -> np.ndarray:
    return _sorted(folder, changed, by, descending, _positions)


def _sorted(folder: str, changed: int, by: str, descending: bool, chosen: np.ndarray) -> np.ndarray:
    """Positions in the order of a column. Many are taken from the whole table's order, which is sorted only once."""
    if len(chosen) < _MANY:
        found = filters.ordered(cache.scores_of(Run(Path(folder))), chosen, by, descending)
    else:
        order = _order(folder, changed, by, descending)
        kept = np.zeros(len(order), dtype=bool)
        kept[chosen] = True
        found = order[kept[order]]
    found.setflags(write=False)
    return found


@st.cache_resource(max_entries=6, show_spinner=False)
def _order(folder: str, changed: int, by: str, descending: bool) -> np.ndarray:
    scores = cache.scores_of(Run(Path(folder)))
    return filters.ordered(scores, np.arange(len(scores)), by, descending)


@st.cache_data(max_entries=16, show_spinner=False)
def _curves(
    folder: str, scores_changed: int, summary_changed: int, token: str, _positions: np.ndarray | None
) -> dict[str, figures_data.Roc]:
    run = Run(Path(folder))
    scores = cache.scores_of(run)
    if filters.known_truth(scores) is None:
        return {}
    found = {}
    for name in filters.detector_names(scores.columns):
        values, truth = ranked(folder, scores_changed, name, token, _positions)
        curve = figures_data.roc(values, truth, natural_threshold(run, name))
        if curve is not None:
            found[name] = curve
    return found


@st.cache_resource(max_entries=12, show_spinner=False)
def ranked(
    folder: str, changed: int, detector: str, token: str, _positions: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truth (all False while it is unknown) of the samples that pass, lowest score first: float [N], bool
    [N], for figures that do not depend on the order. They all sort; what is sorted already is sorted in no time."""
    scores = cache.scores_of(Run(Path(folder)))
    values, truth = scores[f"{detector}_score"].to_numpy(dtype=float), filters.known_truth(scores)
    truth = np.zeros(len(values), dtype=bool) if truth is None else truth
    if _positions is not None:
        values, truth = values[_positions], truth[_positions]
    order = np.argsort(values)
    return values[order], truth[order]


@st.cache_data(max_entries=16, show_spinner=False)
def _class_rows(
    folder: str, scores_changed: int, summary_changed: int, classes: int, token: str, _positions: np.ndarray | None
) -> list[ClassRow]:
    run = Run(Path(folder))
    scores = cache.scores_of(run)
    return class_rows(scores if _positions is None else scores.iloc[_positions], classes, cache.summary_of(run))
