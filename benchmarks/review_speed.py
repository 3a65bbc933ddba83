"""How fast a review by keys goes: from a key to the next image, and until the page takes the next key.

    python -m benchmarks.review_speed RUN [--decisions 200] [--times 1] [--decided 0] [--out benchmarks/results/…]

A real server and a real Chromium; RUN is a finished run with suspects in the home folder, which is only read: its table
is copied, and decisions go to a database that is thrown away. `--times 250` repeats the table's rows under new sample
ids, so that 4,000 images become a run of 1,000,000; `--decided` fills the database beforehand.
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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import Page, sync_playwright

from benchmarks import common
from mspc_core import atomic, home, runs
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run

KEYS = "xkxxuxkx"
_NEW_IMAGE = """source => {
  const image = document.querySelector('[data-testid=stImage] img, [data-testid=stImageContainer] img');
  return image && image.getAttribute('src') !== source && image.complete && image.naturalWidth > 0;
}"""
_IDLE = "() => document.querySelector('[data-testid=stApp]').getAttribute('data-test-script-state') !== 'running'"
_SOURCE = "document.querySelector('[data-testid=stImage] img, [data-testid=stImageContainer] img').getAttribute('src')"


def copied(run: Run, folder: Path, times: int) -> Run:
    """The run in another home, its rows repeated; images stay where they are."""
    target = folder / "runs" / run.id
    shutil.copytree(run.folder, target)
    (folder / "datasets").symlink_to(home.datasets_folder(), target_is_directory=True)
    copy, scores = Run(target), run.scores()
    if times > 1:
        many = pd.concat([scores] * times, ignore_index=True)
        number = np.repeat(np.arange(times), len(scores))
        many["sample_id"] = [f"{part:04x}{name[4:]}" for part, name in zip(number, many["sample_id"], strict=True)]
        copy.save_scores(many)
    return copy


def measure(page: Page, address: str, decisions: int) -> dict[str, Any]:
    """Seconds from a key to the next image, and to a page that is done."""
    begin = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("[data-testid=stImage] img, [data-testid=stImageContainer] img", timeout=120_000)
    opened = time.perf_counter() - begin
    page.wait_for_timeout(3_000)
    image, ready = [], []
    for number in range(decisions + 5):
        source = page.evaluate(_SOURCE)
        begin = time.perf_counter()
        page.keyboard.press(KEYS[number % len(KEYS)])
        page.wait_for_function(_NEW_IMAGE, arg=source, polling="raf", timeout=60_000)
        image.append(time.perf_counter() - begin)
        page.wait_for_function(_IDLE, polling="raf", timeout=60_000)
        ready.append(time.perf_counter() - begin)
    image, ready = image[5:], ready[5:]  # the first ones warm caches
    return {
        "first_image_seconds": round(opened, 2),
        "to_next_image": figures(image),
        "to_next_key": figures(ready),
        "decisions_per_hour_of_machine": round(3600 / statistics.fmean(ready)),
    }


def figures(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
        "max": round(ordered[-1], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run")
    parser.add_argument("--decisions", type=int, default=200)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--decided", type=int, default=0)
    parser.add_argument("--chromium", default=os.environ.get("BACKDOOR_LENS_CHROMIUM") or shutil.which("chromium"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = copied(runs.open_run(arguments.run), folder, arguments.times)
        scores = run.scores()
        if arguments.decided:
            store = ReviewStore(f"sqlite:///{folder / 'reviews.sqlite'}")
            others = scores.loc[~scores["suspect"], "sample_id"].tolist()[: arguments.decided]
            for start in range(0, len(others), 1000):
                store.decide(run.id, others[start : start + 1000], "keep", "somebody")
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        variables = {**os.environ, "BACKDOOR_LENS_HOME": str(folder)}
        variables.pop("BACKDOOR_LENS_REVIEWS_URL", None)
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
        server = subprocess.Popen([*command, "--server.port", str(port)], env=variables, stdout=subprocess.DEVNULL)
        try:
            time.sleep(6)
            with sync_playwright() as playwright:
                launch: dict[str, Any] = {"executable_path": arguments.chromium, "args": ["--no-sandbox"]}
                browser = playwright.chromium.launch(**launch)
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                found = measure(page, f"http://localhost:{port}/review?run={run.id}", arguments.decisions)
                browser.close()
        finally:
            server.terminate()
            server.wait(20)
    result = {
        "command": "python -m benchmarks.review_speed RUN "
        f"--decisions {arguments.decisions} --times {arguments.times} --decided {arguments.decided}",
        "machine": common.machine(),
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "versions": runs.versions(),
        "samples": len(scores),
        "suspects": int(scores["suspect"].sum()),
        "decided_before": arguments.decided,
        "decisions": arguments.decisions,
        **found,
    }
    print(result)
    if arguments.out:
        kept = atomic.read_json(arguments.out) if arguments.out.exists() else []
        atomic.write_json(arguments.out, [*kept, result])


if __name__ == "__main__":
    main()
