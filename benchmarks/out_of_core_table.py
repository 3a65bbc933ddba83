"""Writes the table about memory in docs/performance.md from benchmarks/results/out_of_core.json.

python -m benchmarks.out_of_core_table
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown import filled as filled_place
from benchmarks.markdown import head, row
from mspc_core import atomic
from mspc_core.detectors.catalog import CATALOG

RESULT, PAGE = Path("benchmarks/results/out_of_core.json"), Path("docs/performance.md")


def table(result: dict[str, Any]) -> str:
    """Markdown: the stores, and the largest memory of each stage of their scans."""
    load = result["machine"]["load_at_start_and_end"]
    lines = [
        f"`{result['command']}`",
        "",
        f"Limit: {result['limit_mib']:,} MiB of resident memory, compared with and not enforced. Measured on "
        f"{result['machine']['cores']} cores with {result['machine']['memory_gib']} GiB, shared with other work (load "
        f"average {load[0]:g} to {load[1]:g}): torch {result['versions']['torch']}. Anonymous memory and mapped files "
        "are the largest that were seen at any one time each, several times a second; resident is the largest of their "
        "sum.",
    ]
    for kind in ("large", "heavy"):
        if kind in result:
            lines += ["", *_store(result[kind])]
    return "\n".join(lines)


def _store(found: dict[str, Any]) -> list[str]:
    missing = [name for name in found["detectors"] if name not in found["finished"]]
    late = f" Stopped there, before the end of: {', '.join(map(_title, missing))}." if found["stopped_early"] else ""
    within = "Within the limit." if found["within_limit"] else "**Above the limit.**"
    lines = [
        f"A store of {found['store_gib']:g} GiB: {found['images']:,} images of {found['image_size']} px, "
        f"{found['seconds'] / 60:.0f} minutes. {within}{late}",
        "",
        *head(["stage", "anonymous", "mapped files", "resident"]),
    ]
    stages = {"whole scan": found["peak_mib"], **found["peak_mib_by_stage"]}
    for name, peak in stages.items():
        cells = [f"{round(peak[key]):,} MiB" for key in ("anonymous", "file")]
        # The system's record of the largest sum is of the whole process; of a stage there is what was seen.
        resident = max(peak["resident"], peak["largest"]) if name == "whole scan" else peak["resident"]
        lines.append(row([_title(name), *cells, f"{round(resident):,} MiB"]))
    return lines


def _title(name: str) -> str:
    return CATALOG[name].title if name in CATALOG else name


def filled(page: str, result: dict[str, Any]) -> str:
    """The page with its place replaced."""
    return filled_place(page, "out of core", table(result))


def write(result: dict[str, Any]) -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    write(atomic.read_json(RESULT))
