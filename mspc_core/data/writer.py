"""Writes a stored data set (`mspc_core.data.store`): whole or absent, and after a kill from where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import access, atomic, home, quotas
from mspc_core.data import journal
from mspc_core.data.store import MANIFEST_COLUMNS, SPLITS, Dataset, DatasetInfo, open_folder
from mspc_core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


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
            if self._lock is not None:
                journal.sweep(self._folder)
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
        manifest = pd.DataFrame(self._rows, columns=list(MANIFEST_COLUMNS))
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
