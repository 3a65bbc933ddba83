"""The guides in docs/how-to, followed literally: their files are created, their changes made and their commands run, on
a copy of the project."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import write_folder

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted(path for path in (ROOT / "docs" / "how-to").glob("add-*.md"))
COPIED = ("mspc_core", "ui", "pages", "tests", "app.py", "pyproject.toml", ".streamlit")


@dataclass(frozen=True)
class Step:
    """A fenced block. kind: its language. path: the last file name in the paragraph above it."""

    kind: str
    path: str
    text: str


def steps_of(guide: Path) -> list[Step]:
    found = []
    page = guide.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        paragraph = page[: block.start()].rstrip("\n").rpartition("\n\n")[2]
        names = re.findall(r"`([\w./-]+\.py)`", paragraph)
        found.append(Step(block[1], names[-1] if names else "", block[2]))
    return found


def add_lines(text: str, change: str) -> str:
    """Apply a diff without line numbers: its unmarked lines must stand in the text, once, one after the other."""
    lines = change.splitlines()
    assert all(line[:1] in (" ", "+") for line in lines), "only lines that stay and lines to add"
    before = "".join(line[1:] + "\n" for line in lines if line.startswith(" "))
    after = "".join(line[1:] + "\n" for line in lines)
    assert text.count(before) == 1, f"these lines must stand there once:\n{before}"
    return text.replace(before, after)


def run(command: list[str], folder: Path, home: Path) -> None:
    environment = {**os.environ, "BACKDOOR_LENS_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("guide", GUIDES, ids=[guide.stem for guide in GUIDES])
def test_following_a_guide(guide: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        project.mkdir(exist_ok=True)
        copy(ROOT / name, project / name)
    write_folder(project / "photos", 12)
    steps = steps_of(guide)
    assert {"python", "sh"} <= {step.kind for step in steps}
    changed = []
    for step in steps:
        target = project / step.path
        if step.kind == "python":
            assert not target.exists(), f"{step.path} exists already"
            target.write_text(step.text, encoding="utf-8")
            changed.append(step.path)
        elif step.kind == "diff":
            target.write_text(add_lines(target.read_text(encoding="utf-8"), step.text), encoding="utf-8")
            changed.append(step.path)
        else:
            assert step.kind == "sh"
            for line in step.text.splitlines():
                words = shlex.split(line)
                assert words[0] == ".venv/bin/python"
                run([sys.executable, *words[1:]], project, tmp_path / "home")
    run([sys.executable, "-m", "ruff", "check", *changed], project, tmp_path)
    run([sys.executable, "-m", "ruff", "format", "--check", *changed], project, tmp_path)


def test_there_is_a_guide_for_each_thing() -> None:
    assert [guide.stem for guide in GUIDES] == [
        "add-a-data-source",
        "add-a-detector",
        "add-a-page",
        "add-an-attack",
    ]
