"""Memory of the app's server after every page of a large run was shown, by what it is made of.

python -m benchmarks.app_memory [--count 1000000] [--home FOLDER] [--out benchmarks/results/app_memory.json]

The same made-up runs and the same server as `benchmarks.scale`, without its times: each page is opened in a real
Chromium, twice. Anonymous memory is what only the server can give back; mapped files (libraries, and pixels that were
read) the system takes back when it needs room.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright

from benchmarks import common, scale, scale_data
from mspc_core import atomic, runs
from ui.state import PAGES


def memory(process: psutil.Process) -> dict[str, int]:
    """MiB: anonymous memory and mapped files."""
    found = process.memory_info()
    return {"anonymous": (found.rss - found.shared) // 2**20, "files": found.shared // 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "backdoor-lens-scale")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/app_memory.json"))
    arguments = parser.parse_args()
    out, folder = arguments.out.absolute(), (arguments.home / str(arguments.count)).absolute()
    common.use_home(folder)
    run = scale_data.build(arguments.count)
    after: dict[str, dict[str, int]] = {}
    with sync_playwright() as playwright, scale.serving(folder) as (base, process):
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=flags)
        started = memory(process)
        for page in PAGES:
            for _ in range(2):
                scale.opened(browser, f"{base}/{'' if page == 'home' else page}?run={run.id}")
            after[page] = memory(process)
            print(page, after[page], flush=True)
        browser.close()
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.app_memory --count {arguments.count}",
        "machine": {**common.machine(), "load_at_end": round(os.getloadavg()[0], 1)},
        "versions": runs.versions(),
        "seed": 0,
        "unit": "MiB",
        "samples": arguments.count,
        "started": started,
        "after_page": after,
    }
    atomic.write_json(out, result)


if __name__ == "__main__":
    main()
