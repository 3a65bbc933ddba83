"""Parts of the Scores page below the histogram: all detectors side by side, classes, facts."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, figures, filters
from ui.class_rows import ClassRow
from ui.detector_facts import MEMBERS
from ui.filters import View
from ui.text import HELP, percent, plain, plural, short
from ui.theme import detector_colour
from ui.verdicts import tests_words

_GRID = 8  # histograms shown side by side before one asks for all
_NAMED = 3
_MANY = 0.02  # share of flagged images above which single detectors are worth a word although no class stands out


def disagreement(run: Run, finished: list[str]) -> None:
    """When the verdict is "no evidence" but other detectors flag many images, or its own tests some, say so and what it
    can mean."""
    verdict = cache.summary_of(run).get("verdict") or {}
    if verdict.get("level") != "no_evidence":
        return
    scores = cache.scores_of(run)
    records = cache.summary_of(run).get("detectors", {})
    shares = {
        name: float(filters.flags_of(scores, name).mean())
        for name in finished
        # A quantile flags its share of any data; what the verdict's own tests flag has been weighed by it.
        if name not in MEMBERS and records.get(name, {}).get("threshold", {}).get("rule") != "quantile"
    }
    many = sorted((name for name, share in shares.items() if share > _MANY), key=lambda name: -shares[name])
    loud = [f"{percent(shares[name])} by {plain(filters.title_of(name), 30)}" for name in many[:_NAMED]]
    if len(many) > _NAMED:
        loud.append(f"many by {len(many) - _NAMED} more")
    if loud:
        st.caption(
            f":material/info: All the same, images are flagged: {' and '.join(loud)}. On clean data such flags are "
            "false alarms, often in classes with strong colours. Look where they pile up before you trust the set."
        )
    stray = {name: int(filters.flags_of(scores, name).sum()) for name in MEMBERS if name in finished}
    words = [f"{plural(number, 'image')} by {filters.title_of(name)}" for name, number in stray.items() if number]
    if words:
        st.caption(
            f":material/info: Flagged without making a case, because no class stands out: {' and '.join(words)}. A few "
            "such images are usual on clean data."
        )


def all_histograms(run: Run, finished: list[str], chosen: str, within: View) -> None:
    """Each score's histogram side by side, with the share it flags; with many detectors, some of them at first."""
    st.header("All detectors side by side")
    scores, shown = evidence.table_of(run, within), finished
    if len(finished) > _GRID and not st.toggle(f"All {len(finished)}", key=f"grid-{run.id}"):
        first = [chosen, *(name for name in finished if name != chosen)][:_GRID]
        shown = [name for name in finished if name in first]
    columns: list[Any] = []
    tables: list[pd.DataFrame] = []
    each = 4 if len(shown) == 4 or len(shown) > 6 else 3
    for position, name in enumerate(shown):
        if position % each == 0:  # a new row: its first histogram would otherwise stand lower than its neighbours
            columns = st.columns(each, gap="medium")
        natural, bins = evidence.natural_threshold(run, name), evidence.bins_of(run, name, within)
        flagged = float(filters.flags_of(scores, name).mean()) if len(scores) else 0.0
        title, log = f"{filters.title_of(name)} flags {percent(flagged)}", bool(st.session_state.get(f"log-{run.id}"))
        draw = partial(
            figures.histogram_figure,
            bins,
            natural,
            natural,
            title=title,
            log=log,
            colour=detector_colour(name),
            height=190,
            compact=True,
        )
        figure = cache.figure_of((*evidence.figure_key(run, within), "small", name, natural, title, log), draw)
        alt = f"Histogram of the {filters.title_of(name)} score; its numbers are in the table below."
        columns[position % each].plotly_chart(
            figure, key=f"small-{run.id}-{name}", config={"displayModeBar": False}, alt=alt
        )
        tables.append(_ranges(figures.histogram_table(bins, natural), filters.title_of(name)))
    if tables:  # one for all of them: a table each would be drawn with every page
        evidence.table_under(pd.concat(tables), key=f"small-table-{run.id}")


def _ranges(table: pd.DataFrame, title: str) -> pd.DataFrame:
    """A histogram's table with its detector, and single scores as ranges, so that tables of several fit together."""
    if "score" in table:
        table = table.rename(columns={"score": "from"})
        table.insert(1, "to", table["from"])
    table.insert(0, "detector", title)
    return table


