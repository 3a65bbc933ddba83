"""Writes the tables of docs/performance.md from benchmarks/results/scale.json.

python -m benchmarks.scale_table
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown import filled as filled_place
from benchmarks.markdown import head, row
from mspc_core import atomic

RESULT, PAGE = Path("benchmarks/results/scale.json"), Path("docs/performance.md")


def tables(result: dict[str, Any]) -> str:
    """Markdown: where and with what it was measured, times of pages, times of answers, memory."""
    sizes = list(result["samples"])
    machine, versions = result["machine"], result["versions"]
    load = machine.get("load_at_start_and_end")
    busy = f", shared with other work (load average {load[0]:g} to {load[1]:g})" if load and max(load) > 1.5 else ""
    if machine.get("nice", 0) < 0:
        busy += " but ahead of it"
    names = ("backdoor-lens", "python", "streamlit", "chromium")
    lines = [
        f"`{result['command']}`",
        "",
        f"Measured on {machine['cores']} cores{busy}: "
        + ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
        + ".",
        "",
        *head(["page", *(f"{_short(size)}: {what}" for size in sizes for what in ("cold", "warm", "settled"))]),
    ]
    for page in result["samples"][sizes[0]]["pages"]:
        cells = [page]
        for size in sizes:
            times = result["samples"][size]["pages"].get(page)
            cells += (
                [_seconds(times["cold"]["first_paint"])]
                + [_seconds(times["warm"][key]) for key in ("first_paint", "settled")]
                if times
                else ["–"] * 3
            )
        lines.append(row(cells))
    lines += ["", *head(["page", "what is done", *map(_short, sizes)])]
    for page, steps in result["samples"][sizes[0]]["reactions"].items():
        for step in steps:
            found = [result["samples"][size]["reactions"].get(page, {}).get(step) for size in sizes]
            lines.append(row([page, step, *map(_seconds, found)]))
    lines += ["", *head(["server's memory", *map(_short, sizes)])]
    for key, words in (("started", "just started"), ("after_all_pages", "after every page and answer above")):
        lines.append(row([words, *(f"{result['samples'][size]['server_memory_mib'][key]:,} MiB" for size in sizes)]))
    return "\n".join(lines)


def filled(page: str, result: dict[str, Any]) -> str:
    """The page with its tables replaced."""
    return filled_place(page, "scale", tables(result))


def _short(size: str) -> str:
    return f"{int(size):,}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def main() -> None:
    page = filled(PAGE.read_text(encoding="utf-8"), atomic.read_json(RESULT))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
