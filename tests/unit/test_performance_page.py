"""docs/performance.md shows what benchmarks/results/ holds."""

from __future__ import annotations

from pathlib import Path

from benchmarks import answers_table, scale_table
from mspc_core import atomic

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_has_the_measured_tables() -> None:
    page = (ROOT / scale_table.PAGE).read_text(encoding="utf-8")
    assert scale_table.filled(page, atomic.read_json(ROOT / scale_table.RESULT)) == page
    assert answers_table.filled(page, atomic.read_json(ROOT / answers_table.RESULT)) == page


def test_a_figure_that_is_missing_is_a_dash() -> None:
    times = {"cold": {"first_paint": 1.0, "settled": 2.0}, "warm": {"first_paint": 0.96, "settled": 1.5}}
    result = {
        "command": "python -m benchmarks.scale",
        "machine": {"cores": 2},
        "versions": {"python": "3.11"},
        "samples": {
            "50000": {
                "pages": {"home": times},
                "reactions": {"data": {"next page": None}},
                "server_memory_mib": {"started": 100, "after_all_pages": 1200},
            }
        },
    }
    text = scale_table.tables(result)
    assert "| home | 1.0 s | 1.0 s | 1.5 s |" in text
    assert "| data | next page | – |" in text
    assert "| after every page and answer above | 1,200 MiB |" in text
