"""How quickly the app answers with large runs: a real server, a real Chromium, a made-up run of any size.

    python -m benchmarks.scale [--counts 50000 1000000] [--repeats 3] [--out benchmarks/results/scale.json]

Of each page: seconds from asking for its address until its heading can be seen (first paint), and until nothing changes
any more (settled). Cold is the first visit of all after `make run`, which opens the browser four seconds after it
starts the server; warm is a visit of a page that the server has shown before. Then what people do most: seconds from a
click or key until the page is still again. Medians over the repeats; cold is measured once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import common, scale_data
from mspc_core import atomic, runs
from mspc_core.runs import Run
from ui.state import PAGES

BROWSER = 4.0  # seconds after the server's start that `make run` opens the browser
QUIET = 0.6  # seconds without a change after which a page counts as settled
# Runs in the page: when its heading was first there, and when anything changed last.
WATCH = """
(() => {
  const seen = {heading: null, changed: 0};
  window.__seen = seen;
  const look = () => {
    const app = document.querySelector('[data-testid=stApp]');
    const heading = document.querySelector('[data-testid=stMain] h1');
    const visible = heading && heading.getBoundingClientRect().height > 0;
    if (seen.heading === null && visible) seen.heading = performance.now();
    seen.running = !app || app.dataset.testScriptState === 'running';
  };
  new MutationObserver(() => { seen.changed = performance.now(); look(); }).observe(document, {
    subtree: true, childList: true, attributes: true, characterData: true });
})()
"""


def settled(page: Page, patience: float = 120.0) -> dict[str, float]:
    """Wait until the page is still; milliseconds since it was asked for: of its heading and of its last change."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        page.wait_for_timeout(100)
        now = page.evaluate("({...window.__seen, now: performance.now()})")
        if now["heading"] is not None and not now["running"] and now["now"] - now["changed"] > 1000 * QUIET:
            return {"heading": now["heading"], "changed": now["changed"]}
    raise SystemExit(f"{page.url} is not still after {patience:.0f} s")


def opened(browser: Browser, address: str) -> dict[str, float]:
    """Open an address in a new window, with nothing in the browser's cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(WATCH)
    page.goto(address, wait_until="commit")
    found = settled(page)
    assert not page.get_by_test_id("stException").count(), f"{address} shows an exception"
    context.close()
    return {"first_paint": found["heading"] / 1000, "settled": found["changed"] / 1000}


def answered(page: Page, act: Callable[[Page], object]) -> float:
    """Seconds from an action until the page is still again."""
    start = page.evaluate("performance.now()")
    act(page)
    return float(settled(page)["changed"] - start) / 1000


def _press(key: str) -> Callable[[Page], object]:
    return lambda page: page.keyboard.press(key)


def _threshold(page: Page) -> None:
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowLeft")


def _page_two(page: Page) -> None:
    page.get_by_test_id("stPagination").first.get_by_role("button").filter(has_text="2").first.click()


def _detector(page: Page) -> None:
    page.get_by_test_id("stMain").get_by_text("MSPC", exact=True).first.click()


def _all(page: Page) -> None:
    page.get_by_role("combobox", name="Queue").first.click()
    page.get_by_role("option", name="All", exact=True).click()


def _text(page: Page) -> None:
    """Filter by a part of the file's name."""
    page.get_by_test_id("stMain").get_by_role("button", name="Filter").first.click()
    box = page.get_by_label("Path or sample id contains").first
    box.fill("class_017")
    box.press("Enter")


# What is done on which page, in this order; what the page does not offer is left out of the result.
REACTIONS: dict[str, list[tuple[str, Callable[[Page], object]]]] = {
    "scores": [
        ("move the threshold", _threshold),
        ("choose another detector", _detector),
        ("filter by file name", _text),
    ],
    "review": [
        ("next image", _press("ArrowRight")),
        ("decide", _press("x")),
        ("show all images", _all),
        ("next page of thumbnails", _page_two),
        ("decide among all", _press("x")),
    ],
    "data": [("next page of images", _page_two)],
}


