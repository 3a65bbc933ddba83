"""The background jobs of the Poison lab: learn a trigger, make a data set, start its scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspc_core import atomic, demo, home, jobs, poisoning, quotas, runs
from mspc_core.data.store import Dataset, open_dataset
from mspc_core.errors import InputError
from mspc_core.job_status import locked
from mspc_core.poisoning import PoisonConfig, Prepared
from mspc_core.reporter import Reporter

if TYPE_CHECKING:
    from mspc_core.runs import ScanConfig

_LEARNING, _WRITING = 60.0, 5.0  # expected seconds of the stages


def submit(config: PoisonConfig) -> Path:
    """Queue the job and start its process; returns its folder. Raises `InputError` for what can be seen to fail."""
    prepared = poisoning.prepare(config)
    if config.kind == "poison":
        poisoning.check(prepared)
        quotas.check_images(prepared.dataset.info.count, prepared.dataset.info.size)
    folder = jobs.create(home.lab_folder(), config.as_json(), config.out or f"{config.dataset}-{config.attack}")
    jobs.start(folder)
    return folder


def submit_demo_images() -> Path:
    """Queue the rendering of the demo's clean images; returns the job's folder."""
    folder = jobs.create(home.lab_folder(), {"kind": "signs", "out": demo.CLEAN_NAME}, demo.CLEAN_NAME)
    jobs.start(folder)
    return folder


def computes(config: dict[str, Any]) -> bool:
    """Does this job train something, so that it has to take its turn on the device?"""
    from mspc_core.attacks.base import attack_class

    return attack_class(str(config.get("attack"))).learns


def execute(folder: Path, reporter: Reporter) -> None:
    """Do the job of `folder`; what came out is in its result.json. One that is resumed goes on after what is done."""
    config = PoisonConfig.from_json(jobs.read_config(folder))
    prepared = poisoning.prepare(config)
    only_learns = config.kind == "trigger"
    learns = prepared.attack.learns and poisoning.kept_trigger(prepared) is None
    stages = {"trigger": _LEARNING} if learns or only_learns else {}
    if not only_learns:
        stages["poison"] = _WRITING
    reporter.plan({**stages, **({"scan": 0.1} if config.scan and not only_learns else {})})
    if only_learns:
        poisoning.learn(prepared, reporter.stage("trigger", "learning the trigger"), reporter.should_stop)
        _save(folder, trigger=prepared.key)
        return
    dataset = _made_before(prepared)
    if dataset is None:
        planned = poisoning.check(prepared)
        reporter.log(f"{planned.poisoned} images to poison, {planned.covers} covers, of {planned.training}")
        progress = reporter.stage("trigger", "learning the trigger") if learns else None
        state = poisoning.learn(prepared, progress, reporter.should_stop)
        progress = reporter.stage("poison", "planting the trigger")
        dataset = poisoning.write(prepared, state, progress, reporter.should_stop)
    planned = poisoning.amount(prepared)
    _save(folder, name=dataset.info.name, poisoned=planned.poisoned, covers=planned.covers, count=dataset.info.count)
    if config.scan:
        reporter.stage("scan", "starting the scan")
        _start_scan(folder, dataset)


def _start_scan(folder: Path, dataset: Dataset) -> None:
    """Once: a job that was killed after it had made the run goes on with that one."""
    known = str(result_of(folder).get("run", ""))
    run = runs.Run(home.runs_folder() / known)
    if not known or not (run.folder / "config.json").is_file():
        run = runs.create_run(scan_of(dataset))
        _save(folder, run=run.id)
    status = run.status()
    if status.state != "finished" and not locked(run.folder / ".lock"):
        jobs.start(run.folder)


def execute_demo_images(folder: Path, reporter: Reporter) -> None:
    """Render the demo's clean images and store them."""
    reporter.plan({"signs": 1.0})
    progress = reporter.stage("signs", "rendering traffic signs")
    dataset = demo.build_clean(progress=progress, should_stop=reporter.should_stop)
    _save(folder, name=dataset.info.name, count=dataset.info.count)


def result_of(folder: Path) -> dict[str, Any]:
    """What the job has made so far: name, poisoned, covers, count, run; {} while there is nothing."""
    try:
        found = atomic.read_json(folder / "result.json")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def scan_of(dataset: Dataset) -> ScanConfig:
    """The scan that follows at once: all defaults. The demo's signs are learned in few epochs."""
    epochs = demo.EPOCHS if dataset.info.source == demo.CLEAN_NAME else 0
    return runs.ScanConfig(source=dataset.info.source, dataset=dataset.info.name, size=dataset.info.size, epochs=epochs)


def _made_before(prepared: Prepared) -> Dataset | None:
    """The data set that this very job wrote before it was stopped."""
    try:
        found = open_dataset(prepared.config.out)
    except InputError:
        return None
    return found if found.info.source_key == prepared.source_key else None


def _save(folder: Path, **values: Any) -> None:
    atomic.write_json(folder / "result.json", {**result_of(folder), **values})
