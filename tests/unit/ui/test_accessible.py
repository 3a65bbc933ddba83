"""Figures and pictures carry words for those who cannot see them, wherever they are drawn."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((*(ROOT / "pages").glob("*.py"), *(ROOT / "ui").glob("*.py")))
DRAWN = ("plotly_chart", "image")


def calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    # `images.image` would be a function on arrays, not an element of the page.
    return [node for node in found if node.func.attr in DRAWN and ast.unparse(node.func.value) != "images"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_figure_and_picture_has_a_text_alternative(path: Path) -> None:
    for call in calls(path):
        names = {keyword.arg for keyword in call.keywords}
        assert "alt" in names, f"{path.name}:{call.lineno} has no alt"


def test_such_calls_are_found() -> None:
    assert sum(len(calls(path)) for path in FILES) > 15
