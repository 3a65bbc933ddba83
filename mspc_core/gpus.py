"""How many NVIDIA GPUs a job may use here, told without loading torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

_DEVICES = Path("/dev")


def visible() -> int:
    """GPUs that the system shows to this process, less what CUDA_VISIBLE_DEVICES hides. 0 where there is none."""
    present = len([entry for entry in _DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", entry.name)])
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    named = [part.strip() for part in chosen.split(",")]
    if "-1" in named:  # CUDA stops reading there
        named = named[: named.index("-1")]
    return min(present, len([part for part in named if part]))
