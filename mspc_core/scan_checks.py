"""What is asked of a scan, looked at before its job starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mspc_core import access, jobs
from mspc_core.errors import InputError
from mspc_core.runs import DEFAULT_DETECTORS, Run, ScanConfig

TRUSTED = ("", "val", "test")
NORMALISATIONS = ("auto", "data", "none", "half", "imagenet", "cifar10")
_MOST_PROCESSES = 64


def check(config: ScanConfig) -> None:
    """Refuse what can be seen to fail before a job starts. Raises `InputError`."""
    from mspc_core.detectors import REGISTRY

    if not config.detectors:
        raise InputError(f"Name at least one detector: {', '.join(REGISTRY)}.")
    unknown = [name for name in config.detectors if name not in REGISTRY]
    if unknown:
        raise InputError(f"There is no detector {unknown[0]!r}: choose from {', '.join(REGISTRY)}.")
    if config.trusted not in TRUSTED:
        raise InputError(f"The trusted split is val or test, not {config.trusted!r}.")
    if config.mspc_preset not in ("fast", "paper"):
        raise InputError(f"MSPC's settings are fast or paper, not {config.mspc_preset!r}.")
    if not 1 <= config.processes <= _MOST_PROCESSES:
        raise InputError(f"A scan runs on 1 to {_MOST_PROCESSES} processes, not on {config.processes}.")
    if config.processes > 1 and config.device not in ("auto", "cpu", "cuda"):
        raise InputError(f"Several GPUs need the device auto or cuda, not {config.device!r}: choose one of them.")
    if config.normalise not in NORMALISATIONS:
        raise InputError(f"Normalisation is one of {', '.join(NORMALISATIONS)}; not {config.normalise!r}.")
    if config.checkpoint:
        access.check_readable(config.checkpoint)
    if config.checkpoint and not Path(config.checkpoint).is_file():
        raise InputError(f"There is no checkpoint at {config.checkpoint}: check the path.")


def detector_names(text: str) -> tuple[str, ...]:
    """Detectors from a comma-separated list, each once; `all` and `default` stand for these sets."""
    from mspc_core.detectors import REGISTRY

    sets = {"all": tuple(REGISTRY), "default": DEFAULT_DETECTORS}
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(name for part in parts for name in sets.get(part, (part,))))


def resumable(config: ScanConfig, folder: Path | None) -> Run | None:
    """The run in `folder` if it is the scan of `config`, None if the folder holds no run. Raises `InputError` if it
    holds another one, or something else."""
    if folder is None:
        return None
    if not (folder / "config.json").is_file():
        jobs.check_free(folder)
        return None
    existing = Run(folder)
    if not same_scan(existing.config(), config):
        raise InputError(f"{folder} holds a run with other settings: choose another --out, or resume that run.")
    return existing


def same_scan(stored: ScanConfig, asked: ScanConfig) -> bool:
    """Would `asked` do what the run of `stored` does? What a run fills in itself (data set, size, epochs,
    threads) may differ from what was asked, unless it was asked for explicitly."""
    if asked.dataset and asked.dataset != stored.dataset:
        return False
    if asked.epochs and asked.epochs != stored.epochs:
        return False
    if asked.threads and asked.threads != stored.threads:
        return False
    filled = replace(
        asked,
        dataset=stored.dataset,
        size=stored.size,
        epochs=stored.epochs,
        processes=stored.processes,
        threads=stored.threads,
        versions=stored.versions,
        content_key=stored.content_key,
    )
    return filled == stored
