"""Where data sets, runs and decisions are kept, and which names are allowed there.

The home folder is `$BACKDOOR_LENS_HOME`, else `$XDG_DATA_HOME/backdoor-lens`, else `~/.local/share/backdoor-lens`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mspc_core.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def home() -> Path:
    """The folder that holds everything the tool writes; created on first use."""
    chosen = os.environ.get("BACKDOOR_LENS_HOME")
    if chosen:
        folder = Path(chosen).expanduser().absolute()
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser().absolute() / "backdoor-lens"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def datasets_folder() -> Path:
    return _made(home() / "datasets")


def runs_folder() -> Path:
    return _made(home() / "runs")


def imports_folder() -> Path:
    """Job folders of imports (a scan's job folder is its run folder)."""
    return _made(home() / "imports")


def exports_folder() -> Path:
    """Job folders of exports. What they export goes where the user says."""
    return _made(home() / "exports")


def lab_folder() -> Path:
    """Job folders of the Poison lab."""
    return _made(home() / "lab")


def scratch_folder() -> Path:
    """For intermediate results that are too large for memory: here and not in /tmp, which is memory on many systems."""
    return _made(home() / "scratch")


def check_name(name: str) -> str:
    """Return `name` if it can be a data set or run name, else raise `InputError`.

    Letters, digits, dot, underscore and dash, starting with a letter or digit, at most 80: so a name can never leave
    its folder, hide itself, or carry markup.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise InputError(
            f"{shown!r} cannot be a name: use 1 to 80 letters, digits, dots, dashes or underscores, "
            "starting with a letter or digit."
        )
    return name


def name_from(text: str) -> str:
    """A valid name made from any text, such as a folder's name."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    cleaned = re.sub(r"\.{2,}", ".", cleaned).strip("-._")[:60].rstrip("-._")
    return cleaned or "dataset"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
