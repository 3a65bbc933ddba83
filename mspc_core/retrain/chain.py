"""Scan the cleaned set again: a child run that knows its parent and what was left out, and the chain of such runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mspc_core import atomic, home, runs
from mspc_core.errors import InputError
from mspc_core.retrain.config import Retraining
from mspc_core.retrain.kept import FILE, choice_of, write_choice
from mspc_core.runs import Run, ScanConfig
from mspc_core.shapes import misfit

ORIGIN = "origin.json"  # of a child run: the retraining it came from and what the trigger did after it
_MODEL_FILES = ("early_losses.npz", "model.safetensors", "model.json")  # the description last: it vouches for the rest


def rescan(retraining: Retraining) -> Run:
    """A queued scan of what a finished retraining kept, with the model that it trained. Raises `InputError`."""
    result, config = retraining.result(), retraining.config()
    if not result:
        raise InputError("This retraining has not finished: wait for it or resume it, then scan the cleaned set.")
    parent = retraining.run
    scanned = parent.config()
    seed = scanned.seed if scanned.seed in config.seeds else config.seeds[0]
    child = replace(
        scanned,
        parent=parent.id if parent.folder.parent == home.runs_folder() else str(parent.folder.absolute()),
        exclude=FILE,
        checkpoint="",
        seed=seed,
        epochs=int(result["training"]["epochs"]),
        device=config.device,
    )
    choice = retraining.choice().after(choice_of(parent.folder, scanned.exclude))
    origin = {"run": parent.id, "retraining": retraining.id, "drop": config.drop, "dropped": result["dropped"]}
    origin |= {key: result[key] for key in ("relabelled", "estimated_asr", "still_works")}
    trained = retraining.folder / "trainings" / f"after-{seed}"

    def fill(folder: Path) -> None:
        write_choice(folder / FILE, choice)
        atomic.write_json(folder / ORIGIN, origin)
        for name in _MODEL_FILES:
            with (trained / name).open("rb") as source, atomic.replacing(folder / name) as copy:
                shutil.copyfileobj(source, copy)

    if not all((trained / name).is_file() for name in _MODEL_FILES):
        raise InputError("The model of this retraining is gone: retrain again, then scan the cleaned set.")
    return runs.create_run(child, fill=fill)


def origin_of(run: Run) -> dict[str, Any]:
    """What a child run was made from; {} for a first scan."""
    try:
        found = atomic.read_object(run.folder / ORIGIN)
    except (OSError, ValueError):
        return {}
    return {} if misfit(found, _Origin) else found


class _Estimate(TypedDict):
    after: NotRequired[float | None]


class _Origin(TypedDict):
    run: NotRequired[str | None]
    retraining: NotRequired[str | None]
    drop: NotRequired[str | None]
    dropped: NotRequired[int | None]
    relabelled: NotRequired[int | None]
    estimated_asr: NotRequired[_Estimate | None]
    still_works: NotRequired[bool | None]


@dataclass(frozen=True)
class Link:
    """One run of a chain. dropped: left out before this scan (0 for the first). level: poisoned, no_evidence, unknown,
    or the run's state while it has not finished. estimated: share of other images that the trigger which the run before
    reconstructed still turned; still_works: a majority. Rates are None where unknown."""

    id: str
    parent: str
    dropped: int
    scanned: int | None
    flagged: int | None
    level: str
    accuracy: float | None
    attack_success_rate: float | None
    estimated: float | None = None
    still_works: bool = False


def chain_of(run: Run, known: list[Run] | None = None) -> list[Link]:
    """The runs from the first scan to the newest that came of `run`, in order; branches are left out except the newest.

    known: `runs.list_runs()`, newest first. A parent that was deleted ends the chain there.
    """
    configs = {found.id: (found, _config(found)) for found in (known if known is not None else runs.list_runs())}
    configs.setdefault(run.id, (run, _config(run)))
    first, seen = run.id, {run.id}
    while (parent := _parent(configs[first][1])) in configs and parent not in seen:
        first = parent
        seen.add(first)
    line = list(reversed(_line_to(run.id, first, configs)))
    while child := next((key for key, (_, config) in configs.items() if _parent(config) == line[-1]), None):
        if child in line:
            break
        line.append(child)
    return [_link(*configs[key]) for key in line]


def _line_to(last: str, first: str, configs: dict[str, tuple[Run, ScanConfig | None]]) -> list[str]:
    line = [last]
    while line[-1] != first:
        line.append(_parent(configs[line[-1]][1]))
    return line


def _config(run: Run) -> ScanConfig | None:
    try:
        return run.config()
    except InputError:
        return None


def _parent(config: ScanConfig | None) -> str:
    return Path(config.parent).name if config else ""


def _link(run: Run, config: ScanConfig | None) -> Link:
    summary = run.summary()
    verdict: dict[str, Any] = summary.get("verdict") or {}
    try:
        level = str(verdict.get("level", "unknown")) if summary.get("complete") else run.status().state
        dropped = len(choice_of(run.folder, config.exclude).dropped) if config else 0
    except InputError:
        level, dropped = "damaged", 0
    model, origin = summary.get("model") or {}, origin_of(run)
    return Link(
        run.id,
        _parent(config),
        dropped,
        verdict.get("scanned"),
        verdict.get("flagged"),
        level,
        model.get("val_accuracy"),
        model.get("attack_success_rate"),
        (origin.get("estimated_asr") or {}).get("after"),
        bool(origin.get("still_works")),
    )
