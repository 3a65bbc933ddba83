"""Pickles that would run code if anything opened them: the canary of all targets."""

from __future__ import annotations

import os
import pickle
from typing import Any

CANARY = "opened-a-pickle"  # the file that appears in the worker's folder if one of the pickles was opened


class _Runs:
    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def payload(protocol: int = 2, command: str = f"touch {CANARY}") -> bytes:
    return pickle.dumps(_Runs(command), protocol=protocol)
