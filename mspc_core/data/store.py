"""The stored form of a data set: one memory-mapped uint8 pixel file, a manifest, and what was skipped.

    datasets/<name>/
      dataset.json      DatasetInfo: classes, size, counts, where it came from, content key
      pixels.u8         uint8 [N, H, W, 3], C order, rows in manifest order
      manifest.parquet  sample_id, path, label, split, width, height, mode   (one row per stored image)
      skipped.parquet   path, reason
      truth.parquet     sample_id, is_backdoor, original_label, source_path   (lab data only; only
                        `mspc_core.evaluate` reads it)
      recipe.json       how a lab data set was poisoned           (lab data only)
      trigger.npz       what its attack learned, as plain arrays  (lab data whose attack learns)

`mspc_core.data.writer` writes it into a temporary folder and renames it into place, so it is whole or absent.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import access, atomic, home
from mspc_core.errors import InputError, one_line
from mspc_core.files import check_regular, open_regular, read_arrays
from mspc_core.shapes import misfit_fields

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
SPLITS = ("train", "val", "test")
_MAX_SIDE = 8192  # pixels; far above what an import makes
MANIFEST_COLUMNS = ("sample_id", "path", "label", "split", "width", "height", "mode")


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` holds. `content_key` names the pixels, labels and order; `source_key` names the source as it
    was when imported (a second import of the same source finds the stored set by it)."""

    name: str
    classes: tuple[str, ...]
    size: int
    count: int
    skipped: int
    kind: str
    source: str
    source_key: str
    content_key: str
    created: str
    resized: int = 0
    format: int = FORMAT
    split_counts: dict[str, int] = field(default_factory=dict)


class Dataset:
    """A stored data set, opened for reading. Pixels are mapped, not loaded."""

    def __init__(self, root: Path, info: DatasetInfo) -> None:
        self.root = root
        self.info = info
        shape = (info.count, info.size, info.size, 3)
        # shape [N, H, W, 3], uint8
        self.pixels: np.ndarray = np.memmap(root / "pixels.u8", dtype=np.uint8, mode="r", shape=shape)
        self._manifest: pd.DataFrame | None = None

    @property
    def manifest(self) -> pd.DataFrame:
        """One row per stored image, in pixel order; the row number is the index into `pixels`."""
        if self._manifest is None:
            self._manifest = _checked_manifest(self._table("manifest"), self.info)
        return self._manifest

    def with_labels(self, labels: Mapping[str, int]) -> Dataset:
        """This data set with other labels for some samples (sample_id → class), in memory only."""
        found = Dataset(self.root, self.info)
        new = self.manifest["sample_id"].map(dict(labels))
        found._manifest = self.manifest.assign(label=new.fillna(self.manifest["label"]).astype("int32"))
        return found

    def indices(self, split: str) -> np.ndarray:
        """Row numbers of one split, int64, ascending."""
        return np.flatnonzero((self.manifest["split"] == split).to_numpy())

    def skipped(self) -> pd.DataFrame:
        """path, reason: what could not be stored. Raises `InputError` if damaged."""
        found = self._table("skipped")
        if not {"path", "reason"} <= set(found) or not all(_is_text(found[name]) for name in ("path", "reason")):
            raise _damaged(self.info.name, "its list of skipped files is not one")
        if len(found) != self.info.skipped:
            raise _damaged(self.info.name, f"it lists {len(found):,} skipped files, not {self.info.skipped:,}")
        return found

    def _table(self, stem: str) -> pd.DataFrame:
        from pyarrow import parquet

        try:
            with open_regular(self.root / f"{stem}.parquet") as handle:
                found: pd.DataFrame = parquet.read_table(handle).to_pandas()
            return found
        except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, NotImplementedError) as error:
            raise _damaged(self.info.name, one_line(error)) from None

    @property
    def has_truth(self) -> bool:
        return (self.root / "truth.parquet").is_file()

    def recipe(self) -> dict[str, Any] | None:
        """How a lab data set was poisoned, or None."""
        try:
            return atomic.read_object(self.root / "recipe.json")
        except FileNotFoundError:
            return None

    def trigger(self) -> dict[str, np.ndarray]:
        """What the attack of a lab data set learned, as plain arrays; {} for most. Raises `InputError` if damaged."""
        try:
            return read_arrays(self.root / "trigger.npz")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            why = one_line(error)
            raise InputError(
                f"The trigger of {self.info.name!r} cannot be read ({why}): poison the data again."
            ) from None


