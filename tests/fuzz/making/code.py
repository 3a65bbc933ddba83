"""Pickles that would run code if anything opened them: the canary of all targets."""

from __future__ import annotations

import os
import pickle
from typing import Any

# The worker's watch reports it before the file appears; relative, so that it would land where nobody may write.
COMMAND = "touch opened-a-pickle"


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (COMMAND,)


def payload(protocol: int = 2) -> bytes:
    return pickle.dumps(_Runs(), protocol=protocol)
