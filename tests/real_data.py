"""Where tests and benchmarks find the real data sets, which are not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("BACKDOOR_LENS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def require(name: str) -> Path:
    """The path of a real data file or folder. Where it is absent the test is skipped, but fails in CI (`CI` is set)."""
    path = REAL_DATA / name
    if not path.exists():
        reason = f"needs {path}; set BACKDOOR_LENS_DATA to the folder that holds cifar10/ and clothing/"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
