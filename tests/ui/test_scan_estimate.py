"""The Scan page says how long a scan will take, and starts nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import runs
from mspc_core.data.store import Dataset
from mspc_core.errors import InputError
from mspc_core.runs import ScanConfig
from ui import scan_estimate

OpenPage = Callable[..., AppTest]
FOUND: dict[str, Any] = {
    "images": 4000,
    "image_size": 32,
    "classes": 16,
    "epochs": 12,
    "device": "cpu",
    "stages": [
        {
            "name": "data",
            "title": "Opening the data",
            "seconds": 5.0,
            "forward_equivalents": [0, 0, 0],
            "memory_mib": 600,
        },
        {
            "name": "mspc",
            "title": "MSPC",
            "seconds": 130.0,
            "forward_equivalents": [40_000, 80_000, 160_000],
            "memory_mib": 1700,
        },
    ],
    "seconds": 135.0,
    "memory_mib": {"anonymous": 1700, "file": 20, "resident": 1720},
    "device_mib": None,
    "not_run": {"beatrix": "it needs *clean* data"},
}


def test_time_and_memory_before_the_start(
    open_page: OpenPage, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ScanConfig] = []
    monkeypatch.setattr(scan_estimate, "ask", lambda config: asked.append(config) or FOUND)
    at = open_page("scan")
    before = len(runs.list_runs())
    at.button(key="estimate").click().run()
    assert asked[0].dataset == tiny_dataset.info.name
    assert asked[0].detectors
    said = [found.value for found in at.markdown]
    words = "About **2 min** and **1,700 MiB** of memory for 4,000 images on cpu, 12 epochs of training."
    assert any(words in text for text in said)
    table = at.dataframe[-1].value
    assert table["passes an image"].tolist() == ["–", "20.0 (10 to 40)"]
    assert any("beatrix cannot run: it needs \\*clean\\* data" in found.value for found in at.caption)
    assert len(runs.list_runs()) == before


def test_what_prevents_a_scan_prevents_its_estimate(
    open_page: OpenPage, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: ScanConfig) -> dict[str, Any]:
        raise InputError("There are no images.")

    monkeypatch.setattr(scan_estimate, "ask", refuse)
    at = open_page("scan")
    at.button(key="estimate").click().run()
    assert [found.value for found in at.error] == ["There are no images."]
    assert not at.exception


def test_what_is_not_stored_yet_is_estimated_too_but_not_the_demo(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "1.png").write_bytes(b"")
    asked: list[ScanConfig] = []
    monkeypatch.setattr(scan_estimate, "ask", lambda config: asked.append(config) or FOUND)
    at = open_page("scan")
    assert at.button(key="estimate").disabled
    at.segmented_control(key="scan_kind").set_value("Path or name").run()
    assert at.button(key="estimate").disabled
    at.text_input(key="scan_source").set_value(str(tmp_path / "pets")).run()
    at.button(key="estimate").click().run()
    assert not at.exception
    assert (asked[0].source, asked[0].dataset, asked[0].size) == (str(tmp_path / "pets"), "", 32)
