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

A data set is written into a temporary folder and renamed into place, so it is whole or absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import access, atomic, home, quotas
from mspc_core.data import journal
from mspc_core.errors import InputError, one_line
from mspc_core.files import check_regular, open_regular, read_arrays
from mspc_core.shapes import misfit_fields

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
SPLITS = ("train", "val", "test")
_MAX_SIDE = 8192  # pixels; far above what an import makes
_MANIFEST_COLUMNS = ("sample_id", "path", "label", "split", "width", "height", "mode")


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
    missing = [name for name in _MANIFEST_COLUMNS if name not in found]
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


class DatasetWriter:
    """Writes a data set image by image; nothing is visible until `commit`. Use as a context manager: leaving the block
    without a commit removes everything written."""

    def __init__(
        self,
        name: str,
        *,
        size: int,
        classes: list[str] | tuple[str, ...],
        kind: str,
        source: str,
        resume: str = "",
    ) -> None:
        """resume: names what is written, so that a writer with the same key goes on where a killed one was (`items`
        tells how far it came); "" begins anew."""
        self.name = home.check_name(name)
        self.size, self.classes, self.kind, self.source = size, tuple(classes), kind, source
        self._final = home.datasets_folder() / name
        self._digest = hashlib.sha256(json.dumps([self.size, self.classes]).encode())
        self._rows: list[tuple[Any, ...]] = []
        self._skipped: list[tuple[str, str]] = []
        self._ids: dict[str, int] = {}
        self._resized = 0
        self._parts, self._in_parts, self.items = 0, (0, 0), 0
        self._room = quotas.room_for_pixels()
        if self._room is not None and resume:
            self._room += journal.bytes_kept(resume)  # counted as used already
        self._lock = journal.claim(journal.folder_of(resume)) if resume else None
        if self._lock is not None:
            self._folder = journal.folder_of(resume)
        else:
            self._folder = atomic.temporary_for(self._final)
            self._folder.mkdir(parents=True)
        self._alive = contextlib.ExitStack()
        if self._lock is not None:
            self._alive.enter_context(self._lock)
        try:
            self._alive.enter_context(atomic.claimed_folder(self._folder))
            access.record(self._folder)
            self._pixels = (self._folder / "pixels.u8").open("a+b")
            self._restore()
        except OSError:
            self._alive.close()
            self._remove()
            raise

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            # Closing writes what is buffered, which fails again on a full disk; a commit has flushed already.
            with contextlib.suppress(OSError):
                self._pixels.close()
        finally:
            # Ctrl-C is no wish to lose what can be gone on with; as after a kill, the next import cleans up in time.
            if self._lock is None or kind is not KeyboardInterrupt:
                self._remove()
            self._alive.close()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def checkpoint(self, items: int) -> None:
        """Keep what was added so far for the case that this process is killed. items: of the source, seen so far."""
        if self._lock is None or items == self.items:
            return
        self._pixels.flush()
        os.fsync(self._pixels.fileno())
        rows, skipped = self._in_parts
        part = journal.Part(self._rows[rows:], self._skipped[skipped:], items, self._digest.hexdigest())
        journal.write(self._folder, self._parts + 1, part)
        self._parts, self._in_parts, self.items = self._parts + 1, (len(self._rows), len(self._skipped)), items

    def _restore(self) -> None:
        """Take over what a killed writer has left, as far as it is whole; the rest is cut off."""
        bytes_each = self.size * self.size * 3
        self._pixels.seek(0)
        for part in journal.read(self._folder) if self._lock is not None else ():
            digest = self._digest.copy()
            for identity, _, label, split, *_ in part.rows:
                digest.update(self._pixels.read(bytes_each))
                digest.update(f"{identity}|{label}|{split}".encode())
            if digest.hexdigest() != part.digest:
                break
            for row in part.rows:
                first = row[0].partition("-")[0]
                self._ids[first] = self._ids.get(first, 0) + 1
                self._resized += (row[4], row[5]) != (self.size, self.size)
            self._rows += part.rows
            self._skipped += part.skipped
            self._digest, self.items, self._parts = digest, part.items, self._parts + 1
        self._in_parts = len(self._rows), len(self._skipped)
        self._pixels.truncate(len(self._rows) * bytes_each)
        if self._lock is not None and self._parts:
            journal.forget(self._folder, self._parts)
        elif self._lock is not None:
            shutil.rmtree(self._folder / "parts", ignore_errors=True)

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> set[int]:
        """Classes of what was added."""
        return {row[2] for row in self._rows}

    def add(
        self,
        image: np.ndarray,
        *,
        identity: str,
        path: str,
        label: int,
        split: str = "train",
        width: int | None = None,
        height: int | None = None,
        mode: str = "RGB",
    ) -> str:
        """Append one image.

        image: uint8 [size, size, 3]. identity: its `sample_id`; an exact duplicate (same path, same bytes) gets a
        numbered one. width, height, mode: of the original, before conversion. Returns the identity stored.
        """
        if image.shape != (self.size, self.size, 3) or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 [{self.size}, {self.size}, 3], got {image.dtype} {list(image.shape)}")
        if not 0 <= label < len(self.classes):
            raise ValueError(f"label {label} outside the {len(self.classes)} classes")
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}")
        seen = self._ids.get(identity, 0)
        self._ids[identity] = seen + 1
        if seen:
            identity = f"{identity}-{seen + 1}"
        raw = np.ascontiguousarray(image).tobytes()
        if self._room is not None and (len(self._rows) + 1) * len(raw) > self._room:
            raise InputError(quotas.too_many_pixels(self._room))
        self._pixels.write(raw)
        self._digest.update(raw)
        self._digest.update(f"{identity}|{label}|{split}".encode())
        width, height = width or self.size, height or self.size
        self._resized += (width, height) != (self.size, self.size)
        self._rows.append((identity, path, label, split, width, height, mode))
        return identity

    def skip(self, path: str, reason: str) -> None:
        """Record something that could not be stored, with its reason in words."""
        self._skipped.append((path, reason))

    @property
    def skipped(self) -> list[tuple[str, str]]:
        return self._skipped

    def commit(
        self,
        *,
        source_key: str,
        truth: pd.DataFrame | None = None,
        recipe: dict[str, Any] | None = None,
        trigger: Mapping[str, np.ndarray] | None = None,
    ) -> Dataset:
        """Make the data set visible under its name and open it. Raises `InputError` when the name is taken."""
        import pandas as pd

        self._pixels.flush()
        os.fsync(self._pixels.fileno())
        manifest = pd.DataFrame(self._rows, columns=list(_MANIFEST_COLUMNS))
        manifest = manifest.astype({"label": "int32", "width": "int32", "height": "int32"})
        self._parquet("manifest", manifest)
        self._parquet("skipped", pd.DataFrame(self._skipped, columns=["path", "reason"], dtype="str"))
        if truth is not None:
            self._parquet("truth", truth)
        if recipe is not None:
            atomic.write_json(self._folder / "recipe.json", recipe)
        if trigger:
            arrays: dict[str, Any] = dict(trigger)
            atomic.write_with(self._folder / "trigger.npz", lambda handle: np.savez(handle, **arrays))
        info = DatasetInfo(
            name=self.name,
            classes=self.classes,
            size=self.size,
            count=len(manifest),
            skipped=len(self._skipped),
            kind=self.kind,
            source=self.source,
            source_key=source_key,
            content_key=self._digest.hexdigest()[:32],
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            resized=self._resized,
            split_counts={str(key): int(value) for key, value in manifest["split"].value_counts().items()},
        )
        atomic.write_json(self._folder / "dataset.json", asdict(info))
        journal.forget(self._folder)
        try:
            os.rename(self._folder, self._final)
        except OSError as error:
            if self._final.exists():
                raise InputError(f"A data set named {self.name!r} exists already: choose another name.") from None
            raise error
        atomic.sync_folder(self._final.parent)
        return open_folder(self._final)

    def _parquet(self, stem: str, frame: pd.DataFrame) -> None:
        atomic.write_with(self._folder / f"{stem}.parquet", lambda handle: frame.to_parquet(handle, index=False))
