"""How quickly Inspect, Mask and the Poison lab answer a change: a real server, a real Chromium, a run with its model.

    python -m benchmarks.answers [--repeats 7] [--home FOLDER] [--out benchmarks/results/answers.json]

The demo is scanned first if the home folder has no finished run. Of each change: milliseconds from the key or click
until the browser sends it, until what was asked for is on the page (the answer), and until nothing changes any more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import common
from benchmarks.scale import WATCH, serving, settled
from mspc_core import atomic, demo, home, runs
from mspc_core.runs import Run

# In the page: when the last key or click came, when the browser sent something after it, when the answer changed.
TIMES = """
(() => {
  const times = {input: 0, sent: null, answer: null, before: null, sign: () => ''};
  window.__times = times;
  for (const kind of ['keydown', 'pointerdown'])
    addEventListener(kind, () => { times.input = performance.now(); }, true);
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (times.before !== null && times.sent === null && times.input) times.sent = performance.now();
    return send.call(this, data);
  };
  new MutationObserver(() => {
    if (times.before === null || times.answer !== null || !times.input) return;
    const now = times.sign();
    if (now !== '' && now !== times.before) times.answer = performance.now();
  }).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
})()
"""
ARM = """(sign) => {
  const times = window.__times;
  times.sign = new Function(sign);
  Object.assign(times, {input: 0, sent: null, answer: null, before: times.sign()});
}"""
# What an answer is: the sentence on the scaled image; the pictures; the lines of the settings.
SENTENCE = (
    "return [...document.querySelectorAll('[data-testid=stMarkdownContainer]')].map(e => e.textContent)"
    ".filter(t => t.startsWith('At n =')).join('|')"
)
PICTURES = (
    "return [...document.querySelectorAll('[data-testid=stMain] [data-testid=stImage] img')].map(e => e.src).join('|')"
)
NAME = (
    "return [...document.querySelectorAll('[data-testid=stMain] p')].map(e => e.textContent)"
    ".filter(t => t.startsWith('This image is')).join('|')"
)

Act = Callable[[Page], object]


def _slider(label: str, *keys: str) -> Act:
    """Presses keys on a slider in turn."""
    turn = iter((keys or ("ArrowRight",)) * 100)
    return lambda page: page.get_by_role("slider", name=label).first.press(next(turn))


def _choice(*labels: str) -> Act:
    """Clicks the labels in turn."""
    turn = iter(labels * 100)
    return lambda page: page.get_by_test_id("stMain").get_by_text(next(turn), exact=True).first.click()


def _button(name: str) -> Act:
    return lambda page: page.get_by_test_id("stMain").get_by_role("button", name=name).first.click()


# page → label, what is done, what changes then
CHANGES: dict[str, list[tuple[str, Act, str]]] = {
    "inspect": [
        ("n, one step", _slider("Multiply all pixels by n"), SENTENCE),
        ("mask on and off", _choice("Mask"), PICTURES),
        ("τ on and off", _choice("Shift"), PICTURES),
        ("next image", _button("Next"), NAME),
    ],
    "mask": [
        ("opacity, one step", _slider("Opacity"), PICTURES),
        ("threshold, from end to end", _slider("Cut", "End", "Home"), PICTURES),
    ],
    "lab": [
        ("amplification, one step", _slider("Difference, amplified", "ArrowRight", "ArrowLeft"), PICTURES),
        ("FFT or DCT", _choice("DCT", "FFT"), PICTURES),
        ("size of the trigger", _slider("Size", "ArrowRight", "ArrowLeft"), PICTURES),
    ],
}


def change(page: Page, act: Act, sign: str) -> dict[str, float]:
    """One change: milliseconds until sent, until the answer and until the page is still."""
    page.evaluate(ARM, sign)
    act(page)
    page.wait_for_function("window.__times.answer !== null", timeout=20_000)
    still = settled(page)["changed"]
    times = page.evaluate("({...window.__times})")
    return {
        "wait": (times["sent"] or times["input"]) - times["input"],
        "answer": times["answer"] - times["input"],
        "settled": still - times["input"],
    }


def measure(browser: Browser, base: str, run: Run, repeats: int) -> dict[str, dict[str, Any]]:
    """All changes of all pages, each once to warm up and then `repeats` times."""
    found: dict[str, dict[str, Any]] = {}
    for name, changes in CHANGES.items():
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.add_init_script(WATCH)
        page.add_init_script(TIMES)
        page.goto(f"{base}/{name}?run={run.id}", wait_until="commit")
        settled(page)
        for label, act, sign in changes:
            times = [change(page, act, sign) for _ in range(repeats + 1)][1:]
            found.setdefault(name, {})[label] = {
                key: {
                    "median": round(statistics.median(each[key] for each in times)),
                    "worst": round(max(each[key] for each in times)),
                }
                for key in times[0]
            }
            print(name, label, found[name][label], flush=True)
        context.close()
    return found


def prepared() -> Run:
    """The newest finished run of the home folder, else a scan of the demo."""
    for run in runs.list_runs():
        if run.status().state == "finished" and (run.folder / "model.safetensors").is_file():
            return run
    common.scan(demo.build_demo(), 0)
    return prepared()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "backdoor-lens-answers")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/answers.json"))
    arguments = parser.parse_args()
    common.use_home(arguments.home)
    run, load = prepared(), os.getloadavg()[0]
    with sync_playwright() as playwright, serving(home.home()) as (base, _):
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=flags)
        result = {
            "benchmark": "answers",
            "command": f"python -m benchmarks.answers --repeats {arguments.repeats}",
            "data": f"a scan of {run.config().dataset}, {len(run.scores()):,} images",
            "unit": "milliseconds from the key or click",
            "changes": measure(browser, base, run, arguments.repeats),
            "machine": {
                **common.machine(),
                "load_at_start_and_end": [round(load, 1), round(os.getloadavg()[0], 1)],
                "nice": os.nice(0),
            },
            "versions": {**runs.versions(), "streamlit": version("streamlit"), "chromium": browser.version},
        }
        browser.close()
    atomic.write_json(arguments.out.absolute(), result)


if __name__ == "__main__":
    main()
