"""How much each user of a served app may keep and run at once. Nothing is counted where nobody has to log in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mspc_core import access, home, serving
from mspc_core.errors import InputError
from mspc_core.job_status import held, read_status

MB, GB = 10**6, 10**9


@contextmanager
def room_for_job(folder: Path, *, new: bool) -> Iterator[None]:
    """Within it, the current user may make (`new`) or start the job of `folder`. Raises `InputError` otherwise.

    One at a time, over all processes: two jobs that are asked for at the same moment are two for the second of them.
    """
    user = access.current()
    if user is None:
        yield
        return
    limits = serving.settings()
    with held(home.home() / "quota.lock", patience=10.0) as mine:
        if not mine:
            raise InputError("The server is busy with other requests: try again in a moment.")
        if new and limits.runs is not None and folder.parent == home.runs_folder():
            kept = sum(access.owner(other) == user for other in _shown(folder.parent))
            if kept >= limits.runs:
                raise InputError(
                    f"You keep {kept:,} scans, as many as this server lets a user keep: delete one of yours first."
                )
        if limits.jobs is not None:
            active = sum(_active(other) for other in job_folders() if other != folder and access.owner(other) == user)
            if active >= limits.jobs:
                raise InputError(
                    f"You have {active:,} jobs waiting or at work, as many as this server lets a user have at once: "
                    "wait for one to end, or cancel one."
                )
        yield


def job_folders() -> list[Path]:
    """Every job folder in the home."""
    parents = (home.runs_folder(), home.imports_folder(), home.exports_folder(), home.lab_folder())
    found = [folder for parent in parents for folder in _shown(parent)]
    return [*found, *home.runs_folder().glob("*/retrains/*"), *home.runs_folder().glob("*/map")]


def _shown(parent: Path) -> list[Path]:
    """Folders that are neither being made nor being deleted."""
    return [folder for folder in parent.iterdir() if not folder.name.startswith(".")]


def _active(folder: Path) -> bool:
    try:
        status = read_status(folder)
        return status.active and status.pid != os.getpid()  # a job that starts another one is about to end
    except InputError:
        return False


def room_for_pixels() -> int | None:
    """Bytes that the current user's data sets may still grow by; None: no limit."""
    user = access.current()
    limit = None if user is None else serving.settings().datasets_gb
    if limit is None:
        return None
    sets = (folder for folder in home.datasets_folder().iterdir() if access.owner(folder) == user)
    return max(0, int(limit * GB) - sum(_size(folder) for folder in sets))


def check_images(count: int, size: int) -> None:
    """Raises `InputError` if the current user cannot store `count` more images of size × size × 3 bytes."""
    room = room_for_pixels()
    if room is not None and (room == 0 or count * size * size * 3 > room):
        raise InputError(too_many_pixels(room))


def too_many_pixels(room: int) -> str:
    limit = serving.settings().datasets_gb
    return (
        f"Your data sets may take {limit:,g} GB together on this server, and {room / GB:,.2f} GB of it are free: "
        "delete one of yours, or choose a smaller image size."
    )


def check_upload(size: int) -> None:
    """Raises `InputError` if the current user's uploads of the last day and this one, of `size` bytes, are too much."""
    user = access.current()
    limit = None if user is None else serving.settings().upload_mb
    if limit is None:
        return
    uploads = home.home() / "uploads"
    places = list(uploads.iterdir()) if uploads.is_dir() else []
    kept = sum(_size(place) for place in places if access.owner(place) == user)
    if kept + size > limit * MB:
        left = max(0.0, limit - kept / MB)
        raise InputError(f"You may upload {limit:,g} MB a day to this server, and {left:,.1f} MB of it are left.")


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    total = 0
    try:
        for path in folder.rglob("*"):
            total += path.lstat().st_size if path.is_file() else 0
    except OSError:  # it is being deleted
        pass
    return total
