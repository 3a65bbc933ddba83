"""The guided fuzzer's cases and its judgement; that it needs atheris is no reason to leave them untested."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fuzz_guided
from mspc_core import atomic, cli_data
from mspc_core.errors import InputError
from tests.fuzz import reading, targets
from tests.fuzz.guided import GROUPS, Driver
from tests.fuzz.guided_worker import words_file
from tests.fuzz.making import shaped


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
    assert driver.counts["accepted"] > 0 or name == "pickles"


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
    assert capsys.readouterr().err == "error: this needs atheris, for Linux on x86_64: pip install atheris==3.0.0\n"


def test_states_of_the_fuzzer_are_read() -> None:
    said = "#2\tINITED cov: 59 ft: 60 corp: 1/9b\nnoise\n#4077\tDONE   cov: 80 ft: 164 corp: 42/1Kb lim: 60\n"
    assert fuzz_guided.progress(said + "stat::number_of_executed_units: 4080\n") == {
        "executions": 4080,
        "branches_of_the_seeds": 59,
        "branches": 80,
        "features": 164,
        "inputs_kept": 42,
    }
    assert fuzz_guided.progress("Traceback (most recent call last)") is None


def test_the_documentation_says_what_was_measured() -> None:
    found = atomic.read_json(fuzz_guided.RESULT)
    assert list(found["groups"]) == list(GROUPS)
    page = fuzz_guided.PAGE.read_text(encoding="utf-8")
    assert fuzz_guided.table(found) in page


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("suggestions.csv", b"sample_id,suggested_label\na,inf\n"),
        ("ids.json", b'["a", 1]'),
        ("ids.csv", b"label\n1\n"),
        ("choice.csv", b"sample_id,action,label\na,relabel,x\n"),
    ],
)
def test_lists_that_are_none_are_refused(folder: Path, name: str, content: bytes) -> None:
    driver = Driver("lists of samples", folder)
    driver(bytes([reading.LISTS.index(name)]) + content)
    assert (driver.counts, driver.findings) == ({"accepted": 0, "refused": 1}, {})


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000])
def test_a_setting_that_is_no_json_is_text(value: str) -> None:
    assert cli_data._settings([f"size={value}"]) == {"size": value}


def test_archives_around_the_fuzzers_names_hold_them() -> None:
    packed = shaped.archive(b"\x00\x08cat/1.png\0\x09../l.png").files["t.zip"]
    assert isinstance(packed, bytes)
    first, second = zipfile.ZipFile(io.BytesIO(packed)).infolist()
    assert (first.filename, stat.S_ISREG(first.external_attr >> 16)) == ("cat/1.png", True)
    assert (second.filename, stat.S_ISLNK(second.external_attr >> 16)) == ("../l.png", True)
    packed = shaped.archive(b"\x01\x09cat/l.png\n../secret.png").files["t.tar"]
    assert isinstance(packed, bytes)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        (member,) = archive.getmembers()
    assert (member.name, member.issym(), member.linkname) == ("cat/l.png", True, "../secret.png")


def test_words_for_the_fuzzer_are_escaped(tmp_path: Path) -> None:
    assert words_file(tmp_path, 'a \\x0a " \\x5c').read_text() == '"\\x61"\n"\\x0a"\n"\\x22"\n"\\x5c"\n'


def test_nothing_of_the_program_is_loaded_before_it_is_instrumented() -> None:
    ours = "[m for m in sys.modules if m.split('.')[0] in ('mspc_core', 'ui')]"
    ask = f"import sys, tests.fuzz.guided_worker; print({ours})"
    done = subprocess.run([sys.executable, "-c", ask], cwd=fuzz_guided.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("error", [SystemExit(3), BaseException("a panic"), MemoryError()])
def test_what_is_no_exception_is_a_finding_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(case: Path, options: dict[str, Any]) -> None:
        raise error

    monkeypatch.setitem(targets.TARGETS, "link", broken)
    driver = Driver("link", folder)
    driver(b"")
    assert [finding["problem"].splitlines()[-1].split(":")[0] for finding in driver.findings.values()] == [
        type(error).__name__
    ]


def test_a_file_that_is_left_behind_is_a_finding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def untidy(case: Path, options: dict[str, Any]) -> None:
        (folder / "home" / "runs").mkdir()
        (folder / "home" / "runs" / ".tmp-x").touch()

    monkeypatch.setitem(targets.TARGETS, "link", untidy)
    driver = Driver("link", folder)
    driver(b"")
    assert driver.findings == {"left behind": {"problem": "left behind: ['.tmp-x']", "input": ""}}
    assert driver.counts == {"accepted": 0, "refused": 0}
