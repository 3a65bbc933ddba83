"""Draws docs/images/costs.svg from benchmarks/results/costs.json: measured points and the lines that fit them.

python -m benchmarks.costs_plot
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs_table import AXES, RESULT
from mspc_core import atomic
from mspc_core.detectors.catalog import CATALOG

PICTURE = Path("docs/images/costs.svg")
# Okabe and Ito's colours, which colour-blind people can tell apart; each detector has a marker of its own as well.
_LOOKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#000000", "v"), ("#B8860B", "P"))
_LEAST = {"seconds": 1e-3, "mib": 0.0}  # a logarithmic axis has no zero
_WHAT = {"seconds": "time (CPU seconds)", "mib": "additional memory (MiB)"}


def fingerprint(part: dict[str, Any]) -> str:
    """Of the curves that a picture shows: it stands in the picture, so that an old one is noticed."""
    return hashlib.sha256(json.dumps(part["found"], sort_keys=True).encode()).hexdigest()


def write(result: dict[str, Any], path: Path = PICTURE) -> None:
    """Time in the upper row, memory in the lower one, a column for each thing that grows; on a light ground, so that
    it can be read on a dark page, too."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    curves = result["curves"]["found"]
    names = [name for name in next(iter(curves.values())) if name in CATALOG]
    settings: Any = {"svg.hashsalt": "costs", "font.size": 10, "axes.grid": True, "grid.color": "#dddddd"}
    with matplotlib.rc_context(settings):
        figure, grid = pyplot.subplots(2, len(curves), figsize=(3.4 * len(curves), 7.2), sharey="row", squeeze=False)
        for column, (axis, curve) in enumerate(curves.items()):
            for row, quantity in enumerate(_WHAT):
                cell = grid[row][column]
                for name, (colour, marker) in zip(names, _LOOKS, strict=False):
                    _draw(cell, curve, curve[name], quantity, colour, marker, CATALOG[name].title)
                cell.set(xscale="log", xlabel=AXES[axis])
                if quantity == "seconds":  # detectors differ a hundredfold
                    cell.set_yscale("log")
                    cell.yaxis.set_major_formatter("{x:g}")
                cell.set_xticks(curve["values"], [f"{value:,}" for value in curve["values"]])
                cell.minorticks_off()
                if not column:
                    cell.set_ylabel(_WHAT[quantity])
        grid[1][0].set_ylim(bottom=0)  # and with it those beside it
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=len(names), frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 0.95))
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"Date": None, "Description": fingerprint(result["curves"]), "Title": "Cost of a scan by detector"}
        atomic.write_with(path, lambda handle: figure.savefig(handle, format="svg", facecolor="white", metadata=about))
        pyplot.close(figure)


def _draw(cell: Any, curve: dict[str, Any], found: dict[str, Any], quantity: str, *look: str) -> None:
    colour, marker, title = look
    values, fit = np.array(curve["values"], dtype=float), found[f"{quantity}_fit"]
    along = np.geomspace(values[0], values[-1], 40)
    line = fit["start"] + fit["slope"] * along ** curve["exponent"]
    cell.plot(along, np.maximum(line, _LEAST[quantity]), color=colour, linewidth=1)
    measured = np.maximum(found[quantity], _LEAST[quantity])
    cell.plot(values, measured, marker, color=colour, markersize=5, label=title)


if __name__ == "__main__":
    write(atomic.read_json(RESULT))
