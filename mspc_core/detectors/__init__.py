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
    "pattern": "mspc_core.detectors.pattern:Pattern",
    "mixture": "mspc_core.detectors.mixture:Mixture",
    "second_opinion": "mspc_core.detectors.second_opinion:SecondOpinion",
    "spc_limited": "mspc_core.detectors.spc_limited:SPCLimited",
    "strip": "mspc_core.detectors.strip:STRIP",
    "sdfct": "mspc_core.detectors.sdfct:SDFCT",
    "abl": "mspc_core.detectors.abl:ABL",
    "cognitive_distillation": "mspc_core.detectors.cognitive_distillation:CognitiveDistillation",
    "activation_clustering": "mspc_core.detectors.activation_clustering:ActivationClustering",
    "spectral_signatures": "mspc_core.detectors.spectral_signatures:SpectralSignatures",
    "scan_cov": "mspc_core.detectors.scan_cov:SCAn",
    "spectre": "mspc_core.detectors.spectre:Spectre",
    "beatrix": "mspc_core.detectors.beatrix:Beatrix",
    "ibd_psc": "mspc_core.detectors.ibd_psc:IBDPSC",
    "flare": "mspc_core.detectors.flare:Flare",
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
