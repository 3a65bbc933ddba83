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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus

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
    with serving(folder / "home", folder / "server.log") as address:
        yield address


@dataclass(frozen=True)
class Served:
    """A server over a home folder that tests may write to. run: a finished run in it, with all tests of the verdict."""

    address: str
    home: Path
    run: Run

    def url(self, page: str = "", **query: str) -> str:
        """Address of a page (home: ""), with the finished run selected unless `run=` names another one."""
        return f"{self.address}/{page}?{urlencode({'run': self.run.id, **query})}"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Within it, runs, data sets and decisions are those of this home."""
        with inside(self.home):
            yield


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app over a home with a run made by hand: nothing is trained, so that it is there in seconds."""
    folder = tmp_path_factory.mktemp("served")
    with inside(folder / "home"):
        run = add_consensus(make_run(make_dataset("signs")))
    with serving(folder / "home", folder / "server.log") as address:
        yield Served(address, folder / "home", run)


@contextmanager
def inside(home: Path) -> Iterator[None]:
    """Within it, this is the home folder of the test's own process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKDOOR_LENS_HOME", str(home))
        patch.delenv("BACKDOOR_LENS_REVIEWS_URL", raising=False)
        yield


@contextmanager
def serving(home: Path, log: Path, **environment: str) -> Iterator[str]:
    """Run the app over a home folder; yields its address. At the end its log must hold no traceback."""
    with server_process(home, log, **environment) as (address, _):
        yield address


@contextmanager
def server_process(home: Path, log: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same, with the process, which may be killed."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    variables = {**os.environ, "BACKDOOR_LENS_HOME": str(home), "OMP_WAIT_POLICY": "PASSIVE", **environment}
    variables.pop("OMP_NUM_THREADS", None)
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "ui.serve", "--server.port", str(port)],
            cwd=ROOT,
            env=variables,
            stdout=out,
            stderr=out,
        )
    address = f"http://localhost:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2)
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
        yield address, server
        assert "Traceback" not in log.read_text(), log.read_text()
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


@pytest.fixture(scope="session")
def made_by_hand(shots: Path) -> Path | None:
    """Where pictures of the run made by hand go: to be looked at, not for the documentation. None: nobody will."""
    if not os.environ.get("BACKDOOR_LENS_SCREENSHOTS"):
        return None
    folder = shots / "made-by-hand"
    folder.mkdir(exist_ok=True)
    return folder
