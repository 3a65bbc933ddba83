"""A run whose model was given from Python: pages show what is stored and say why they cannot compute more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import atomic
from mspc_core.runs import Run


@pytest.fixture
def own_model_run(new_run: Run) -> Run:
    about = atomic.read_json(new_run.folder / "model.json")
    atomic.write_json(new_run.folder / "model.json", {**about, "arch": "python:Net", "trained_here": False})
    (new_run.folder / "model.safetensors").unlink()
    return new_run


@pytest.mark.parametrize("page", ["scan", "scores", "mask", "inspect", "review", "compare"])
def test_pages_of_a_run_with_an_own_model(open_page: Callable[..., AppTest], own_model_run: Run, page: str) -> None:
    sample = own_model_run.scores().query("suspect")["sample_id"].iloc[0]
    at = open_page(page, run=own_model_run.id, sample=sample)
    assert not at.exception
    assert at.title
    for error in at.error:
        assert "was given from Python" in error.value
