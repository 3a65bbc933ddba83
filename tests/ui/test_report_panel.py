"""The panel that prepares a run's report, on a page of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mspc_core.report import pdf
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus
from tests.ui.test_scores_mask import HOSTILE


def page(folder: str) -> None:
    from pathlib import Path

    from mspc_core.runs import Run
    from ui.report_views import report_panel

    report_panel(Run(Path(folder)))


def opened(run: Run) -> AppTest:
    return AppTest.from_function(page, args=(str(run.folder),), default_timeout=60).run()


def downloads(at: AppTest) -> list[str]:
    return [element.proto.label for element in at.get("download_button")]


def prepare(at: AppTest, run: Run) -> AppTest:
    return at.button(key=f"report-{run.id}").click().run()


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROME", "/no/such/browser")


def test_nothing_is_made_before_it_is_asked_for(new_run: Run, no_browser: None) -> None:
    at = opened(new_run)
    assert not at.exception
    assert downloads(at) == []


def test_prepare_and_download(new_run: Run, no_browser: None) -> None:
    at = prepare(opened(new_run), new_run)
    assert not at.exception
    assert not at.error
    assert downloads(at) == ["Download HTML"]
    prepared = at.session_state[f"report-prepared-{new_run.id}"]
    assert prepared.html.startswith(b"<!DOCTYPE html>")
    assert any("For a PDF, install Chromium" in caption.value for caption in at.caption)
    assert downloads(at.run()) == ["Download HTML"]  # it is still there


def test_pdf(new_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ui.report_views.find_chromium", lambda: "chromium")
    monkeypatch.setattr("ui.report_views.html_to_pdf", lambda content: b"%PDF-" + content[:9].encode())
    at = prepare(opened(new_run), new_run)
    at = at.button(key=f"report-make-pdf-{new_run.id}").click().run()
    assert not at.exception
    assert downloads(at) == ["Download HTML", "Download PDF"]
    assert at.session_state[f"report-prepared-{new_run.id}"].pdf == b"%PDF-<!DOCTYPE"


def test_a_browser_that_fails_is_one_sentence(new_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROME", "/bin/false")
    if pdf.find_chromium() is None:
        pytest.skip("no /bin/false here")
    at = prepare(opened(new_run), new_run)
    at = at.button(key=f"report-make-pdf-{new_run.id}").click().run()
    assert not at.exception
    assert "made no PDF" in at.error[0].value
    assert downloads(at) == ["Download HTML"]


def test_a_run_without_results_is_one_sentence(new_run: Run) -> None:
    (new_run.folder / "scores.parquet").unlink()
    at = prepare(opened(new_run), new_run)
    assert not at.exception
    assert "has no results yet" in at.error[0].value
    assert downloads(at) == []


def test_new_results_are_noticed(new_run: Run, no_browser: None) -> None:
    at = prepare(opened(new_run), new_run)
    new_run.save_summary({**new_run.summary(), "complete": False})
    assert any("new results since" in caption.value for caption in at.run().caption)


def test_hostile_names(no_browser: None) -> None:
    run = add_consensus(make_run(make_dataset(classes=HOSTILE)))
    at = prepare(opened(run), run)
    assert not at.exception
    assert b"<script" not in at.session_state[f"report-prepared-{run.id}"].html
