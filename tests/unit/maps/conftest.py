"""A small run made by hand, in a home folder of its own."""

from pathlib import Path

import pytest

from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run


@pytest.fixture
def run(home: Path) -> Run:
    return make_run(make_dataset())
