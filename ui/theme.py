"""Colours and figure settings that look right on light and dark backgrounds. Free of streamlit and plotly.

Colours follow Okabe and Ito's palette for colour-blind readers, shifted where the original is too faint on white or too
dark on black. Colour is never the only sign: flagged marks also differ in shape, states also have an icon.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mspc_core.detectors.catalog import CATALOG

CLEAN = "#3987C4"
BACKDOOR = "#D55E00"
FLAGGED = "#E69F00"
NEUTRAL = "#8A929C"
ACCENT = "#2F86C1"
GRID = "rgba(138, 146, 156, 0.22)"

# Eight colours that can be told apart; where there are more lines, dashes and marks differ too.
_FIRST = ("spc", "mspc", "transplant")  # these keep their colours whatever is added to the catalogue
_COLOURS = ("#56B4E9", "#CC79A7", "#009E73", "#E69F00", "#8E7CC3", "#D55E00", "#A6761D", "#8A929C")
_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("diamond", "circle", "square", "triangle-up", "cross", "x", "star", "pentagon", "hexagram")
# Bars of backdoored images are hatched, so that they differ without their colour.
HATCH = {"fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.45)", "size": 7, "solidity": 0.3}
# Of heat maps: readable for colour-blind people, on light and on dark ground.
SEQUENTIAL = "Cividis"

# Level of a verdict or state of a run → (words, icon, streamlit colour name).
LEVELS: dict[str, tuple[str, str, str]] = {
    "poisoned": ("Likely poisoned", ":material/warning:", "orange"),
    "no_evidence": ("No evidence found", ":material/task_alt:", "green"),
    "poor_model": ("No evidence, but a poor model", ":material/warning:", "yellow"),
    "unknown": ("No verdict", ":material/help:", "gray"),
    "queued": ("Waiting", ":material/schedule:", "blue"),
    "running": ("Running", ":material/progress_activity:", "blue"),
    "finished": ("Finished", ":material/check_circle:", "green"),
    "failed": ("Failed", ":material/error:", "red"),
    "cancelled": ("Cancelled", ":material/cancel:", "gray"),
    "interrupted": ("Interrupted", ":material/pause_circle:", "yellow"),
    "damaged": ("Not readable", ":material/broken_image:", "red"),
}


class LineStyle(NamedTuple):
    """How a line is drawn; `symbol` marks a point on it."""

    colour: str
    dash: str
    symbol: str


def line_style(position: int) -> LineStyle:
    """The style of the line at a place in a list: colours change first, then dashes."""
    turn = position // len(_COLOURS)
    symbol = _SYMBOLS[position % len(_SYMBOLS)]
    return LineStyle(_COLOURS[position % len(_COLOURS)], _DASHES[turn % len(_DASHES)], symbol)


def detector_style(name: str) -> LineStyle:
    """The style of a detector, the same in every figure."""
    known = list(dict.fromkeys((*_FIRST, *CATALOG)))
    return line_style(known.index(name) if name in known else len(known) + sum(name.encode()) % len(_COLOURS))


def detector_colour(name: str) -> str:
    """The colour of a detector."""
    return detector_style(name).colour


def figure_layout(height: int = 320, **more: Any) -> dict[str, Any]:
    """Arguments for `figure.update_layout`: transparent, tight margins, quiet grid; fonts are left to streamlit."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True}
    return {
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": {"text": ""}},
        "hoverlabel": {"namelength": -1},
        "bargap": 0.02,
        "xaxis": axis,
        "yaxis": dict(axis),
        **more,
    }


FIGURE_FILES = ("png", "svg")

# For st.plotly_chart(config=…): only the tools people use, and a sharp download.
PLOTLY_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["autoScale2d", "toggleSpikelines"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}


def chart_config(file: str = "png") -> dict[str, Any]:
    """`PLOTLY_CONFIG` whose camera button saves a file of this kind (of `FIGURE_FILES`)."""
    return {**PLOTLY_CONFIG, "toImageButtonOptions": {"format": file, "scale": 2 if file == "png" else 1}}
