"""How soon the app is there: importing the command line, the server's start, and the first page in a browser.

    python -m benchmarks.startup [--turns 7] [--out benchmarks/results/startup.json]

Each turn imports `mspc_core.cli` in a new process beside an empty one, and starts the app over an empty home, once with
the browser sent there as soon as the server answers (whoever waits for it), and once four seconds after the start, as
`make run` does. Seconds until the heading of the first page can be seen, medians over the turns. Writes the sentences
in docs/performance.md.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks import common, markdown
from benchmarks.measure import load
from benchmarks.scale import BROWSER, opened, serving
from mspc_core import atomic, runs

RESULT, PAGE = Path("benchmarks/results/startup.json"), Path("docs/performance.md")
_IMPORTS = {"an empty process": "pass", "the command line": "import mspc_core.cli"}


def imported(statement: str) -> dict[str, float]:
    """Seconds that a new process takes for a statement: by the clock, and of the processor."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def shown(browser: Browser, folder: Path, wait: float) -> dict[str, float]:
    """Start the app, open it once it answers and `wait` seconds after its start: seconds from its start until it
    answers (server), from opening it until its heading is seen (page), and of both together (whole)."""
    begun = time.perf_counter()
    with serving(folder) as (address, _):
        server = time.perf_counter() - begun
        time.sleep(max(0.0, wait - server))
        page = opened(browser, address)["first_paint"]
    return {"server": server, "page": page, "whole": server + page}


def measure(turns: int, chromium: str | None) -> dict[str, Any]:
    """Everything, in turns; medians, with the slowest turn beside them."""
    begun = load()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*_IMPORTS, "at once", "after four seconds")}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        release = browser.version
        for _ in range(turns):
            for name, statement in _IMPORTS.items():
                found[name].append(imported(statement))
            for name, wait in (("at once", 0.0), ("after four seconds", BROWSER)):
                home = Path(folder) / f"home-{time.monotonic_ns()}"
                home.mkdir()
                found[name].append(shown(browser, home, wait))
        browser.close()
    return {
        "machine": common.machine() | {"load_at_start_and_end": [begun, load()]},
        "versions": runs.versions() | {"streamlit": version("streamlit"), "chromium": release},
        "turns": turns,
        "seconds": {
            name: {
                key: {
                    "median": round(statistics.median(turn[key] for turn in each), 2),
                    "slowest": round(max(turn[key] for turn in each), 2),
                }
                for key in each[0]
            }
            for name, each in found.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """Markdown: what the page says."""
    low, high = result["machine"]["load_at_start_and_end"]
    seconds = result["seconds"]
    rows = [
        ("importing the command line, processor", seconds["the command line"]["cpu"], "0.3 s"),
        ("importing the command line, clock", seconds["the command line"]["wall"], "0.3 s"),
        ("an empty Python process, clock", seconds["an empty process"]["wall"], ""),
        (
            "first paint, opened four seconds after the start",
            seconds["after four seconds"]["page"],
            "2 s",
        ),
        ("first paint, opened as soon as the server answers", seconds["at once"]["page"], "2 s"),
        ("the same, from the start of the server", seconds["at once"]["whole"], ""),
    ]
    return "\n".join(
        [
            f"`{result['command']}`",
            "",
            f"Measured on {result['machine']['cores']} cores (load average {low:g} to {high:g}): "
            + ", ".join(f"{name} {result['versions'][name]}" for name in ("python", "streamlit", "chromium"))
            + f"; {result['turns']} turns.",
            "",
            *markdown.head(["what", "median", "slowest", "aim, below"]),
            *(markdown.row([what, f"{of['median']:.2f} s", f"{of['slowest']:.2f} s", aim]) for what, of, aim in rows),
        ]
    )


def filled(page: str, result: dict[str, Any]) -> str:
    """The page with its table replaced."""
    return markdown.filled(page, "startup", table(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    arguments = parser.parse_args()
    command = f"python -m benchmarks.startup --turns {arguments.turns}"
    result = {"command": command, **measure(arguments.turns, arguments.chromium)}
    atomic.write_json(arguments.out, result)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
