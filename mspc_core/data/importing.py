"""Import a source: validate it, decode it on several threads, and store it once."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mspc_core import access, atomic, home, quotas
from mspc_core.data import journal, store
from mspc_core.data.decode import Decoded, UnreadableImage, array_image, decode_image
from mspc_core.data.source import RawSample, Skipped, Source, open_source, shown
from mspc_core.data.store import Dataset
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError, Progress, ShouldStop, explain_os_error, stop_if

MIN_SIZE, MAX_SIZE = 16, 512
MAX_CLASSES = 50_000  # ImageNet-21k has 21,841
# Part of the source key: raise it when decoding changes, so that old stored sets are not taken for new ones.
IMPORT_VERSION = 1
# A chunk is one task of the thread pool: large enough to hide its overhead, small enough to stop within a second.
CHUNK_ITEMS = 64
CHUNK_BYTES = 4 * 2**20
SPARE_BYTES = 64 * 2**20  # manifest, and something left for the rest of the system
CHECKPOINT_SECONDS = 2.0  # at most this much decoding is lost when an import is killed

_Chunk = list[RawSample | Skipped]
_Ready = tuple[RawSample, str, Decoded] | Skipped


@dataclass(frozen=True)
class ImportResult:
    """reused: the same source was stored at this size before, so nothing was read again."""

    dataset: Dataset
    reused: bool


def import_source(
    source: str | Source,
    *,
    name: str | None = None,
    size: int = 32,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    workers: int | None = None,
) -> ImportResult:
    """Store the data set found at `source` (anything `open_source` takes, or a source) as size × size images.

    name: of the stored set; made from the source where not given. size: 16 to 512. workers: decoding threads; order,
    and so the content key, does not depend on them.

    Raises `InputError` (nothing usable there, name taken, disk full, …) or `Cancelled`; then nothing is left behind.
    A killed import leaves what it has decoded: the next one of the same source, size and name goes on from there, with
    the same result as an undisturbed one.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(f"The image size must be a whole number from {MIN_SIZE} to {MAX_SIZE}, not {size}.")
    if name is not None:
        home.check_name(name)
    try:
        stop_if(should_stop)
        _report(progress, 0, None, "looking at the source")
        opened = open_source(source) if isinstance(source, str) else source
        key = source_key(opened)
        found = _stored_already(key, size, name)
        if found is not None:
            return ImportResult(found, reused=True)
        stop_if(should_stop)
        clean_temporaries()
        resume = hashlib.sha256(f"{key}|{size}|{name}|{access.current()}".encode()).hexdigest()
        check_source(opened, size, journal.bytes_kept(resume))
        stored_name = name or store.free_name(home.name_from(_stem(opened)))
        threads = workers or min(8, os.cpu_count() or 1)
        dataset = _store(opened, key, resume, stored_name, size, threads, progress, should_stop)
        return ImportResult(dataset, reused=False)
    except OSError as error:
        raise InputError(explain_os_error(error)) from error


def clean_temporaries() -> int:
    """Remove what killed imports, and killed removals of runs, left behind. Returns how many folders went.

    What an import can go on with stays for a week."""
    journal.clean()
    places = (home.datasets_folder(), home.home() / "torchvision", home.runs_folder())
    return sum(atomic.sweep(place) for place in places)


def source_key(source: Source) -> str:
    """Changes when the source does, or how images are decoded."""
    return hashlib.sha256(f"{IMPORT_VERSION}|{source.kind}|{source.fingerprint()}".encode()).hexdigest()


def _stored_already(key: str, size: int, name: str | None) -> Dataset | None:
    """The stored set to use instead of importing. Raises `InputError` when `name` belongs to another one."""
    if name is None:
        return store.find_by_source(key, size)
    if not (home.datasets_folder() / name).exists():
        return None
    dataset = store.open_dataset(name)
    if (dataset.info.source_key, dataset.info.size) != (key, size):
        raise InputError(
            f"There is a data set {name!r} already, from another source or at another size: choose another name or "
            "delete it first."
        )
    return dataset


