"""Every capability without the app: `python -m mspc_core COMMAND`.

Exit status 0: done. 2: bad input, one line on stderr. 130: cancelled; what was finished is kept.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mspc_core import __version__
from mspc_core.bench.cli import app as bench
from mspc_core.cli_data import attacks, demo, import_, poison
from mspc_core.console import estimate_lines, print_summary, printable, progress_bar
from mspc_core.engine.peers import rank
from mspc_core.errors import (
    EXIT_BAD_INPUT,
    EXIT_CANCELLED,
    MEMORY,
    Cancelled,
    InputError,
    explain_os_error,
    out_of_memory,
)
from mspc_core.export.cli import export
from mspc_core.following import check, dismiss, follow
from mspc_core.maps.cli import map_, resume_map
from mspc_core.report.cli import report
from mspc_core.retrain.cli import list_lines, resume_retraining, retrain

if TYPE_CHECKING:
    from mspc_core.runs import Run, ScanConfig

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Backdoor Lens: find backdoored images in a training set.",
)
app.add_typer(bench, name="bench")
app.command()(export)
app.command()(retrain)
app.command("map")(map_)
app.command()(demo)
app.command("import")(import_)
app.command()(poison)
app.command("attacks")(attacks)
app.command()(report)
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status and prints at most one line for bad input."""
    if not (sys.argv[1:] if arguments is None else arguments):
        arguments = ["--help"]
    if rank() > 0:  # torchrun started several processes: the first one reads the command line and says what to do
        return follow()
    try:
        check((sys.argv[1:] if arguments is None else arguments)[0])
        result = app(args=arguments, prog_name="python -m mspc_core", standalone_mode=False)
        status = result if isinstance(result, int) else 0
        dismiss(status)
        return status
    except InputError as error:
        message = str(error)
    except typer.TyperException as error:
        message = f"{getattr(error, 'format_message', error.__str__)()} (--help shows the usage)"
    except (Cancelled, KeyboardInterrupt, typer.Abort):
        print("Cancelled.", file=sys.stderr)
        return EXIT_CANCELLED
    except BrokenPipeError:
        return 0
    except OSError as error:
        message = explain_os_error(error)
    except (MemoryError, RuntimeError, ImportError) as error:
        if not out_of_memory(error):
            raise
        message = MEMORY
    finally:
        dismiss()
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    """Backdoor Lens: find backdoored images in a training set, see the evidence, hand back a clean set."""


