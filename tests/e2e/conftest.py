"""A real server and a real Chromium. Without a Chromium these tests are skipped, except in CI, where they fail."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome; `BACKDOOR_LENS_CHROMIUM` names another one."""
    named = os.environ.get("BACKDOOR_LENS_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium found: .ci/run must install one")
        pytest.skip("no Chromium found: install one (Debian: apt install chromium) to run the browser tests")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh 1280×800 window; the test fails if the page raised an error in its scripts."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    window = context.new_page()
    window.set_default_timeout(30_000)
    problems: list[str] = []
    window.on("pageerror", lambda error: problems.append(str(error)))
    yield window
    context.close()
    assert not problems, problems


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app over an empty home folder."""
    folder = tmp_path_factory.mktemp("e2e")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "BACKDOOR_LENS_HOME": str(folder / "home"), "OMP_WAIT_POLICY": "PASSIVE"}
    environment.pop("OMP_NUM_THREADS", None)
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    address = f"http://localhost:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2)
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.1)
        yield address
        assert "Traceback" not in (folder / "server.log").read_text()
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: a temporary folder, or `BACKDOOR_LENS_SCREENSHOTS` (`make screenshots`)."""
    named = os.environ.get("BACKDOOR_LENS_SCREENSHOTS")
    folder = Path(named).absolute() if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