def check_source(source: Source, size: int, kept: int) -> None:
    """Raises `InputError` where importing it cannot end well. kept: bytes of it that are stored already."""
    classes = source.classes
    if len(classes) < 2:
        found = f"only one class, {shown(classes[0])}" if classes else "no class"
        raise InputError(f"{shown(Path(source.location).name)} has {found}: a classifier needs at least two classes.")
    if len(classes) > MAX_CLASSES:
        raise InputError(
            f"{shown(Path(source.location).name)} has {len(classes):,} different labels, more than {MAX_CLASSES:,}: "
            "check that folders or labels name classes, not single images."
        )
    quotas.check_images(max(0, (source.count or 0) - kept // (size * size * 3)), size)
    if source.count is not None:
        needed = source.count * size * size * 3 + SPARE_BYTES - kept
        free = shutil.disk_usage(home.datasets_folder()).free
        if needed > free:
            raise InputError(
                f"Storing {source.count:,} images of {size}×{size} takes {needed / 2**30:,.1f} GiB and the disk has "
                f"{free / 2**30:,.1f} GiB free: free some space, choose a smaller size, or set BACKDOOR_LENS_HOME."
            )


def _store(
    source: Source,
    key: str,
    resume: str,
    name: str,
    size: int,
    threads: int,
    progress: Progress | None,
    should_stop: ShouldStop | None,
) -> Dataset:
    classes = tuple(_printable(class_name) for class_name in source.classes)
    total = source.count
    with DatasetWriter(
        name, size=size, classes=classes, kind=source.kind, source=_printable(source.location), resume=resume
    ) as writer:
        done, kept_at = writer.items, time.monotonic()
        with closing(decoded_chunks(source, size, threads, skip=done)) as chunks:
            for chunk in chunks:
                for item in chunk:
                    if isinstance(item, Skipped):
                        writer.skip(_printable(item.path), _printable(item.reason))
                        continue
                    sample, identity, decoded = item
                    writer.add(
                        decoded.image,
                        identity=identity,
                        path=_printable(sample.path),
                        label=sample.label,
                        split=sample.split,
                        width=decoded.width,
                        height=decoded.height,
                        mode=decoded.mode,
                    )
                done += len(chunk)
                if time.monotonic() - kept_at >= CHECKPOINT_SECONDS:
                    writer.checkpoint(done)
                    kept_at = time.monotonic()
                _report(progress, done, total, "reading images")
                stop_if(should_stop)
        _check_result(writer, source)
        _report(progress, done, total, "writing the data set")
        return writer.commit(source_key=key)


def _check_result(writer: DatasetWriter, source: Source) -> None:
    where = shown(Path(source.location).name)
    if writer.count < 2:
        read = "No image" if writer.count == 0 else "Only one image"
        reasons = Counter(reason for _, reason in writer.skipped).most_common(1)
        why = f" ({reasons[0][1]:,} skipped: {reasons[0][0]})" if reasons else ""
        raise InputError(f"{read} in {where} could be read{why}: at least two are needed.")
    labels = writer.labels
    if len(labels) < 2:
        only = writer.classes[next(iter(labels))]
        raise InputError(
            f"All readable images of {where} are of one class, {shown(only)}: a classifier needs at least two classes."
        )


def decoded_chunks(source: Source, size: int, threads: int, skip: int = 0) -> Generator[list[_Ready], None, None]:
    """Chunks in source order, without the first `skip` items. At most `threads + 2` of them are in memory, whatever the
    size of the source."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[list[_Ready]]] = deque()
    try:
        with closing(_chunks(source, skip)) as chunks:
            for chunk in chunks:
                waiting.append(pool.submit(_decode_chunk, chunk, size))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(source: Source, skip: int = 0) -> Generator[_Chunk, None, None]:
    chunk: _Chunk = []
    weight = 0
    with closing(source.samples()) as samples:  # type: ignore[type-var]  # every source's samples() is a generator
        for item in islice(samples, skip, None):
            chunk.append(item)
            if isinstance(item, RawSample):
                weight += len(item.data) if isinstance(item.data, bytes) else item.data.nbytes
            if len(chunk) >= CHUNK_ITEMS or weight >= CHUNK_BYTES:
                yield chunk
                chunk, weight = [], 0
    if chunk:
        yield chunk


def _decode_chunk(chunk: _Chunk, size: int) -> list[_Ready]:
    return [item if isinstance(item, Skipped) else _decode(item, size) for item in chunk]


def _decode(sample: RawSample, size: int) -> _Ready:
    path = _printable(sample.path)
    try:
        if isinstance(sample.data, bytes):
            return sample, store.sample_id(path, sample.data), decode_image(sample.data, size)
        return sample, store.sample_id(path, sample.data.tobytes()), array_image(sample.data, size)
    except UnreadableImage as error:
        return Skipped(path, error.reason)


def _printable(text: str) -> str:
    """File names need not be valid UTF-8, tables and JSON must be: undecodable bytes are written as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _stem(source: Source) -> str:
    name = Path(source.location).name
    for suffix in (".tar.gz", ".tar.bz2", ".tar.xz"):
        name = name.removesuffix(suffix)
    return Path(name).stem if source.kind != "folder" else name


def _report(progress: Progress | None, done: int, total: int | None, message: str) -> None:
    if progress is not None:
        progress(min(done, total) if total else done, total or max(done, 1), message)
