"""The report in a real Chromium: it opens without a network, shows no error, fits the screen, and prints to PDF."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mspc_core import report
from mspc_core.runs import Run
from tests.e2e.conftest import find_chromium
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus
from tests.ui.test_scores_mask import HOSTILE

pytestmark = pytest.mark.browser


@pytest.fixture
def run(home: Path) -> Run:
    return add_consensus(make_run(make_dataset(classes=HOSTILE)))


@pytest.mark.parametrize("width", [1280, 390])
def test_opens_without_a_network(run: Run, browser: Browser, tmp_path: Path, width: int) -> None:
    written = report.write_report(run, tmp_path / "report.html")
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(written.html.as_uri())
    assert page.locator("h1").inner_text().startswith("Backdoor report")
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert said == []
    broken = page.evaluate("[...document.images].filter(image => !image.complete || !image.naturalWidth).length")
    assert broken == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_prints_to_pdf(run: Run, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROME", find_chromium() or "")
    written = report.write_report(run, tmp_path / "report.pdf")
    assert written.pdf == tmp_path / "report.pdf"
    content = written.pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert len(content) > 50_000
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") + content.count(b"/Type /Page/") >= 5
    assert written.html.is_file()
