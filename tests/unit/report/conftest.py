"""Runs that are made by hand, as in the tests of the app."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mspc_core import report
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus
from tests.unit.report.page import Page

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def page_of(run: Run) -> Page:
    return Page(report.render(run, now=NOW))


@pytest.fixture
def new_run(home: Path) -> Run:
    """Scanned, with all tests of the verdict; 48 images of 4 classes, 6 of them poisoned."""
    return add_consensus(make_run(make_dataset("new")))


@pytest.fixture
def old_run(home: Path) -> Run:
    """From before the consensus: SPC, MSPC and transplant."""
    return make_run(make_dataset())
