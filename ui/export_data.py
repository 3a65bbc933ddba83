"""What the export panel shows, without streamlit: the choices there are, counts, and jobs of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mspc_core import access, home, jobs, selection, serving
from mspc_core.errors import InputError
from mspc_core.export.config import FORMATS, ExportConfig
from mspc_core.export.originals import FILE_KINDS, has_originals
from mspc_core.export.originals import ORIGINAL_KINDS as ORIGINAL_KINDS
from mspc_core.export.plan import chosen_of, class_table, make_plan, warnings_for
from mspc_core.export.work import as_bytes
from mspc_core.runs import Run
from ui import filters

if TYPE_CHECKING:
    import pandas as pd

    from mspc_core.data.store import DatasetInfo

KEEPS = {"clean": "Clean", "flagged": "Flagged", "all": "All"}
DOWNLOAD_ROWS = 200_000  # above this, a table is better written on the server than sent through the browser
_RULES = {
    "reviewed": "Suspects, as corrected by reviewers",
    "flagged": "Suspects of the verdict",
    "rejected": "What reviewers removed",
}


@dataclass(frozen=True, eq=False)
class Preview:
    """What a rule does. exported: samples of the scanned part. corrected: how many decisions differ from the verdict.
    table: see `plan.class_table`, the most affected class first."""

    scanned: int
    dropped: int
    exported: int
    corrected: int
    table: pd.DataFrame
    warnings: list[str]


def rules(scores: pd.DataFrame) -> dict[str, str]:
    """The rules that can be chosen for this run, with their names."""
    found = dict(_RULES) if "suspect" in scores else {"rejected": _RULES["rejected"]}
    for name in filters.detector_names(scores.columns):
        if f"{name}_flagged" in scores:
            found[f"{selection.DETECTOR}{name}"] = f"Flagged by {filters.title_of(name)}"
    return found


def preview(
    scores: pd.DataFrame, rule: str, keep: str, decisions: Mapping[str, str], classes: tuple[str, ...]
) -> Preview:
    """Counts for a rule; nothing is written. Raises `InputError` if the rule cannot be applied."""
    dropped = selection.select(scores, rule, decisions=decisions)
    labels = scores["label"].to_numpy()
    corrected = 0
    if rule == "reviewed":
        corrected = int((dropped != selection.select(scores, "flagged")).sum())
    return Preview(
        scanned=len(scores),
        dropped=int(dropped.sum()),
        exported=int(chosen_of(dropped, keep).sum()),
        corrected=corrected,
        table=class_table(labels, dropped, classes).sort_values("share", ascending=False, kind="stable"),
        warnings=warnings_for(labels, dropped, classes) if keep == "clean" else [],
    )


def download(run: Run, config: ExportConfig) -> bytes:
    """A table or list as a file's bytes. Raises `InputError`."""
    return as_bytes(make_plan(run, config))


def file_name(run: Run, format: str, keep: str) -> str:
    return f"{run.id}-{keep}{FORMATS[format].suffix}"


def default_target(run: Run, format: str, keep: str) -> str:
    """A place that is free, beside nothing of the user's: their home folder, or what a served app opens to them."""
    roots = serving.settings().roots if access.current() is not None else ()
    stem = (roots[0] if roots else Path.home()) / f"{home.name_from(run.config().dataset or run.id)}-{keep}"
    number, candidate = 1, f"{stem}{FORMATS[format].suffix}"
    while Path(candidate).exists():
        number += 1
        candidate = f"{stem}-{number}{FORMATS[format].suffix}"
    return candidate


def can_link(info: DatasetInfo | None) -> bool:
    return info is not None and info.kind in FILE_KINDS


def what_images(info: DatasetInfo) -> str:
    """One sentence on what the exported images are."""
    if has_originals(info):
        return "The files of the source, byte for byte; they are read again and compared with what was scanned."
    return f"This data has no image files of its own: its pixels ({info.size}×{info.size}) become PNG, without loss."


def newest_job(run: Run, wanted: str | None) -> Path | None:
    """The export to show: the one named, else the newest of this run that is at work."""
    folders = jobs.folders_in(home.exports_folder())
    for folder in folders:
        if folder.name == wanted:
            return folder if _belongs(folder, run) else None
    for folder in folders[:20]:
        try:
            if _belongs(folder, run) and jobs.read_status(folder).active:
                return folder
        except InputError:
            continue
    return None


def _belongs(folder: Path, run: Run) -> bool:
    try:
        return jobs.read_config(folder).get("run") == str(run.folder)
    except InputError:
        return False


def left_out_table(left_out: list[list[str]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(left_out, columns=["path", "reason"])


def share_kept(preview: Preview) -> float:
    return float(np.divide(preview.scanned - preview.dropped, max(1, preview.scanned)))
