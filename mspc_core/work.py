"""What each kind of job does. The command line and the worker process both come here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspc_core import access, atomic, home, jobs, quotas
from mspc_core.engine.peers import local_processes, processes
from mspc_core.errors import InputError
from mspc_core.following import lead
from mspc_core.jobs import JobStatus, Reporter

if TYPE_CHECKING:
    from mspc_core.export.config import ExportConfig
    from mspc_core.given import GivenModel
    from mspc_core.runs import Run


def work_on(
    folder: Path,
    on_progress: Callable[[JobStatus], None] | None = None,
    *,
    given: GivenModel | None = None,
    together: bool = False,
) -> JobStatus:
    """Do the job of `folder` in this process and return how it ended. given: the model of a scan, from memory.
    together: with the other processes that torchrun started, if it did."""
    config = jobs.read_config(folder)
    kind = config.get("kind")
    if kind not in _KINDS:
        raise InputError(f"{folder.name!r} asks for an unknown kind of work, {kind!r}: start it again.")
    try:
        device = _lane(config)
    except InputError as error:
        return jobs.fail(folder, str(error))
    work = _KINDS[kind] if given is None else partial(_scan, given=given)
    if together and processes() > 1:
        work = partial(lead, work)
    return jobs.run(folder, work, device=device, on_progress=on_progress)


def submit_import(source: str, *, name: str = "", size: int = 32) -> Path:
    """Queue an import as a background job; returns its folder. Raises `InputError` for what the user may not do."""
    quotas.check_images(0, size)
    folder = jobs.create(
        home.imports_folder(), {"kind": "import", "source": source, "name": name, "size": size}, Path(source).name
    )
    jobs.start(folder)
    return folder


def submit_export(config: ExportConfig) -> Path:
    """Queue an export as a background job; returns its folder. Raises `InputError` for what can be seen to fail."""
    from mspc_core.export.work import prepare

    path = prepare(config)[1]
    folder = jobs.create(home.exports_folder(), {**config.as_json(), "out": str(path)}, path.name)
    jobs.start(folder)
    return folder


def result_of(folder: Path) -> dict[str, Any]:
    """What a finished import found (dataset, count, skipped, reused) or an export wrote. {} while there is none."""
    path = folder / "result.json"
    return atomic.read_json(path) if path.is_file() else {}


def submit_map(run: Run, *, umap: bool = False, device: str = "auto") -> Path:
    """Queue the map of a run as a background job; returns its folder. Raises `InputError`."""
    from mspc_core.maps.job import prepare

    folder = prepare(run, umap=umap, device=device)
    jobs.start(folder)
    return folder


def _lane(config: dict[str, Any]) -> str:
    """Jobs with the same name of a lane take turns."""
    kind, device = config.get("kind"), str(config.get("device", "auto"))
    if kind == "map" and not device:  # its features are there: it needs no device
        return "map"
    if not _computes(config):
        return _DEVICES.get(kind, "io")
    own = _canonical(device)
    if kind == "scan" and processes() > 1 and own.startswith("cuda"):  # each takes the GPU of its number
        return "+".join(f"cuda:{number}" for number in range(local_processes()))
    return own


def _computes(config: dict[str, Any]) -> bool:
    """Does this job train or run a model?"""
    if config.get("kind") in _LAB:
        from mspc_core.poison_job import computes

        return computes(config)
    return config.get("kind") in _COMPUTING


def _canonical(device: str) -> str:
    """Jobs take turns by this name; `auto` must name the same device as its explicit form."""
    from mspc_core.engine.device import resolve_device

    return str(resolve_device(device))


def _scan(folder: Path, reporter: Reporter, given: GivenModel | None = None) -> None:
    from mspc_core.scanning import execute

    if checkpoint := jobs.read_config(folder).get("checkpoint"):
        access.check_readable(str(checkpoint))
    execute(folder, reporter, given)


def _retrain(folder: Path, reporter: Reporter) -> None:
    from mspc_core.retrain.job import execute

    execute(folder, reporter)


def _map(folder: Path, reporter: Reporter) -> None:
    from mspc_core.maps.job import execute

    execute(folder, reporter)


def _import(folder: Path, reporter: Reporter) -> None:
    from mspc_core.data.importing import import_source

    config = jobs.read_config(folder)
    reporter.plan({"import": 1.0})
    progress = reporter.stage("import", "reading images")
    result = import_source(
        config["source"],
        name=config.get("name") or None,
        size=int(config["size"]),
        progress=progress,
        should_stop=reporter.should_stop,
    )
    info = result.dataset.info
    atomic.write_json(folder / "result.json", {"reused": result.reused, **asdict(info)})


def _export(folder: Path, reporter: Reporter) -> None:
    from mspc_core.export.config import ExportConfig
    from mspc_core.export.work import SourceChangedError, export, stands

    config = ExportConfig.from_json(jobs.read_config(folder))
    reporter.plan({"export": 1.0})
    progress = reporter.stage("export", "reading the source")
    # The result is noted before the export appears under its name: a job that is killed in between finds its own work
    # again, instead of refusing to overwrite it.
    result_file = folder / "result.json"
    if stands(result_of(folder)):
        reporter.log("the export was written before")
        return
    try:
        export(
            config,
            progress=progress,
            should_stop=reporter.should_stop,
            before_it_appears=lambda result: atomic.write_json(result_file, result.as_json()),
        )
    except SourceChangedError as error:
        for path, reason in error.problems:
            reporter.log(f"{path}: {reason}")
        raise


def _poison(folder: Path, reporter: Reporter) -> None:
    from mspc_core.poison_job import execute

    execute(folder, reporter)


def _signs(folder: Path, reporter: Reporter) -> None:
    from mspc_core.poison_job import execute_demo_images

    execute_demo_images(folder, reporter)


_KINDS: dict[object, Callable[[Path, Reporter], None]] = {
    "scan": _scan,
    "retrain": _retrain,
    "import": _import,
    "export": _export,
    "map": _map,
    "poison": _poison,
    "trigger": _poison,
    "signs": _signs,
}
_LAB = ("poison", "trigger")  # these compute where their attack learns
_COMPUTING = ("scan", "retrain", "map")  # these take turns on the device that they name; others only read and write
# Jobs on the same device take turns; an export does not wait for an import.
_DEVICES: dict[object, str] = {"export": "export"}
