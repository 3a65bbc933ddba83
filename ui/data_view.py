"""Tables, pages of thumbnails and files about a stored data set. Free of streamlit."""

from __future__ import annotations

import io
import secrets
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mspc_core import access, home, jobs, quotas, runs
from mspc_core.data import store
from mspc_core.data.store import Dataset
from mspc_core.errors import InputError, explain_os_error
from ui.filters import safe_csv as safe_csv
from ui.images import enlarge, sprite, thumbnails

UPLOAD_KINDS = ("zip", "parquet", "npz")
COLUMNS, ROWS, TILE = 12, 6, 96
_KEEP_UPLOADS = 24 * 3600.0


def class_table(dataset: Dataset) -> pd.DataFrame:
    """Images of each class and split: class, train, val, test (where they occur), all. Also classes without images."""
    manifest = dataset.manifest
    table = pd.crosstab(manifest["label"], manifest["split"]).reindex(range(len(dataset.info.classes)), fill_value=0)
    table = table[[split for split in store.SPLITS if split in table]]
    table.insert(0, "class", list(dataset.info.classes))
    table["all"] = table.iloc[:, 1:].sum(axis=1)
    table.columns.name = None
    return table.reset_index(drop=True)


def reasons(skipped: pd.DataFrame) -> pd.DataFrame:
    """Why things were skipped: reason, files; the commonest first."""
    counted = skipped["reason"].value_counts()
    return pd.DataFrame({"reason": counted.index.astype(str), "files": counted.to_numpy()})


def chosen_rows(dataset: Dataset, label: int | None, split: str | None) -> np.ndarray:
    """Rows of one class and split (None: all), int64, ascending."""
    manifest = dataset.manifest
    kept = np.ones(len(manifest), dtype=bool)
    if label is not None:
        kept &= (manifest["label"] == label).to_numpy()
    if split is not None:
        kept &= (manifest["split"] == split).to_numpy()
    return np.flatnonzero(kept)


def contact_sheet(images: np.ndarray, columns: int = COLUMNS, tile: int = TILE, gap: int = 6) -> bytes:
    """One PNG of many images with see-through gaps. uint8 [N, H, W, 3]; tiles are at most `tile` pixels."""
    tiles = np.stack([enlarge(image, tile) for image in thumbnails(images, tile)])
    picture = sprite(tiles, columns, gap)
    opaque = sprite(np.full_like(tiles, 255), columns, gap, background=0)[..., :1]
    file = io.BytesIO()
    Image.fromarray(np.concatenate([picture, opaque], axis=2)).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def sheet_table(dataset: Dataset, rows: np.ndarray) -> pd.DataFrame:
    """The images of a page in words: path, class, split, width, height, sample_id."""
    table = dataset.manifest.iloc[rows]
    names = np.array(dataset.info.classes, dtype=object)[table["label"].to_numpy()]
    kept = table[["path", "split", "width", "height", "sample_id"]].copy()
    kept.insert(1, "class", names)
    return kept


def runs_using(name: str) -> list[str]:
    """Ids of the runs that scanned a data set."""
    found = []
    for run in runs.list_runs():
        try:
            if run.config().dataset == name:
                found.append(run.id)
        except InputError:
            continue
    return found


def delete(name: str) -> None:
    """Delete a data set unless a scan is reading it."""
    for run_id in runs_using(name):
        try:
            at_work = runs.open_run(run_id).status().active
        except InputError:
            continue  # a damaged run reads nothing
        if at_work:
            raise InputError("A scan of this data set is at work: cancel it or wait for it before you delete the data.")
    store.delete_dataset(name)


def save_upload(name: str, content: memoryview) -> Path:
    """Keep an uploaded file under a name made here. Raises `InputError` for kinds that are not accepted."""
    suffix = Path(name).suffix.lower()
    if suffix.lstrip(".") not in UPLOAD_KINDS:
        raise InputError(f"Upload one of {', '.join(UPLOAD_KINDS)}; for other kinds give their path on this machine.")
    folder = home.home() / "uploads"
    _drop_old(folder)
    quotas.check_upload(len(content))
    place = folder / secrets.token_hex(6)
    try:
        place.mkdir(parents=True)
        access.record(place)
        path = place / f"{home.name_from(Path(name).stem)}{suffix}"
        path.write_bytes(content)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise InputError(explain_os_error(error)) from None
    return path


def newest_import(wanted: str | None) -> Path | None:
    """The import job to show: the one named, else the newest that is at work."""
    folders = jobs.folders_in(home.imports_folder())
    for folder in folders:
        if folder.name == wanted:
            return folder
    for folder in folders[:20]:
        try:
            if jobs.read_status(folder).active:
                return folder
        except InputError:
            continue
    return None


def _drop_old(folder: Path) -> None:
    """Uploads are stored as data sets soon after; the files themselves go after a day."""
    for place in folder.glob("*"):
        try:
            if time.time() - place.stat().st_mtime > _KEEP_UPLOADS:
                shutil.rmtree(place, ignore_errors=True)
        except OSError:
            continue
