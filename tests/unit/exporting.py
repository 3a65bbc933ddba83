"""A small source on disk, imported, with a finished run made by hand: what the tests of the export start from."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mspc_core import runs
from mspc_core.data.importing import import_source
from mspc_core.data.store import Dataset
from mspc_core.export.config import ExportConfig
from mspc_core.export.work import ExportResult, export
from mspc_core.runs import Run, ScanConfig

SIZE = 16


def picture(seed: int, kind: str = "PNG", size: int = SIZE) -> bytes:
    """An image file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def cats_and_dogs(root: Path, *, split: bool = False) -> Path:
    """Six cats (JPEG, larger than stored) and six dogs (PNG); with `split` two more of each in test/."""
    files = {}
    for part, count in (("train/", 6), ("test/", 2)) if split else (("", 6),):
        for number in range(count):
            files[f"{part}cat/{number}.jpg"] = picture(number + 50 * len(part), "JPEG", 40)
            files[f"{part}dog/{number}.png"] = picture(100 + number + 50 * len(part))
    return write_tree(root, files)


def make_run(dataset: Dataset, suspects: Sequence[str] = (), *, more: Mapping[str, object] | None = None) -> Run:
    """A finished run of a stored set. suspects: paths that the verdict suspects; the detector spc flags the others."""
    rows = dataset.indices("train")
    table = dataset.manifest.iloc[rows]
    suspect = table["path"].isin(list(suspects)).to_numpy()
    run = runs.create_run(ScanConfig(source=dataset.info.source, dataset=dataset.info.name, size=SIZE))
    scores = pd.DataFrame(
        {
            "sample_id": table["sample_id"].to_numpy(),
            "path": table["path"].to_numpy(),
            "label": table["label"].to_numpy(),
            "predicted": table["label"].to_numpy(),
            "confidence": np.linspace(0.5, 1.0, len(rows)),
            "spc_score": np.where(suspect, 0.1, 0.9),
            "spc_flagged": ~suspect,
            "suspect_score": np.where(suspect, 0.9, 0.1),
            "suspect": suspect,
            "row": rows.astype(np.int64),
            "is_backdoor": pd.array([pd.NA] * len(rows), "boolean"),
            **(more or {}),
        }
    )
    run.save_scores(scores)
    verdict = {"level": "unknown", "scanned": len(scores), "flagged": int(scores["suspect"].sum())}
    about = {"classes": list(dataset.info.classes)}
    run.save_summary({"complete": True, "verdict": verdict, "dataset": about, "model": {}, "detectors": {}})
    return run


def scanned(source: Path | str, suspects: Sequence[str] = (), **options: object) -> tuple[Dataset, Run]:
    """Import a source and make a run of it."""
    dataset = import_source(str(source), size=SIZE).dataset
    return dataset, make_run(dataset, suspects, **options)  # type: ignore[arg-type]


def run_export(run: Run, format: str, out: Path, **options: object) -> ExportResult:
    return export(ExportConfig(run=run.id, format=format, out=str(out), **options))  # type: ignore[arg-type]


def files_of(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders of exports."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".tmp-")]