@app.command()
def scan(
    source: Annotated[str, typer.Argument(help="Stored data set, anything `import` takes, or `demo`.")],
    model: Annotated[str, typer.Option(help="Your own weights instead of training.")] = "",
    arch: Annotated[str, typer.Option(help="small-cnn, tiny-vit or a torchvision classifier.")] = "small-cnn",
    normalise: Annotated[str, typer.Option(help="auto, data, none, half, imagenet, cifar10.")] = "auto",
    detectors: Annotated[str, typer.Option(help="Comma-separated; all and default stand for sets.")] = "default",
    mspc: Annotated[str, typer.Option(help="fast, or paper for the published settings.")] = "fast",
    trusted: Annotated[str, typer.Option(help="Clean split (val or test), for detectors that need one.")] = "",
    size: Annotated[int, typer.Option(help="Image side when the source still has to be imported.")] = 32,
    epochs: Annotated[int, typer.Option(min=0, help="0 chooses by data size.")] = 0,
    augment: Annotated[bool, typer.Option(help="Flip and shift in training; the paper trains without.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[str, typer.Option(help="Run folder (resumed if it holds an unfinished run).")] = "",
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say what time and memory it will take.")] = False,
    as_json: Json = False,
) -> int:
    """Train (or load) a model, score every training sample, and say which are suspicious.

    The verdict is a consensus of four detectors (transplant, pattern, mixture, second_opinion), all in the default
    set; the others are scores to compare with. Detectors that cannot run here are listed with the reason, the
    rest goes on.
    """
    from mspc_core import runs, scan_checks

    stored = _stored_name(source)
    config = runs.ScanConfig(
        source=source if stored else _absolute(source),
        dataset=stored or "",
        size=size,
        arch=arch,
        checkpoint=str(Path(model).expanduser().absolute()) if model else "",
        normalise=normalise,
        epochs=epochs,
        augment=augment,
        detectors=scan_checks.detector_names(detectors),
        mspc_preset=mspc,
        trusted=trusted,
        device=device,
        seed=seed,
    )
    scan_checks.check(config)
    if estimate:
        return _estimate(config, as_json)
    folder = Path(out).absolute() if out else None
    if existing := scan_checks.resumable(config, folder):
        print("resuming the run in this folder", file=sys.stderr)
        return _work(existing, as_json)
    from mspc_core.detectors.catalog import CATALOG
    from mspc_core.scanning import preflight, prepare_data

    # Before the run exists, so that a scan which cannot start leaves nothing behind.
    with progress_bar("reading images") as bar:
        data, config = prepare_data(config, bar)
    for name, reason in preflight(config, data).items():
        print(f"{CATALOG[name].title} cannot run: {printable(reason)}", file=sys.stderr)
    return _work(runs.create_run(config, folder), as_json)


@app.command()
def resume(run: Annotated[str, typer.Argument(help="Run id or folder.")], as_json: Json = False) -> int:
    """Go on with a cancelled or killed scan, retraining or map from its last finished stage."""
    from mspc_core.job_status import read_config
    from mspc_core.retrain.config import is_retraining
    from mspc_core.runs import open_run

    found = open_run(run)
    if read_config(found.folder).get("kind") == "map":
        check("map")
        return resume_map(found.folder, as_json)
    if is_retraining(found.folder):
        check("retrain")
        return resume_retraining(found.folder, as_json)
    return _work(found, as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Stored data sets, runs and retrainings."""
    from mspc_core.data.store import list_datasets
    from mspc_core.job_status import answers
    from mspc_core.runs import list_runs

    rows, retrainings = [], []
    for run in list_runs():
        retrainings += list_lines(run)
        try:
            status = run.status()
            quiet = {} if answers(status) else {"not_answering": True}
            rows.append({"run": run.id, "state": status.state, **quiet, **run.summary().get("verdict", {})})
        except InputError as error:
            rows.append({"run": run.id, "state": "damaged", "text": str(error)})
    sets = [{"dataset": i.name, "images": i.count, "classes": len(i.classes), "size": i.size} for i in list_datasets()]
    if as_json:
        print(json.dumps({"datasets": sets, "runs": rows, "retrainings": retrainings}, ensure_ascii=False))
        return
    for entry in sets:
        print(f"data set  {entry['dataset']}: {entry['images']} images, {entry['classes']} classes, {entry['size']} px")
    for row in rows:
        state = f"{row['state']}, not answering" if "not_answering" in row else row["state"]
        print(f"run       {row['run']}: {state}; {printable(row.get('text', 'no verdict yet'))}")
    for row in retrainings:
        print(f"retrain   {row['retraining']}: {row['state']}; {printable(row['text'])}")


@app.command(hidden=True)
def work(folder: str) -> int:
    """The worker process of a job folder (started by the app)."""
    from mspc_core.work import work_on

    if hasattr(os, "nice"):
        os.nice(5)  # whoever clicks in the app meanwhile goes first
    return _status_code(work_on(Path(folder), together=True).state)


def _estimate(config: ScanConfig, as_json: bool) -> int:
    from mspc_core.estimating.estimate import data_of, estimate

    found = estimate(config, data_of(config))
    print(json.dumps(found.as_json(), ensure_ascii=False) if as_json else "\n".join(estimate_lines(found.as_json())))
    return 0


def _work(run: Run, as_json: bool) -> int:
    from mspc_core import jobs
    from mspc_core.work import work_on

    (run.folder / "cancel").unlink(missing_ok=True)
    with progress_bar("scanning") as bar:

        def show(status: jobs.JobStatus) -> None:
            bar(round(1000 * status.progress), 1000, f"{status.stage} · {status.message}")

        status = work_on(run.folder, on_progress=show, together=True)
    if status.state == "failed":
        raise InputError(f"{status.error} (run folder: {run.folder})")
    if status.state == "cancelled":
        print(f"Cancelled; `python -m mspc_core resume {run.folder}` goes on from there.", file=sys.stderr)
        return EXIT_CANCELLED
    summary = run.summary()
    if as_json:
        print(json.dumps({"run": str(run.folder), **summary}, ensure_ascii=False))
    else:
        print_summary(run.folder, summary)
    return 0


def _stored_name(source: str) -> str | None:
    from mspc_core import home
    from mspc_core.runs import DEMO

    if source == DEMO or "/" in source or Path(source).exists():  # a path that exists wins over a name
        return None
    return source if (home.datasets_folder() / source / "dataset.json").is_file() else None


def _absolute(source: str) -> str:
    """Paths are made absolute, because the job may run elsewhere; names stay names."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source


def _status_code(state: str) -> int:
    return {"finished": 0, "cancelled": EXIT_CANCELLED}.get(state, EXIT_BAD_INPUT)
