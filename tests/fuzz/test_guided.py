"""The guided fuzzer's cases and its judgement; that it needs atheris is no reason to leave them untested."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fuzz_guided
from mspc_core import atomic
from mspc_core.errors import InputError
from tests.fuzz import targets
from tests.fuzz.guided import GROUPS, Driver


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(tmp_path / "home"))
    for name in ("case", "home"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("name", [name for name in GROUPS if name != "run folder"])
def test_what_it_begins_with_goes_well(name: str, folder: Path) -> None:
    driver = Driver(name, folder)
    seeds = GROUPS[name].seeds()
    for content in seeds.values():
        driver(content)
    assert not driver.findings
    assert sum(driver.counts.values()) == len(seeds) > 0
    assert driver.counts["accepted"] > 0 or GROUPS[name].target == "checkpoint", "no weights for this model among them"


def test_a_whole_home_is_read_with_one_file_replaced(folder: Path) -> None:
    driver, seeds = Driver("run folder", folder), GROUPS["run folder"].seeds()
    number = next(
        number for number, content in seeds.items() if b'"detectors": [' in content and b'"epochs"' in content
    )
    driver(seeds[number])
    assert driver.counts == {"accepted": 1, "refused": 0}
    driver(seeds[number][:1] + b"[")
    assert driver.counts == {"accepted": 1, "refused": 1}
    assert not driver.findings


def test_a_defect_is_kept_once_a_place_with_its_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Path, options: dict[str, Any]) -> None:
        content = (case / options["entry"]).read_bytes()
        if content == b"traceback":
            raise InputError("Traceback (most recent call last)")
        if content.startswith(b"x"):
            raise ValueError(content)

    monkeypatch.setitem(targets.TARGETS, "source", broken)
    driver = Driver("zip", folder)
    for content in (b"fine", b"x1", b"x2", b"traceback"):
        driver(content)
    first, second = driver.findings.values()
    assert first["input"] == b"x1".hex()
    assert "ValueError: b'x1'" in first["problem"]
    assert "more than a sentence" in second["problem"]


def test_what_the_watch_hears_is_a_finding(folder: Path) -> None:
    heard: list[str] = []

    @contextmanager
    def listening() -> Iterator[None]:
        yield
        heard.append("os.system")

    driver = Driver("link", folder, listening, lambda: heard)
    driver(b"\x01x")
    assert [finding["problem"] for finding in driver.findings.values()] == ["forbidden: ['os.system']"]


def test_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["fuzz_guided", "--seconds", "1"])
    assert fuzz_guided.main() == 2
    assert capsys.readouterr().err == "error: this needs atheris, for Linux: pip install atheris==3.0.0\n"


def test_states_of_the_fuzzer_are_read() -> None:
    said = "#2\tINITED cov: 59 ft: 60 corp: 1/9b\nnoise\n#4077\tDONE   cov: 80 ft: 164 corp: 42/1Kb lim: 60\n"
    assert fuzz_guided._STATE.findall(said) == [("2", "59", "60", "1"), ("4077", "80", "164", "42")]


def test_the_documentation_says_what_was_measured() -> None:
    found = atomic.read_json(fuzz_guided.RESULT)
    page = " ".join((fuzz_guided.ROOT / "docs" / "limits.md").read_text(encoding="utf-8").split())
    assert f"made {found['executions']:,} cases in 45 seconds for each of eight groups, without a finding" in page
    assert (found["findings"], len(found["groups"]), found["command"].split()[-3]) == (0, 8, "45")
