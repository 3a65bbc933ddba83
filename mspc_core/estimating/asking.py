"""An estimate for whoever must not load torch or lend its threads: made in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mspc_core import access
from mspc_core.errors import EXIT_BAD_INPUT, InputError
from mspc_core.runs import ScanConfig

_ROOT = Path(__file__).parents[2]  # the folder that holds this package
PATIENCE = 180.0  # seconds; a calibration takes a few, and torch a few more to load


def ask(config: ScanConfig, patience: float = PATIENCE) -> dict[str, Any]:
    """`Estimate.as_json` of a scan. Raises `InputError` as the scan would, and when the other
    process fails or does not answer."""
    command, words = [sys.executable, "-m", "mspc_core.estimating"], json.dumps(asdict(config))
    try:
        done = subprocess.run(
            command,
            input=words,
            capture_output=True,
            text=True,
            timeout=patience,
            cwd=_ROOT,
            env={**os.environ, access.VARIABLE: access.current() or ""},  # it may read what the user may have read
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"The estimate was not ready after {patience:.0f} s: the machine may be busy.") from None
    if done.returncode == EXIT_BAD_INPUT:
        raise InputError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise InputError("The time could not be estimated; starting the scan says why, or works all the same.")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
