"""Writes the tables about costs in docs/performance.md from benchmarks/results/costs.json.

python -m benchmarks.costs_table
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown import filled as filled_place
from benchmarks.markdown import head, row
from mspc_core import atomic
from mspc_core.detectors.catalog import CATALOG

RESULT, PAGE = Path("benchmarks/results/costs.json"), Path("docs/performance.md")
AXES = {"images": "images", "image_size": "image size in pixels", "classes": "classes", "scales": "scales"}
WITHIN = 0.3  # of reality, an estimate should be


def estimates(part: dict[str, Any]) -> str:
    """Markdown: estimates beside what scans took, in all and by stage."""
    lines = [
        _about(part),
        "",
        *head(["images", "size", "classes", "estimated", "took", "error", "memory estimated", "memory took", "error"]),
    ]
    for entry in part["found"]:
        cells = [f"{entry['images']:,}", f"{entry['image_size']} px", str(entry["classes"])]
        cells += [f"{entry['estimated_seconds']:.1f} s", f"{entry['real_seconds']:.1f} s", _error(entry["error"])]
        cells += [f"{entry['estimated_anonymous_mib']:,} MiB", f"{entry['real_anonymous_mib']:,} MiB"]
        lines.append(row([*cells, _error(entry["memory_error"])]))
    names = list(part["found"][0]["stages"])
    lines += ["", *head(["error by stage", *(_title(name) for name in names)])]
    for entry in part["found"]:
        cells = [f"{entry['images']:,} of {entry['image_size']} px, {entry['classes']} classes"]
        for name in names:
            stage = entry["stages"].get(name)
            cells.append(_error(stage["estimated_seconds"] / stage["real_seconds"] - 1) if stage else "–")
        lines.append(row(cells))
    return "\n".join(lines)


def curves(part: dict[str, Any]) -> str:
    """Markdown: what every detector took at each value, and the exponent that fits its time."""
    lines = [_about(part), "", *head(["what grows", "detector", "CPU seconds", "power", "MiB"])]
    for axis, curve in part["found"].items():
        values = ", ".join(f"{value:,}" for value in curve["values"])
        for name, found in curve.items():
            if name not in CATALOG:
                continue
            seconds = ", ".join(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in found["seconds"])
            mib = ", ".join(f"{value:.0f}" for value in found["mib"])
            lines.append(row([f"{AXES[axis]}: {values}", _title(name), seconds, f"{found['power']:.2f}", mib]))
    return "\n".join(lines)


def _about(part: dict[str, Any]) -> str:
    load = part["machine"]["load_at_start_and_end"]
    turns = f"median of {part['turns']} turns" if part["turns"] > 1 else "one turn"
    return (
        f"`{part['command']}`: CPU seconds of one thread, {turns}, on a machine shared with other work (load average "
        f"{load[0]:g} to {load[1]:g}, {part['machine']['cores']} cores); small CNN, torch {part['versions']['torch']}."
    )


def _error(share: float) -> str:
    return f"{share:+.0%}" if abs(share) <= WITHIN else f"**{share:+.0%}**"


def _title(name: str) -> str:
    return CATALOG[name].title if name in CATALOG else name.capitalize()


def filled(page: str, result: dict[str, Any]) -> str:
    """The page with both places replaced."""
    page = filled_place(page, "estimates", estimates(result["estimates"]))
    return filled_place(page, "costs", curves(result["curves"]))


def write(result: dict[str, Any]) -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    write(atomic.read_json(RESULT))
