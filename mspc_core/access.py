"""What a user of a served app may do: whose a job or data set is, and which paths may be named.

One question decides: `current()`, the user for whom this code runs. None means that nobody has to log in (the command
line, or the app on one's own machine): then nothing is recorded and nothing refused. The app says who it is by
`ask_with`; a job's process is told by the environment.

    <folder>/owner.json   {"user": …} beside a job, run, data set or upload; without it, it is anybody's
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mspc_core import atomic, home, serving
from mspc_core.errors import InputError

VARIABLE = "BACKDOOR_LENS_USER"  # the user of a job's process
OWNER = "owner.json"
NAME = 80  # characters; reviews keep as many


def from_environment() -> str | None:
    """The user that started this process's job, if any."""
    return os.environ.get(VARIABLE) or None


_ask: Callable[[], str | None] = from_environment


def ask_with(ask: Callable[[], str | None]) -> None:
    """From now on `ask` says who the user is; it raises `InputError` for somebody who has to log in first."""
    global _ask
    _ask = ask


def current() -> str | None:
    """The user for whom this code runs; None where nobody has to log in."""
    return _ask()


def record(folder: Path) -> None:
    """Note that `folder` is the current user's. Before it can be seen as a job or data set, so that it never is seen
    as anybody's."""
    if (user := current()) is not None:
        atomic.write_json(folder / OWNER, {"user": user})


def owner(folder: Path) -> str | None:
    """Whose it is, None where that was not recorded. A record that cannot be read is nobody's: ""."""
    try:
        found = atomic.read_json(folder / OWNER)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return ""
    user = found.get("user") if isinstance(found, dict) else None
    return user if isinstance(user, str) else ""


def may_change(folder: Path) -> bool:
    """May the current user cancel, resume or delete it?"""
    user = current()
    return user is None or owner(folder) in (None, user)


def check_owner(folder: Path) -> None:
    """Raises `InputError` if it is somebody else's."""
    if not may_change(folder):
        whose = owner(folder)
        belongs = f"This belongs to {whose[:NAME]!r}" if whose else "Whose this is cannot be read"
        raise InputError(f"{belongs}: only its owner can cancel, resume or delete it.")


def check_readable(path: str | Path) -> None:
    """Raises `InputError` if the current user may not have the server read this path. Links are followed first."""
    if current() is None:
        return
    real = _real(path)
    if not _within_roots(real) and not _own_upload(real):
        raise InputError(_refusal(path))


def check_writable(path: str | Path) -> None:
    """Raises `InputError` if the current user may not have the server write there. Links are followed first."""
    if current() is not None and not _within_roots(_real(path)):
        raise InputError(_refusal(path))


def _real(path: str | Path) -> Path:
    try:
        return Path(os.path.realpath(os.path.expanduser(path)))
    except (OSError, ValueError):
        raise InputError(_refusal(path)) from None


def _within_roots(real: Path) -> bool:
    return any(real.is_relative_to(root) for root in serving.settings().roots)


def _own_upload(real: Path) -> bool:
    uploads = Path(os.path.realpath(home.home() / "uploads"))
    if not real.is_relative_to(uploads) or real == uploads:
        return False
    place = uploads / real.relative_to(uploads).parts[0]
    return owner(place) == current()


def _refusal(path: str | Path) -> str:
    """Says nothing about whether there is such a path."""
    roots = [str(root) for root in serving.settings().roots]
    shown = repr(str(path)[:80])
    if not roots:
        return (
            f"{shown} cannot be used: this server opens none of its folders to its users; upload or download instead, "
            f"or ask whoever runs it to name folders in {serving.ROOTS}."
        )
    return f"{shown} is outside of what this server opens to its users: give a path in {' or '.join(roots)}."
