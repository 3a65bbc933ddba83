"""Backdoor Lens without a browser: data, models, detectors, runs, the command line and a Python interface.

`from mspc_core import load_dataset, train, scan` (see `mspc_core.api`). Importing the package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mspc_core.api import load_dataset, open_scan, poison, resume, scan, train
    from mspc_core.api_results import DetectorResult, ScanResult, TrainedModel
    from mspc_core.errors import Cancelled, InputError

__version__ = "0.1.0"
__all__ = [
    "Cancelled",
    "DetectorResult",
    "InputError",
    "ScanResult",
    "TrainedModel",
    "load_dataset",
    "open_scan",
    "poison",
    "resume",
    "scan",
    "train",
]
_HOMES = {
    **dict.fromkeys(("load_dataset", "open_scan", "poison", "resume", "scan", "train"), "mspc_core.api"),
    **dict.fromkeys(("DetectorResult", "ScanResult", "TrainedModel"), "mspc_core.api_results"),
    **dict.fromkeys(("Cancelled", "InputError"), "mspc_core.errors"),
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module when it is first asked for."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
