"""docs/performance.md shows what benchmarks/results/ holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import answers_table, costs_plot, costs_table, out_of_core_table, scale_table, startup
from benchmarks.costs_curves import fitted
from mspc_core import atomic

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_has_the_measured_tables() -> None:
    page = (ROOT / scale_table.PAGE).read_text(encoding="utf-8")
    assert scale_table.filled(page, atomic.read_json(ROOT / scale_table.RESULT)) == page
    assert answers_table.filled(page, atomic.read_json(ROOT / answers_table.RESULT)) == page
    assert startup.filled(page, atomic.read_json(ROOT / startup.RESULT)) == page
    assert costs_table.filled(page, atomic.read_json(ROOT / costs_table.RESULT)) == page
    assert out_of_core_table.filled(page, atomic.read_json(ROOT / out_of_core_table.RESULT)) == page


def test_a_start_is_measured_in_processes_of_their_own() -> None:
    busy = startup.imported("sum(i * i for i in range(10**6))")
    assert busy["cpu"] > startup.imported("pass")["cpu"] > 0
    assert busy["wall"] >= 0.9 * busy["cpu"], "one thread"


def test_the_page_says_what_the_server_holds() -> None:
    found = list(atomic.read_json(ROOT / "benchmarks/results/app_memory.json")["after_page"].values())[-1]
    page = " ".join((ROOT / costs_table.PAGE).read_text(encoding="utf-8").split())
    assert f"it holds {found['anonymous']:,} MiB of its own and {found['files']:,} MiB of mapped files" in page


def test_the_plot_is_of_the_measured_curves() -> None:
    curves = atomic.read_json(ROOT / costs_table.RESULT)["curves"]
    assert costs_plot.fingerprint(curves) in (ROOT / costs_plot.PICTURE).read_text(encoding="utf-8")


def test_a_plot_has_every_axis_and_every_detector(tmp_path: Path) -> None:
    found: dict[str, Any] = {"seconds": [1.0, 2.0], "mib": [0.0, 3.0]}
    fit = {"start": 0.0, "slope": 0.1, "off": 0.0}
    detector = {**found, "power": 1.0, "seconds_fit": fit, "mib_fit": fit}
    curve = {"values": [10, 20], "exponent": 1, "spc": detector, "second_opinion": detector}
    result = {"curves": {"found": dict.fromkeys(costs_table.AXES, curve)}}
    costs_plot.write(result, tmp_path / "one.svg")
    costs_plot.write(result, tmp_path / "two.svg")
    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "two.svg").read_text(encoding="utf-8")
    for words in ("image size in pixels", "scales", "CPU seconds", "additional memory (MiB)", "SPC", "Second opinion"):
        assert f"<!-- {words}" in text or f"({words})" in text
    assert costs_plot.fingerprint(result["curves"]) in text


def test_a_fit_finds_what_made_the_values() -> None:
    fit = fitted([16, 32, 64], [2.0 + 0.5 * side**2 for side in (16, 32, 64)], 2)
    assert (fit["start"], fit["slope"], fit["off"]) == (pytest.approx(2.0), pytest.approx(0.5), 0.0)
    falling = fitted([1, 2, 3], [3.0, 2.0, 1.0], 1)
    assert falling["slope"] == 0.0  # nothing gets cheaper by being more
    assert falling["off"] > 0.1


def test_an_estimate_that_misses_stands_out() -> None:
    stage = {"estimated_seconds": 14.0, "real_seconds": 10.0}
    entry = {"images": 1000, "image_size": 32, "classes": 2, "estimated_seconds": 11.0, "real_seconds": 10.0}
    entry |= {"error": 0.1, "estimated_anonymous_mib": 500, "real_anonymous_mib": 1000, "memory_error": -0.5}
    part = {"command": "c", "turns": 1, "machine": {"cores": 2, "load_at_start_and_end": [1.0, 2.0]}}
    text = costs_table.estimates({**part, "versions": {"torch": "2"}, "found": [{**entry, "stages": {"spc": stage}}]})
    assert "| 1,000 | 32 px | 2 | 11.0 s | 10.0 s | +10% | 500 MiB | 1,000 MiB | **-50%** |" in text
    assert "| 1,000 of 32 px, 2 classes | **+40%** |" in text


def test_memory_above_the_limit_and_what_did_not_finish_are_said() -> None:
    peak = {"anonymous": 500.4, "file": 300.0, "resident": 790.0, "largest": 800.2}
    store = {"store_gib": 6.0, "images": 42790, "image_size": 224, "seconds": 600.0, "stopped_early": True}
    store |= {"detectors": ["spc", "mspc"], "finished": ["spc"], "peak_mib": peak, "peak_mib_by_stage": {"spc": peak}}
    about = {"command": "c", "limit_mib": 700, "versions": {"torch": "2"}}
    about["machine"] = {"cores": 2, "memory_gib": 23, "load_at_start_and_end": [1.0, 2.0]}
    text = out_of_core_table.table({**about, "large": {**store, "within_limit": False}})
    assert "10 minutes. **Above the limit.** Stopped there, before the end of: MSPC." in text
    assert "| whole scan | 500 MiB | 300 MiB | 800 MiB |" in text
    assert "| SPC | 500 MiB | 300 MiB | 790 MiB |" in text


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