def class_table(rows: list[ClassRow], labels: list[str], first: str = "") -> pd.DataFrame:
    """The table of classes as it is shown; suspected targets carry a mark. first: the detector whose flags come first
    where there are many."""
    order = list(rows[0].flagged) if rows else []
    told = {
        title: key
        for title, key in (
            ("transplant rate", "rate"),
            ("pattern turns", "turned"),
            ("two groups", "groups"),
            ("contradicted", "contradicted"),
            ("anomaly index", "index"),
        )
        if any(getattr(row, key) is not None for row in rows)
    }
    if len(order) > _GRID and first in order:
        order = [first, *(name for name in order if name != first)]
    return pd.DataFrame(
        [
            {
                "class": ("◆ " if row.target else "") + labels[row.number],
                "images": row.samples,
                **{title: getattr(row, key) for title, key in told.items()},
                **({} if row.backdoors is None else {"true backdoors": row.backdoors}),
                **{f"{filters.title_of(name)} flags": row.flagged[name] for name in order},
            }
            for row in rows
        ]
    )


def show_classes(run: Run, chosen: str, within: View) -> None:
    """What the detectors flag in each predicted class; suspected targets on top."""
    st.header("Classes")
    rows = evidence.class_rows_of(run, within)
    if not rows:
        st.caption("This data set names no classes.")
        return
    config = {
        "class": st.column_config.TextColumn(
            "predicted class", width="medium", pinned=True, help="◆ marks a suspected target class."
        ),
        "transplant rate": st.column_config.ProgressColumn(
            min_value=0, max_value=1, format="percent", help=HELP["transplant rate"]
        ),
        "pattern turns": st.column_config.ProgressColumn(
            min_value=0, max_value=1, format="percent", help=HELP["pattern turns"]
        ),
        "two groups": st.column_config.NumberColumn(format="%.1f", help=HELP["two groups"]),
        "contradicted": st.column_config.ProgressColumn(
            min_value=0, max_value=1, format="percent", help=HELP["contradicted"]
        ),
        "anomaly index": st.column_config.NumberColumn(format="%.1f", help=HELP["anomaly index"]),
    }
    table = class_table(rows, evidence.class_labels(run), chosen)
    st.dataframe(table, hide_index=True, width="stretch", column_config=config, height=min(640, 38 + 35 * len(table)))
    targets = [row for row in rows if row.target]
    if targets:
        names = [name for name in MEMBERS if any(name in (row.by or ("transplant",)) for row in targets)]
        st.caption(f"◆ suspected target: stands out from the other classes in {tests_words(names)}.")


def show_facts(run: Run, finished: list[str], chosen: str) -> None:
    """Cost, rule, source and notes of each detector: a table, and the chosen one's in full."""
    st.header("About these detectors")
    records = cache.summary_of(run).get("detectors", {})
    table = facts_table({name: records[name] for name in finished if name in records}, len(cache.scores_of(run)))
    number = st.column_config.NumberColumn
    config = {
        "detector": st.column_config.TextColumn(pinned=True),
        "flagged": number(format="percent"),
        "flags above": number(format="%.4g"),
        "seconds": number(format="%.1f", help="On the machine that ran the scan, with whatever else it was doing."),
        "forwards": number("forwards per image", format="%.0f", help=HELP["forward-equivalents"]),
    }
    st.dataframe(table, hide_index=True, width="stretch", column_config=config, height=min(640, 38 + 35 * len(table)))
    noted = [name for name in finished if records.get(name, {}).get("notes")]
    for name in [name for name in noted if name == chosen] if len(noted) > _NAMED else noted:
        _notes(name, records[name])
    if len(noted) > _NAMED:
        with st.expander(f"Notes of {len(noted)} detectors", icon=":material/info:"):
            for name in noted:
                _notes(name, records[name])


def facts_table(records: dict[str, dict[str, Any]], scanned: int) -> pd.DataFrame:
    """One row a detector: what it flags, by which rule, at which cost, and its source. records: of summary.json."""
    rows = []
    for name, record in records.items():
        rule = record.get("threshold") or {}
        rows.append(
            {
                "detector": short(record.get("title") or filters.title_of(name), 40),
                "flagged": record.get("flagged", 0) / max(1, scanned),
                "flags above": rule.get("value"),
                "because": short(rule.get("explanation") or "–", 160),
                "rule": short(rule.get("rule") or "–", 20),
                "seconds": record.get("seconds"),
                "forwards": (record.get("forward_equivalents") or 0) / max(1, scanned),
                "source": short(record.get("citation") or "–", 120),
            }
        )
    return pd.DataFrame(rows)


def _notes(name: str, record: dict[str, Any]) -> None:
    for note in record["notes"]:
        st.caption(f":material/info: **{plain(filters.title_of(name), 40)}**: {plain(note, 400)}")
