"""Starting the app with its modules loaded ahead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ui import serve


def test_loads_what_every_page_needs_and_nothing_heavy() -> None:
    """In a process of its own: afterwards no page has a module of this project left to load, and torch is not there."""
    code = """
import ast, pathlib, sys
from ui import serve
serve.load()
missing = []
for page in sorted(pathlib.Path("pages").glob("*.py")):
    for node in ast.parse(page.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "ui":
            missing += [f"ui.{each.name}" for each in node.names if f"ui.{each.name}" not in sys.modules]
        elif isinstance(node, ast.ImportFrom) and node.module not in sys.modules:
            missing.append(node.module)
        elif isinstance(node, ast.Import):
            missing += [each.name for each in node.names if each.name not in sys.modules]
heavy = [name for name in ("torch", "torchvision", "captum", "umap", "sklearn") if name in sys.modules]
print(missing, heavy)
"""
    root = Path(serve.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
    assert "could not be loaded" not in done.stderr


def test_a_module_that_cannot_be_loaded_is_left_to_its_page(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serve, "LATE", ("no_such_module_here",))
    serve.load()
    assert "no_such_module_here could not be loaded ahead" in caplog.text


def test_starts_the_app_with_the_options_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.web import cli

    asked: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda arguments, prog_name: asked.append(arguments))
    monkeypatch.setattr(serve, "load", lambda: None)
    serve.main(["--server.port", "8600"])
    assert asked == [["run", str(serve.APP), "--server.port", "8600"]]
    assert serve.APP.is_file()
