"""Explicit registry of detectors. Names map to "module:Class", so that listing them imports nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mspc_core.errors import InputError

if TYPE_CHECKING:
    from mspc_core.detectors.base import Detector

REGISTRY: dict[str, str] = {
    "spc": "mspc_core.detectors.spc:SPC",
    "mspc": "mspc_core.detectors.mspc:MSPC",
    "transplant": "mspc_core.detectors.transplant:Transplant",
}


def detector_class(name: str) -> type[Detector]:
    """The class behind a registered name. Raises `InputError` for an unknown one."""
    if name not in REGISTRY:
        raise InputError(f"There is no detector {name!r}: choose from {', '.join(REGISTRY)}.")
    module, _, attribute = REGISTRY[name].partition(":")
    found: type[Detector] = getattr(import_module(module), attribute)
    return found


def create(name: str, config: Any = None) -> Detector:
    """A detector with its default or the given configuration."""
    return detector_class(name)(config)  # type: ignore[call-arg]