def reactions(browser: Browser, address: Callable[[str], str], repeats: int) -> dict[str, dict[str, float | None]]:
    """Median seconds of each reaction; None where the page does not offer it."""
    found: dict[str, dict[str, float | None]] = {}
    for name, steps in REACTIONS.items():
        times: dict[str, list[float]] = {label: [] for label, _ in steps}
        for _ in range(repeats):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            page = context.new_page()
            page.set_default_timeout(5000)
            page.add_init_script(WATCH)
            page.goto(address(name), wait_until="commit")
            settled(page)
            for label, act in steps:
                try:
                    times[label].append(answered(page, act))
                except Exception as error:
                    print(f"  {name}, {label}: {str(error).splitlines()[0]}", flush=True)
            context.close()
        found[name] = {label: round(statistics.median(each), 2) if each else None for label, each in times.items()}
    return found


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A fresh server over a home folder: its address and process."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ui.serve", "--server.port", str(port)]
    environment = {**os.environ, "BACKDOOR_LENS_HOME": str(folder)}
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=2)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield f"http://localhost:{port}", psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(20)


def measure(browser: Browser, folder: Path, run: Run, repeats: int, pages: list[str]) -> dict[str, Any]:
    """All figures of one run."""
    found: dict[str, Any] = {}
    query = f"run={run.id}"
    for name in pages:
        begun = time.monotonic()
        with serving(folder) as (base, _):
            time.sleep(max(0.0, BROWSER - (time.monotonic() - begun)))
            cold = opened(browser, f"{base}/{'' if name == 'home' else name}?{query}")
        found[name] = {"cold": {key: round(value, 2) for key, value in cold.items()}}
        print(f"{run.id} {name} cold: {cold}", flush=True)
    with serving(folder) as (base, process):

        def address(name: str) -> str:
            return f"{base}/{'' if name == 'home' else name}?{query}"

        idle = process.memory_info().rss
        for name in pages:
            opened(browser, address(name))
            times = [opened(browser, address(name)) for _ in range(repeats)]
            warm = {key: round(statistics.median(each[key] for each in times), 2) for key in times[0]}
            found[name]["warm"] = warm
            print(f"{run.id} {name} warm: {warm}", flush=True)
        answers = reactions(browser, address, repeats)
        print(answers, flush=True)
        memory = {"started": idle // 2**20, "after_all_pages": process.memory_info().rss // 2**20}
    return {"pages": found, "reactions": answers, "server_memory_mib": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--counts", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pages", nargs="+", default=list(PAGES))
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "backdoor-lens-scale")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.json"))
    arguments = parser.parse_args()
    sizes: dict[str, Any] = {}
    load = os.getloadavg()[0]
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=flags)
        for count in arguments.counts:
            folder = arguments.home / str(count)  # one home for each size: what is measured is this run alone
            common.use_home(folder)
            run = scale_data.build(count)
            sizes[str(count)] = measure(browser, folder.absolute(), run, arguments.repeats, arguments.pages)
        result = {
            "benchmark": "scale",
            "command": f"python -m benchmarks.scale --counts {' '.join(map(str, arguments.counts))} "
            f"--repeats {arguments.repeats}",
            "data": f"made-up runs ({scale_data.CLASSES} classes, {scale_data.SIZE} px), see benchmarks/scale_data.py",
            "machine": {
                **common.machine(),
                "load_at_start_and_end": [round(load, 1), round(os.getloadavg()[0], 1)],
                "nice": os.nice(0),
            },
            "versions": {**runs.versions(), "streamlit": version("streamlit"), "chromium": browser.version},
            "unit": "seconds (memory: MiB)",
            "samples": sizes,
        }
        browser.close()
    atomic.write_json(arguments.out.absolute(), result)


if __name__ == "__main__":
    main()