def open_dataset(name: str) -> Dataset:
    """Open a stored data set by name. Raises `InputError` when there is none or its files are damaged."""
    home.check_name(name)
    return open_folder(home.datasets_folder() / name)


def open_folder(root: Path) -> Dataset:
    """Open the data set stored in `root`."""
    try:
        raw = atomic.read_object(root / "dataset.json")
        if raw.get("format") != FORMAT:
            raise InputError(f"Data set {root.name!r} was written by another version: import it again.")
        if place := misfit_fields(raw, DatasetInfo):
            raise ValueError(f"{place} is not as it must be")
        info = DatasetInfo(**{**raw, "classes": tuple(raw["classes"])})
        if info.count < 1 or not 1 <= info.size <= _MAX_SIDE or not info.classes:
            raise ValueError("its counts are not possible")
        check_regular(root / "pixels.u8")
        return Dataset(root, info)
    except FileNotFoundError:
        raise InputError(f"There is no stored data set {root.name!r}: import it first.") from None
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise _damaged(root.name, one_line(error)) from None
    except OSError as error:
        raise _damaged(root.name, error.strerror or "a file cannot be read") from None


def _damaged(name: str, why: str) -> InputError:
    return InputError(f"Data set {name!r} is damaged ({why}): delete it and import it again.")


def _checked_manifest(found: pd.DataFrame, info: DatasetInfo) -> pd.DataFrame:
    """The manifest, if every row of it can be used. Raises `InputError`."""
    texts, wholes = ("sample_id", "path", "split", "mode"), ("label", "width", "height")
    missing = [name for name in MANIFEST_COLUMNS if name not in found]
    odd = [name for name in texts if name in found and not _is_text(found[name])]
    odd += [name for name in wholes if name in found and found[name].dtype.kind not in "iu"]
    if missing or odd:
        raise _damaged(info.name, f"its manifest has no usable column {(missing or odd)[0]}")
    if len(found) != info.count:
        raise _damaged(info.name, f"its manifest lists {len(found):,} images, not {info.count:,}")
    if not found["label"].between(0, len(info.classes) - 1).all() or not found["split"].isin(SPLITS).all():
        raise _damaged(info.name, "its manifest names classes or splits that it does not have")
    if not found["sample_id"].is_unique:
        raise _damaged(info.name, "its manifest names a sample twice")
    return found


def _is_text(column: pd.Series | pd.DataFrame) -> bool:
    import pandas as pd

    if not isinstance(column, pd.Series):  # a name that is there twice
        return False
    return not len(column) or (pd.api.types.is_string_dtype(column.dtype) and not column.isna().any())


def list_datasets() -> list[DatasetInfo]:
    """All stored data sets, newest first; damaged ones are left out."""
    found = []
    for folder in home.datasets_folder().iterdir():
        if folder.name.startswith(".") or not (folder / "dataset.json").is_file():
            continue
        try:
            found.append(open_folder(folder).info)
        except InputError:
            continue
    return sorted(found, key=lambda info: info.created, reverse=True)


def delete_dataset(name: str) -> None:
    """Remove a stored data set: renamed away first, so that no half of it can be opened."""
    root = home.datasets_folder() / home.check_name(name)
    access.check_owner(root)
    doomed = root.with_name(f"{atomic.TEMPORARY_PREFIX}{secrets.token_hex(6)}")
    try:
        root.rename(doomed)
    except FileNotFoundError:
        raise InputError(f"There is no stored data set {name!r}.") from None
    shutil.rmtree(doomed, ignore_errors=True)


def find_by_source(source_key: str, size: int) -> Dataset | None:
    """The stored data set that was imported from exactly this source at this size, if any."""
    for info in list_datasets():
        if info.source_key == source_key and info.size == size:
            return open_dataset(info.name)
    return None


def free_name(wanted: str) -> str:
    """`wanted`, or `wanted-2`, `wanted-3`, … if taken."""
    folder, candidate, number = home.datasets_folder(), wanted, 1
    while (folder / candidate).exists():
        number += 1
        candidate = f"{wanted}-{number}"
    return home.check_name(candidate)


def sample_id(path: str, content: bytes) -> str:
    """Stable identity of a sample: 16 hex digits from its path in the source and its bytes (encoded, or raw pixels)."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape"))
    digest.update(b"\0")
    digest.update(content)
    return digest.hexdigest()[:16]
