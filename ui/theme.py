"""Colours and figure settings that look right on light and dark backgrounds. Free of streamlit and plotly.

Colours follow Okabe and Ito's palette for colour-blind readers, shifted where the original is too faint on white or too
dark on black. Colour is never the only sign: flagged marks also differ in shape, states also have an icon.
"""

from __future__ import annotations

from typing import Any

CLEAN = "#3987C4"
BACKDOOR = "#D55E00"
FLAGGED = "#E69F00"
NEUTRAL = "#8A929C"
ACCENT = "#2F86C1"
GRID = "rgba(138, 146, 156, 0.22)"

DETECTOR_COLOURS: dict[str, str] = {"spc": "#56B4E9", "mspc": "#CC79A7", "transplant": "#009E73"}
_MORE_COLOURS = ("#E69F00", "#8E7CC3", "#A6761D", "#66A61E", "#999999")

# Level of a verdict or state of a run → (words, icon, streamlit colour name).
LEVELS: dict[str, tuple[str, str, str]] = {
    "poisoned": ("Likely poisoned", ":material/warning:", "orange"),
    "no_evidence": ("No evidence found", ":material/task_alt:", "green"),
    "unknown": ("No verdict", ":material/help:", "gray"),
    "queued": ("Waiting", ":material/schedule:", "blue"),
    "running": ("Running", ":material/progress_activity:", "blue"),
    "finished": ("Finished", ":material/check_circle:", "green"),
    "failed": ("Failed", ":material/error:", "red"),
    "cancelled": ("Cancelled", ":material/cancel:", "gray"),
    "interrupted": ("Interrupted", ":material/pause_circle:", "yellow"),
    "damaged": ("Not readable", ":material/broken_image:", "red"),
}


def detector_colour(name: str) -> str:
    """The colour of a detector: its own, or a stable one for detectors added later."""
    if name in DETECTOR_COLOURS:
        return DETECTOR_COLOURS[name]
    return _MORE_COLOURS[sum(name.encode()) % len(_MORE_COLOURS)]


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


# For st.plotly_chart(config=…): only the tools people use, and a sharp download.
PLOTLY_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["autoScale2d", "toggleSpikelines"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}
