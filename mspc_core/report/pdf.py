"""HTML to PDF through an installed Chromium or Chrome, without a network and without a trace in the user's profile."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from mspc_core.errors import InputError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT = 180  # seconds
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-dev-shm-usage",  # /dev/shm is tiny in containers
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pdf-header-footer",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no network, whatever the page says
)


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome: what `CHROME` names, else the first known name on PATH; None if there is none."""
    named = os.environ.get("CHROME")
    if named:
        return shutil.which(named)
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def html_to_pdf(content: str) -> bytes:
    """Print an HTML document. Raises `InputError` without a Chromium, or when it fails."""
    browser = find_chromium()
    if browser is None:
        named = os.environ.get("CHROME")
        reason = (
            f"CHROME names {named!r}, which is not a program" if named else "no Chromium or Chrome was found on PATH"
        )
        raise InputError(
            f"A PDF cannot be made here: {reason}; install one or set CHROME to its path. The HTML report needs none."
        )
    with tempfile.TemporaryDirectory(prefix="backdoor-lens-report-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "report.html").write_text(content, encoding="utf-8", errors="replace")
        # Chromium refuses its sandbox to root; the page is ours, holds no script and loads nothing.
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        complaint = _print(browser, folder, sandbox=not root)
        if not _made(folder) and not root and "sandbox" in complaint.lower():
            complaint = _print(browser, folder, sandbox=False)
        if not _made(folder):
            last = next((line for line in reversed(complaint.splitlines()) if line.strip()), "it gave no reason")
            raise InputError(
                f"Chromium ({browser}) made no PDF: {last[:200]}; open the HTML report in a browser and print it there."
            )
        return (folder / "report.pdf").read_bytes()


def _print(browser: str, folder: Path, *, sandbox: bool) -> str:
    """One attempt; returns what the browser complained of."""
    command = [browser, *_FLAGS, f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={folder / 'report.pdf'}"]
    command += [] if sandbox else ["--no-sandbox"]
    try:
        done = subprocess.run(
            [*command, (folder / "report.html").as_uri()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not finish within {TIMEOUT} seconds"
    except OSError as error:
        return str(error.strerror or error)
    return done.stderr.decode("utf-8", "replace")


def _made(folder: Path) -> bool:
    try:
        with (folder / "report.pdf").open("rb") as handle:
            return handle.read(5) == b"%PDF-"
    except FileNotFoundError:
        return False
