"""Where the report goes: whole or absent, nothing foreign is replaced, and one sentence for what cannot be done."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from mspc_core import cli, report
from mspc_core.errors import InputError
from mspc_core.report import pdf
from mspc_core.report.material import load
from mspc_core.report.reproduce import commands
from mspc_core.runs import Run
from tests.unit.report.conftest import page_of


def test_replaces_its_own_report_and_nothing_else(new_run: Run, old_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert report.write_report(new_run, out) == report.Written(out, None)
    assert out.read_text().startswith("<!DOCTYPE html>")
    report.write_report(new_run, out)
    before = out.read_bytes()
    with pytest.raises(InputError, match="not a report of this run"):
        report.write_report(old_run, out)
    assert out.read_bytes() == before
    report.write_report(old_run, out, force=True)
    assert old_run.id in out.read_text()
    assert [path.name for path in tmp_path.glob("*.html")] == ["report.html"]


@pytest.mark.parametrize("place", ["missing/report.html", "."])
def test_places_that_cannot_be_written(new_run: Run, tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match=r"no folder|is a folder"):
        report.write_report(new_run, tmp_path / place)


def test_without_a_browser_nothing_is_written(new_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHROME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pdf.find_chromium() is None
    with pytest.raises(InputError, match=r"no Chromium or Chrome was found on PATH.*HTML report needs none"):
        report.write_report(new_run, tmp_path / "r.html", pdf=True)
    assert not list(tmp_path.glob("r.*"))


def test_chrome_names_the_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "my-browser"
    program.write_text("#!/bin/sh\necho 'it is broken' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROME", str(program))
    assert pdf.find_chromium() == str(program)
    with pytest.raises(InputError, match="made no PDF: it is broken"):
        pdf.html_to_pdf("<p>x</p>")
    monkeypatch.setenv("CHROME", "/no/such/browser")
    with pytest.raises(InputError, match="CHROME names '/no/such/browser'"):
        pdf.html_to_pdf("<p>x</p>")


def test_a_browser_that_prints_gets_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, said = tmp_path / "browser", tmp_path / "said"
    program.write_text(
        f'#!/bin/sh\nfor word in "$@"; do echo "$word" >> {said}\n'
        'case "$word" in --print-to-pdf=*) printf "%%PDF-1.7" > "${word#--print-to-pdf=}";; esac; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("CHROME", str(program))
    assert pdf.html_to_pdf("<p>x</p>") == b"%PDF-1.7"
    words = said.read_text()
    assert "--host-resolver-rules=MAP * ~NOTFOUND" in words
    assert "--headless" in words
    profile = next(line for line in words.splitlines() if line.startswith("--user-data-dir="))
    assert not Path(profile.partition("=")[2]).parent.exists()  # nothing is left behind


def test_command_line(new_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.html"
    assert cli.main(["report", new_run.id, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"report: {out}\n"
    out.write_text("mine")
    assert cli.main(["report", new_run.id, "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert out.read_text() == "mine"
    assert cli.main(["report", str(new_run.folder), "--out", str(out), "--force", "--json"]) == 0
    assert f'{{"html": "{out}"}}' in capsys.readouterr().out
    assert cli.main(["report", "no-such-run"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_checksums_are_those_of_the_files(new_run: Run) -> None:
    text = page_of(new_run).text
    for name in ("config.json", "summary.json", "scores.parquet", "masks.npz", "model.safetensors"):
        content = (new_run.folder / name).read_bytes()
        assert f"{name} {len(content):,} {hashlib.sha256(content).hexdigest()}" in text


def test_the_command_gives_the_same_configuration(new_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(new_run.config(), source="new")
    first, second = (shlex.split(line) for line in commands(config, load(new_run)))
    assert first[3:] == ["import", "/data/new", "--name", "new", "--size", "16"]
    assert second[3:5] == ["scan", "new"]
    options = dict(zip(second[5::2], second[6::2], strict=True))
    assert cli.main(["scan", "--help"]) == 0
    known = capsys.readouterr().out.split()
    assert set(options) <= set(known)
    assert options["--detectors"] == ",".join(config.detectors)
    assert options["--seed"] == str(config.seed)
    assert options["--arch"] == config.arch


def test_a_lab_data_set_is_poisoned_again_by_command(new_run: Run) -> None:
    summary = new_run.summary()
    summary["dataset"]["recipe"] = {
        "attack": "badnets",
        "config": {"size": 5, "pattern": "sticker"},
        "rate": 0.1,
        "target_class": 2,
        "label_mode": "all-to-one",
        "seed": 3,
        "source": "clean set",
    }
    new_run.save_summary(summary)
    material = load(new_run)
    line = commands(replace(new_run.config(), source="new"), material)[0]
    assert line == (
        "python -m mspc_core poison 'clean set' --attack badnets --rate 0.1 --target 2 --seed 3 --labels all-to-one "
        "--set size=5 --set pattern=sticker --out new"
    )
