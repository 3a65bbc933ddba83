from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home folder of its own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(folder))
    return folder
