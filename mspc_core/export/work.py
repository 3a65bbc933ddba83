"""The whole of an export: check, read, write under a temporary name, rename."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mspc_core.errors import InputError, Progress, ShouldStop, explain_os_error, stop_if
from mspc_core.export import images, indices, originals, tables, target
from mspc_core.export.config import FORMATS, ExportConfig, check
from mspc_core.export.images import CHECKSUMS, FolderSink, ZipSink
from mspc_core.export.plan import Plan, make_plan
from mspc_core.export.writing import ImageWork, SourceChangedError
from mspc_core.runs import open_run

__all__ = ["ExportResult", "SourceChangedError", "as_bytes", "export", "prepare", "stands"]


@dataclass(frozen=True)
class ExportResult:
    """What was written. sha256: of the file, or of checksums.sha256 in a folder, which vouches for all others.
    byte_identical: the images are the source's own bytes (None for tables). left_out: path and reason."""

    path: str
    format: str
    keep: str
    drop: str
    samples: int
    dropped: int
    linked: int
    sha256: str
    byte_identical: bool | None
    warnings: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


_Tell = Callable[[ExportResult], object]


def export(
    config: ExportConfig,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    before_it_appears: _Tell = lambda _: None,
) -> ExportResult:
    """Write what `config` asks for. before_it_appears: gets the result when all is written under a temporary name.
    Raises `InputError` (`SourceChangedError`, which lists the files) or `Cancelled`; then nothing is left at the target
    or beside it."""
    try:
        plan, path = prepare(config)
        if FORMATS[config.format].images:
            return _export_images(plan, path, progress, should_stop, before_it_appears)
        return _export_table(plan, path, progress, should_stop, before_it_appears)
    except OSError as error:
        raise InputError(explain_os_error(error)) from error


def stands(result: dict[str, Any]) -> bool:
    """Is the export that this result (as JSON) speaks of at its place, whole?"""
    try:
        path = Path(result["path"])
        return images.digest_file(path / CHECKSUMS if path.is_dir() else path) == result["sha256"]
    except (OSError, KeyError, TypeError):
        return False


def prepare(config: ExportConfig) -> tuple[Plan, Path]:
    """Refuse in an instant what would fail later; returns what will be exported and where. Writes nothing."""
    check(config)
    run = open_run(config.run)
    plan = make_plan(run, config)
    path = target.check_target(config.out, plan.dataset.info if plan.dataset else None, run.folder)
    if FORMATS[config.format].images and not config.link:
        dataset = plan.open_dataset()
        needed = originals.expected_bytes(dataset, plan.rows, stored=config.pixels == "stored")
        target.check_space(path, needed)
    return plan, path


def as_bytes(plan: Plan) -> bytes:
    """A table or list as the bytes of its file, for a download. Not for images."""
    buffer = io.BytesIO()
    _write_table(plan, buffer, Path(plan.config.out), None, None)
    return buffer.getvalue()


def _export_table(
    plan: Plan, path: Path, progress: Progress | None, should_stop: ShouldStop | None, tell: _Tell
) -> ExportResult:
    with target.new_file(path) as handle:
        notes = _write_table(plan, handle, path, progress, should_stop)
        stop_if(should_stop)
        warnings = [*plan.warnings, *notes]
        result = _result(plan, path, _digest_of(handle), warnings=warnings, byte_identical=None)
        tell(result)
    return result


def _write_table(
    plan: Plan, handle: BinaryIO, path: Path, progress: Progress | None, should_stop: ShouldStop | None
) -> list[str]:
    """Write what needs no images; returns what a person should know about it."""
    stop_if(should_stop)
    suffix = path.suffix.lower()
    if plan.config.format == "csv":
        tables.write_csv(tables.decision_table(plan), handle, progress, should_stop)
    elif plan.config.format == "parquet":
        tables.write_parquet(tables.decision_table(plan), handle)
    elif plan.config.format == "list":
        tables.write_list(plan, handle, as_json=suffix == ".json")
    else:
        return indices.write_indices(plan, handle, as_array=suffix == ".npy")
    return []


def _export_images(
    plan: Plan, path: Path, progress: Progress | None, should_stop: ShouldStop | None, tell: _Tell
) -> ExportResult:
    dataset = plan.open_dataset()
    stored = plan.config.pixels == "stored" or not originals.has_originals(dataset.info)
    work = ImageWork(plan, dataset, stored, progress, should_stop)
    if plan.config.format == "zip":
        with target.new_file(path) as handle:
            with ZipSink(handle) as archive:
                work.tree(archive)
            result = _images_result(plan, path, work, _digest_of(handle))
            tell(result)
    else:
        with target.new_folder(path) as folder:
            sink = FolderSink(folder)
            if plan.config.format == "hf":
                work.hub(folder, sink)
            else:
                work.tree(sink)
            result = _images_result(plan, path, work, images.digest_file(folder / CHECKSUMS))
            tell(result)
    return result


def _digest_of(handle: BinaryIO) -> str:
    """Of a file that is still open, under its temporary name."""
    handle.flush()
    return images.digest_file(Path(handle.name))


def _images_result(plan: Plan, path: Path, work: ImageWork, sha256: str) -> ExportResult:
    return _result(
        plan,
        path,
        sha256,
        samples=work.written,
        linked=work.linked,
        warnings=work.warnings(),
        byte_identical=not work.stored,
        left_out=work.problems,
    )


def _result(plan: Plan, path: Path, sha256: str, **more: Any) -> ExportResult:
    facts: dict[str, Any] = {"samples": plan.samples, "linked": 0, "left_out": [], **more}
    return ExportResult(
        path=str(path),
        format=plan.config.format,
        keep=plan.config.keep,
        drop=plan.config.drop,
        dropped=int(np.count_nonzero(plan.dropped)),
        sha256=sha256,
        **facts,
    )
