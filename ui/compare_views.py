"""Parts of the Compare page: the table, the heat map, one detector over all runs, downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import compare_data, compare_runs, evidence, figures_curves, figures_matrix, filters, state
from ui.compare_data import CLEAN_DATA, FIGURES, VERDICT, RunFacts
from ui.text import HELP, plain, plural, short
from ui.theme import FIGURE_FILES, LEVELS, LineStyle, chart_config, line_style

_MOST_LINES = 12
_COLOURS = {"auroc": (0.5, 1.0), "fpr": (0.0, 0.25), "flagged": (0.0, 0.5)}  # from chance; where differences matter


def show_table(rows: list[RunFacts], figure: str) -> None:
    """Runs × detectors, and the way to a run."""
    words = FIGURES[figure][0]
    st.header(f"{words} of each run")
    table = compare_data.run_table(rows, figure)
    table["verdict"] = [LEVELS.get(row.level, LEVELS["unknown"])[0] for row in rows]
    number = st.column_config.NumberColumn
    shown = "%.4f" if figure == "auroc" else "percent"
    config: dict[str, Any] = {
        "run": st.column_config.TextColumn(pinned=True, width="medium"),
        "accuracy": number(format="percent", help=HELP["test accuracy"]),
        "ASR": number(format="percent", help=HELP["ASR"]),
        "suspects": number(format="%d", help=HELP["suspect"]),
    }
    for name in compare_data.detectors_of(rows):
        config[compare_data.column_title(name)] = number(format=shown, help=words)

    def open_run() -> None:
        picked = (st.session_state["compare-table"].get("selection") or {}).get("rows") or []
        if picked and picked[0] < len(rows):
            st.session_state["compare-open"] = rows[picked[0]].id

    st.dataframe(
        table,
        key="compare-table",
        on_select=open_run,
        selection_mode="single-row",
        hide_index=True,
        width="stretch",
        column_config=config,
        height=min(560, 38 + 35 * len(table)),
        placeholder="",  # the caption calls these cells empty
        alt=f"{words} of each detector in each run.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        picked = next((row for row in rows if row.id == st.session_state.get("compare-open")), None)
        if picked is not None and st.button(
            f"Open {plain(picked.label, 40)}", icon=":material/arrow_forward:", key="open"
        ):
            state.go("scores", run=picked.id)
        st.caption(_under_table(figure, rows), width="stretch")


def _under_table(figure: str, rows: list[RunFacts]) -> str:
    words = "Empty: the detector did not run, or the figure does not exist there. Choose a row to open its run."
    if figure == "auroc":
        return f"{words} In runs from before it had a score of its own, the verdict has no AUROC; see its TPR and FPR."
    if figure == "tpr" and any(row.attack == CLEAN_DATA for row in rows):
        return f"{words} Clean data has no TPR: look at its FPR."
    return words


def show_grid(rows: list[RunFacts], figure: str) -> None:
    """Attacks × detectors."""
    words, low_is_good = FIGURES[figure]
    settings, names, means, counts = compare_data.grid(rows, figure)
    st.header("Attacks and detectors")
    if not names:
        st.caption("None of these runs has this figure.")
        return
    hover = np.array(
        [[f"{words}, mean of {plural(int(number), 'run')}" for number in line] for line in counts], dtype=object
    ).reshape(counts.shape)
    columns = [compare_data.column_title(name) for name in names]
    area = figure == "auroc"
    drawn = figures_matrix.heat_figure(
        means,
        settings,
        columns,
        hover=hover,
        what=words,
        low_is_good=low_is_good,
        limits=_COLOURS.get(figure, (0.0, 1.0)),
        as_percent=not area,
        decimals=3 if area else 1 if low_is_good else 0,
    )
    st.plotly_chart(
        drawn,
        key="compare-grid",
        config=_config(),
        alt=f"{words} by attack and detector; the table has the numbers.",
    )
    table = pd.DataFrame(means.round(4), columns=columns)
    table.insert(0, "attack", [short(setting, 60) for setting in settings])
    table.insert(1, "runs", counts.max(axis=1))
    with st.container(horizontal=True, vertical_alignment="center"):
        evidence.table_under(table, key="compare-grid-table")
        low, high = _COLOURS.get(figure, (0.0, 1.0))
        ends = f" Colours go from {low:g} to {high:g}." if area else f" Colours end at {high:.0%}." if high < 1 else ""
        good = "Bright is good: here low." if low_is_good else "Bright is good."
        unit = "Mean" if area else "Mean in percent"
        st.caption(f"{unit} over the runs with the same attack and rate. {good}{ends}", width="stretch")


def show_detector(rows: list[RunFacts], folders: dict[str, Path]) -> None:
    """One detector over the runs: ROC curves, or how its scores are spread."""
    st.header("One detector in all runs")
    names = [name for name in compare_data.detectors_of(rows) if name != VERDICT]
    if not names:
        st.caption("No detector has finished in these runs.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Detector", names, format_func=filters.title_of, key="compare-detector", width=260)
        having = [row for row in rows if name in row.figures]
        both = any(compare_data.value_of(row, name, "auroc") is not None for row in having)
        kinds = ["ROC", "Scores"] if both else ["Scores"]
        kind = st.segmented_control("Figure", kinds, default=kinds[0], required=True, key=f"compare-kind-{len(kinds)}")
        log = kind == "ROC" and st.toggle("False-positive rate on a log axis", key="compare-log", value=True)
    shown = having[:_MOST_LINES]
    styles = {row.id: line_style(number) for number, row in enumerate(shown)}
    titles = {row.id: f"{row.setting} · seed {row.seed} · {row.label}" for row in shown}
    if kind == "ROC":
        drawn = _show_curves(shown, name, folders, titles, styles, log)
    else:
        drawn = _show_spread(shown, name, folders, titles, styles)
    if len(having) > len(shown):
        st.caption(f"The first {len(shown)} of {plural(len(having), 'run')} are drawn; choose fewer above.")
    if kind == "ROC" and drawn < len(shown):
        st.caption(f"{plural(len(shown) - drawn, 'run')} without a curve: clean data, or the truth is not known.")


def _show_curves(
    rows: list[RunFacts],
    name: str,
    folders: dict[str, Path],
    titles: dict[str, str],
    styles: dict[str, LineStyle],
    log: bool,
) -> int:
    curves = {row.id: compare_runs.curve_of(*compare_runs.key_of(folders[row.id]), name) for row in rows}
    found = {key: curve for key, curve in curves.items() if curve is not None}
    figure = figures_curves.roc_figure(found, log=log, height=440, titles=titles, styles=styles)
    alt = "ROC curves of one detector in several runs; the table above has their AUROC."
    st.plotly_chart(figure, key="compare-roc", config=_config(), alt=alt)
    return len(found)


def _show_spread(
    rows: list[RunFacts], name: str, folders: dict[str, Path], titles: dict[str, str], styles: dict[str, LineStyle]
) -> int:
    spread = {row.id: evidence.bins_of(Run(folders[row.id]), name) for row in rows}
    figure = figures_matrix.spread_figure(spread, titles, styles, f"{filters.title_of(name)} score", height=420)
    alt = "How one detector's scores are spread in several runs; the numbers are in the table below."
    st.plotly_chart(figure, key="compare-spread", config=_config(), alt=alt)
    evidence.table_under(figures_matrix.spread_table(spread, titles), key="compare-spread-table")
    st.caption("Solid or dashed: clean images, or all where the truth is unknown. Dotted: backdoored images.")
    return len(spread)


def downloads(rows: list[RunFacts]) -> None:
    """Everything that is compared, as files; figures have their own button when pointed at."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.download_button(
            "All figures (CSV)",
            data=lambda: filters.safe_csv(compare_data.long_table(rows)),
            file_name="backdoor-lens-comparison.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "All figures (JSON)",
            data=lambda: compare_data.as_json(rows),
            file_name="backdoor-lens-comparison.json",
            mime="application/json",
            icon=":material/download:",
            on_click="ignore",
        )
        st.segmented_control(
            "Figures as",
            FIGURE_FILES,
            default=FIGURE_FILES[0],
            required=True,
            format_func=str.upper,
            key="compare-file",
            help="What the camera button of a figure saves. It shows when you point at the figure.",
        )


def _config() -> dict[str, Any]:
    return chart_config(st.session_state.get("compare-file") or FIGURE_FILES[0])


def show_not_run(rows: list[RunFacts]) -> None:
    """Which detectors could not run in which runs."""
    lines = [
        f"- {plain(row.label, 60)}: **{plain(filters.title_of(name), 40)}** {plain(reason, 200)}"
        for row in rows
        for name, reason in row.not_run.items()
    ]
    if lines:
        with st.expander(f"Not run ({len(lines)})", icon=":material/block:"):
            st.markdown("\n".join(lines[:200]))
