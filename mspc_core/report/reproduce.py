"""How to do it again: commands, versions, seeds, device, times, and checksums of the run's files."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mspc_core.console import printable
from mspc_core.files import open_regular
from mspc_core.report.material import Material
from mspc_core.report.tables import Table
from mspc_core.runs import DEMO, ScanConfig
from mspc_core.words import count, duration, short

_FILES = (
    "config.json",
    "summary.json",
    "scores.parquet",
    "masks.npz",
    "model.safetensors",
    "model.json",
    "retrain.json",
)


@dataclass(frozen=True)
class Reproduce:
    """commands: lines to type, in order. note: what has to be the same for the same numbers."""

    commands: list[str]
    note: str
    settings: Table
    versions: Table
    files: Table


def reproduce(material: Material) -> Reproduce:
    """Everything needed to repeat the scan and to check that the files are those of this report."""
    config, status = material.config, material.status
    started = status.started or status.created
    rows = [
        ["Run", short(material.run.id, 160)],
        ["State", short(status.state, 20)],
        ["Created", moment(status.created)],
        ["Started", moment(status.started)],
        ["Ended", moment(status.ended)],
        ["Duration", duration(status.ended - started) if status.ended and started else "unknown"],
        ["Seed", f"{config.seed}, for training, and for every detector that draws at random"],
        ["Device", short(material.model.get("device") or status.device or config.device, 120)],
        ["Trusted split", short(config.trusted or "none", 20)],
        ["MSPC settings", short(config.mspc_preset, 20)],
    ]
    versions = [[short(name, 40), short(version, 120)] for name, version in config.versions.items()]
    if not versions:
        versions = [["not recorded", "–"]]
    return Reproduce(
        commands=commands(config, material),
        note=(
            "The same numbers need the same data (content key), versions and kind of device. Sums are taken in another "
            "order on another device, so scores may differ in the last digits there."
        ),
        settings=Table("The run", ["Fact", "Value"], rows),
        versions=Table("Versions that the scan ran with", ["Part", "Version"], versions),
        files=_files(material.run.folder),
    )


def commands(config: ScanConfig, material: Material) -> list[str]:
    """The command lines that lead to this run, quoted for a POSIX shell."""
    about = material.summary.get("dataset") or {}
    recipe, lines = about.get("recipe"), []
    if config.source == config.dataset and config.source != DEMO:
        if recipe:
            lines.append(_poison(config, recipe))
        else:
            parts = [
                "import",
                str(about.get("source") or "SOURCE"),
                "--name",
                config.dataset,
                "--size",
                str(config.size),
            ]
            lines.append(_line(parts))
    scan = ["scan", config.source, "--arch", config.arch]
    if config.checkpoint:
        scan += ["--model", config.checkpoint, "--normalise", config.normalise]
    scan += ["--detectors", ",".join(config.detectors), "--mspc", config.mspc_preset, "--size", str(config.size)]
    epochs = (material.model.get("training") or {}).get("epochs") or config.epochs
    if epochs and not config.checkpoint:
        scan += ["--epochs", str(epochs)]
    scan += ["--augment"] if config.augment else []
    scan += ["--trusted", config.trusted] if config.trusted else []
    scan += ["--device", config.device, "--seed", str(config.seed)]
    line = _line(scan)
    if processes := material.model.get("processes"):
        line = f"torchrun --nproc-per-node={int(processes)} {line.removeprefix('python ')}"
    return [*lines, line]


def _poison(config: ScanConfig, recipe: dict[str, Any]) -> str:
    parts = ["poison", str(recipe.get("source", "SOURCE")), "--attack", str(recipe.get("attack", "?"))]
    parts += ["--rate", str(recipe.get("rate", "?")), "--target", str(recipe.get("target_class", "?"))]
    parts += ["--seed", str(recipe.get("seed", 0)), "--labels", str(recipe.get("label_mode", "all-to-one"))]
    for key, value in (recipe.get("config") or {}).items():
        parts += ["--set", f"{key}={_json(value)}"]
    return _line([*parts, "--out", config.dataset])


def _json(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(parts: list[str]) -> str:
    # One line whatever the names hold: a line break inside quotes would look like a second command.
    return "python -m mspc_core " + printable(" ".join(shlex.quote(part) for part in parts))


def moment(timestamp: float | None) -> str:
    """Seconds since 1970 as a date and time in UTC; a dash for none."""
    if not timestamp:
        return "–"
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _files(folder: Path) -> Table:
    rows = []
    for name in _FILES:
        try:
            with open_regular(folder / name) as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
            rows.append([name, count((folder / name).stat().st_size), digest])
        except OSError:
            continue
    return Table("Files of the run folder when this report was written", ["File", "Bytes", "SHA-256"], rows, (1,))
