"""The shape of the project: imports go one way, and opening the app or the command line loads no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each part may import itself and what is listed. `*` stands for all of mspc_core.
ALLOWED = {
    "app": {"ui", "mspc_core"},
    "pages": {"ui", "mspc_core"},
    "ui": {"ui", "mspc_core"},
    "mspc_core": {"mspc_core"},
}
LAYERS = {
    "mspc_core.engine": {"engine", "errors", "home"},
    # The second opinion trains a small model of its own.
    "mspc_core.detectors": {"detectors", "models", "engine", "errors"},
    "mspc_core.models": {"models", "engine", "errors", "atomic", "files"},
    # What a user of a served app may read, keep and delete is checked where files are opened and written.
    "mspc_core.data": {"data", "errors", "atomic", "files", "home", "shapes", "access", "quotas"},
    # Attackers train surrogates, and one of them attacks the detectors themselves.
    "mspc_core.attacks": {"attacks", "data", "models", "engine", "detectors", "errors"},
}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(part: str) -> list[Path]:
    return [ROOT / "app.py"] if part == "app" else sorted((ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("part", list(ALLOWED))
def test_parts(part: str) -> None:
    files = sources(part)
    assert files
    own = {"app", "pages", "ui", "mspc_core", "tests", "benchmarks"}
    for path in files:
        used = {name.split(".")[0] for name in imports_of(path)}
        assert not (used & own) - ALLOWED[part], path
        if part == "mspc_core":
            assert "streamlit" not in used, path


@pytest.mark.parametrize("layer", list(LAYERS))
def test_layers_of_the_core(layer: str) -> None:
    files = sorted((ROOT / layer.replace(".", "/")).rglob("*.py"))
    assert files
    for path in files:
        for name in imports_of(path):
            if name.startswith("mspc_core."):
                assert name.split(".")[1] in LAYERS[layer], f"{path} imports {name}"


def test_only_evaluate_reads_the_truth() -> None:
    """Outside of lab tools, nobody opens truth.parquet."""
    readers = [
        path.relative_to(ROOT).as_posix()
        for part in ("mspc_core", "ui", "pages")
        for path in sources(part)
        if "truth.parquet" in path.read_text() and "read_parquet" in path.read_text()
    ]
    assert set(readers) <= {"mspc_core/evaluate.py", "mspc_core/data/store.py"}
    assert "def truth" not in (ROOT / "mspc_core/data/store.py").read_text()


@pytest.mark.parametrize(
    "module",
    [
        "mspc_core.cli",
        "mspc_core.runs",
        "mspc_core.jobs",
        "mspc_core.data.store",
        "mspc_core.report",
        "mspc_core.report.pdf",
    ],
)
def test_importing_loads_no_torch(module: str) -> None:
    heavy = ("torch", "torchvision", "pandas", "sklearn", "streamlit")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"
