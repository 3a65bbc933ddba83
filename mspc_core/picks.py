"""Picked samples of a run, saved under a name made of what was picked, so that a link to them can be sent.

A pick is a list of sample ids, one a line, in the run's folder `picks/`: what a lasso on a map or a handful of chosen
images leaves. It is also what `retrain --drop file:…` and `export --drop file:…` read. Picking the same again writes
nothing new.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import numpy as np

from mspc_core import atomic
from mspc_core.errors import InputError, explain_os_error
from mspc_core.files import check_regular
from mspc_core.selection import read_ids

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from mspc_core.runs import Run

_NAME = re.compile(r"[0-9a-f]{16}")


def valid_name(name: str) -> bool:
    """Has this the form of a pick's name? Names come from links, and a file is read by them."""
    return _NAME.fullmatch(name) is not None


def file_of(run: Run, name: str) -> Path:
    """Where a pick lies. Raises `InputError` if the name is none."""
    if not valid_name(name):
        raise InputError(f"{name[:40]!r} is not the name of a pick: it has 16 digits from 0 to f.")
    return run.folder / "picks" / f"{name}.txt"


def save(run: Run, positions: np.ndarray) -> str:
    """Save the samples at some positions of the run's table; returns the pick's name.

    Raises `InputError` for an empty pick or when the folder cannot be written.
    """
    if not len(positions):
        raise InputError("Nothing is picked: choose at least one image.")
    identities = run.scores()["sample_id"].astype(str).to_numpy()
    text = "\n".join(sorted(identities[np.unique(positions)])) + "\n"
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    target = file_of(run, name)
    try:
        target.parent.mkdir(exist_ok=True)
        if not target.is_file():
            atomic.write_bytes(target, text.encode())
    except OSError as error:
        raise InputError(explain_os_error(error)) from None
    return name


def positions_of(run: Run, name: str, scores: pd.DataFrame) -> np.ndarray | None:
    """Positions of a pick's samples in the run's table, ascending, int64; None when there is no such pick any more."""
    if not valid_name(name) or not file_of(run, name).is_file():
        return None
    try:
        check_regular(file_of(run, name))
    except OSError:
        return None
    found: np.ndarray = np.flatnonzero(scores["sample_id"].astype(str).isin(read_ids(file_of(run, name))).to_numpy())
    return found
