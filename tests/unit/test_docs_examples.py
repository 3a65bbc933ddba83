"""What the documentation shows in Python runs as it stands: the blocks of the API page and the worked example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.lab import write_folder

ROOT = Path(__file__).resolve().parents[2]


def python(arguments: list[str], home: Path, folder: Path) -> str:
    """Run Python as a reader would; returns what it printed."""
    environment = {**os.environ, "BACKDOOR_LENS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("example")
    script = ROOT / "docs" / "examples" / "clean_and_retrain.py"
    return python([str(script), str(folder / "pictures")], folder / "home", folder), folder


def test_the_worked_example_removes_the_backdoor(printed: tuple[str, Path]) -> None:
    text, folder = printed
    assert "verdict: likely poisoned" in text
    assert "target class speed 80" in text
    accuracy = [float(value) for value in re.findall(r"[\d.]+(?=%)", text.split("test accuracy ")[-1])]
    (before, after), (attack_before, attack_after) = accuracy[:2], accuracy[2:4]
    assert before > 80
    assert abs(before - after) < 8
    assert attack_before > 90
    assert attack_after < 10
    sheet = np.asarray(Image.open(folder / "pictures" / "suspects.png"))
    assert sheet.shape[1:] == (15 * 16 * 3, 3)
    assert np.asarray(Image.open(folder / "pictures" / "region.png")).max() > 200


def test_the_python_of_the_api_page(tmp_path: Path) -> None:
    """All blocks, in order, in one session, beside a folder of pictures called photos."""
    page = (ROOT / "docs" / "python-api.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 10
    write_folder(tmp_path / "photos", 40)
    (tmp_path / "session.py").write_text("\n".join(blocks), encoding="utf-8")
    text = python(["session.py"], tmp_path / "home", tmp_path)
    assert "suspect_score" in text
    assert (tmp_path / "my-run" / "summary.json").is_file()


def test_the_api_page_names_every_public_function() -> None:
    import mspc_core

    page = (ROOT / "docs" / "python-api.md").read_text()
    for name in mspc_core.__all__:
        assert f"`{name}" in page, name
