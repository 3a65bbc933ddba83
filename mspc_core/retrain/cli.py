"""`python -m mspc_core retrain RUN`: drop, train again, compare; on wish scan the cleaned set and go on from there."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mspc_core.console import printable, progress_bar
from mspc_core.errors import EXIT_CANCELLED, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from mspc_core.jobs import JobStatus
    from mspc_core.retrain.config import Retraining
    from mspc_core.runs import Run


STILL_WORKS = (
    "the trigger that the scan reconstructed still turns most other images: poison that carries it was kept. Drop more."
)


def retrain(
    run: Annotated[str, typer.Argument(help="Run id or folder of a finished scan.")],
    drop: Annotated[
        str, typer.Option(help="flagged, rejected, reviewed, detector:NAME or file:PATH (sample ids, one a line).")
    ] = "flagged",
    seeds: Annotated[str, typer.Option(help="Comma-separated; one training each. Empty: the scan's seed.")] = "",
    relabel: Annotated[
        str,
        typer.Option(
            help="confirmed: keep samples whose new label was confirmed. file:PATH: confirm the labels of a "
            "CSV file (sample_id, suggested_label), then the same."
        ),
    ] = "",
    references: Annotated[
        bool, typer.Option("--references", help="Also train on everything and on the truly clean part, if known.")
    ] = False,
    rescan: Annotated[
        bool, typer.Option("--rescan", help="Then scan the cleaned set, as a child of this run.")
    ] = False,
    rounds: Annotated[
        int, typer.Option(min=1, help="With --rescan: go on with what each scan flags, at most so often.")
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> int:
    """Train again without the suspects and compare accuracy and attack success before and after."""
    from mspc_core.engine.device import resolve_device
    from mspc_core.retrain import confirmed
    from mspc_core.retrain.config import RetrainConfig, create
    from mspc_core.retrain.plan import make_plan
    from mspc_core.runs import open_run

    found = open_run(run)
    if relabel.startswith("file:"):
        confirmed.confirm(found, confirmed.read_table(relabel.removeprefix("file:")))
        relabel = "confirmed"
    config = RetrainConfig(drop=drop, seeds=parse_seeds(seeds), relabel=relabel, references=references, device=device)
    printed: list[dict[str, Any]] = []
    for _ in range(rounds if rescan else 1):
        plan = make_plan(found, config)
        for warning in plan.warnings:
            print(f"warning: {printable(warning)}", file=sys.stderr)
        resolve_device(device)
        retraining = create(found, plan.config, plan.choice)
        status = work_through(retraining.folder, "retraining")
        if status:
            return status
        printed.append({"retraining": str(retraining.folder), **retraining.result()})
        if not as_json:
            print_result(retraining.folder, retraining.result())
        if rescan:
            found, status = _scan_again(retraining, as_json, printed[-1])
            if status:
                return status
            if (found.summary().get("verdict") or {}).get("level") != "poisoned":
                break
            # What was confirmed, listed or decided was about the first run; the next one has its own verdict.
            config = replace(config, drop=drop if drop.startswith("detector:") else "flagged", relabel="")
    if as_json:
        print(json.dumps(printed[0] if len(printed) == 1 else printed, ensure_ascii=False))
    return 0


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "0,1,2" → (0, 1, 2). Raises `InputError`."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise InputError(f"Seeds are numbers from 0 with commas between them, such as 0,1,2; not {text[:60]!r}.")
    return tuple(int(part) for part in parts)


def work_through(folder: Path, title: str) -> int:
    """Do a job in this process with a progress bar; 0, or the exit status of a cancelled one. Raises `InputError`."""
    from mspc_core.work import work_on

    (folder / "cancel").unlink(missing_ok=True)
    with progress_bar(title) as bar:

        def show(status: JobStatus) -> None:
            bar(round(1000 * status.progress), 1000, f"{status.stage} · {status.message}")

        status = work_on(folder, on_progress=show)
    if status.state == "failed":
        raise InputError(f"{status.error} (folder: {folder})")
    if status.state == "cancelled":
        print(f"Cancelled; `python -m mspc_core resume {folder}` goes on from there.", file=sys.stderr)
        return EXIT_CANCELLED
    return 0


def resume_retraining(folder: Path, as_json: bool) -> int:
    """Go on with a cancelled or killed retraining."""
    from mspc_core.retrain.config import Retraining

    retraining = Retraining(folder)
    if status := work_through(folder, "retraining"):
        return status
    if as_json:
        print(json.dumps({"retraining": str(folder), **retraining.result()}, ensure_ascii=False))
    else:
        print_result(folder, retraining.result())
    return 0


def print_result(folder: Path, result: dict[str, Any]) -> None:
    """A finished retraining in a few lines."""
    more = f", relabelled {result['relabelled']:,}" if result["relabelled"] else ""
    print(f"dropped {result['dropped']:,}{more}, kept {result['kept']:,} (--drop {printable(result['drop'])})")
    references = result["references"]
    rows = (
        ("before (the scan's model)", result["before"]),
        ("after", result["after"]),
        ("reference: everything", references["everything"]),
        ("reference: truly clean part", references["clean_part"]),
    )
    for name, figures in rows:
        if figures:
            accuracy, success = (_with_deviation(figures, key) for key in ("accuracy", "attack_success_rate"))
            print(f"{name}: accuracy {accuracy}, attack success rate {success}")
    estimated = result["estimated_asr"]
    if estimated["before"] is not None:
        print(f"estimated attack success: {estimated['before']:.2%} before, {estimated['after']:.2%} after")
        print(f"  {printable(estimated['how'])}")
    if result["still_works"]:
        print(f"warning: {STILL_WORKS}")
    if result["missed_poison"] is not None:
        print(f"missed poison: {result['missed_poison']:,}; lost clean samples: {result['lost_clean']:,}")
    removed, suggestions = result["removed"], result["suggestions"]
    print(f"removed samples that still get their old label: {removed['old_label_after']:,} of {removed['count']:,}")
    line = f"suggested labels: {suggestions['changed']:,} of {suggestions['count']:,} differ from the present one"
    if suggestions["equal_original"] is not None:
        line += f"; {suggestions['equal_original']:,} name the original class"
    print(f"{line} ({folder / 'suggestions.csv'})")
    print(f"retraining folder: {folder}")


def list_lines(run: Run) -> list[dict[str, Any]]:
    """The retrainings of a run, for `list`."""
    from mspc_core.retrain.config import list_retrainings

    rows = []
    for retraining in list_retrainings(run):
        try:
            state, result = retraining.status().state, retraining.result()
        except InputError as error:
            rows.append({"retraining": str(retraining.folder), "state": "damaged", "text": str(error)})
            continue
        text = f"dropped {result['dropped']:,}, kept {result['kept']:,}" if result else "no figures yet"
        rows.append({"retraining": str(retraining.folder), "state": state, "text": text})
    return rows


def _scan_again(retraining: Retraining, as_json: bool, printed: dict[str, Any]) -> tuple[Run, int]:
    from mspc_core.console import print_summary
    from mspc_core.retrain.chain import rescan

    child = rescan(retraining)
    printed["child"] = str(child.folder)
    status = work_through(child.folder, "scanning the cleaned set")
    if not status:
        printed["child_verdict"] = child.summary().get("verdict")
        if not as_json:
            print_summary(child.folder, child.summary())
    return child, status


def _with_deviation(figures: dict[str, Any], key: str) -> str:
    value, deviation = figures[key], figures["sd"][key]
    if value is None:
        return "not known"
    return f"{value:.2%}" + (f" ± {deviation:.2%}" if deviation is not None else "")
