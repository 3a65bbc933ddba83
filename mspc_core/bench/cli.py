"""`python -m mspc_core bench …`: the comparison of detectors over attacks, and its tables."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mspc_core.console import printable, progress_bar
from mspc_core.errors import InputError

app = typer.Typer(rich_markup_mode=None, help="Compare detectors over attacks; write the tables.")


@app.command()
def detection(
    data: Annotated[str, typer.Option(help="Clean data: a stored set, or anything `import` takes.")],
    setting: Annotated[
        str, typer.Option(help="cpu (10,000 images, small-cnn), gpu (50,000, resnet18), gpu-vit.")
    ] = "cpu",
    attacks: Annotated[
        str, typer.Option(help="Cells, attacks or groups (paper, hard, rare, clean, poor); empty: all.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0,1,2",
    detectors: Annotated[str, typer.Option(help="Comma-separated; all and default stand for sets.")] = "all",
    mspc: Annotated[str, typer.Option(help="fast, or paper for the published settings.")] = "fast",
    trusted: Annotated[str, typer.Option(help="Split for detectors that need clean data; empty: none.")] = "test",
    arch: Annotated[str, typer.Option(help="Another architecture than the setting's, such as tiny-vit.")] = "",
    epochs: Annotated[int, typer.Option(min=0, help="Other than the setting's; 0 keeps them.")] = 0,
    train: Annotated[int, typer.Option(min=0, help="Training images a seed; 0 keeps the setting's.")] = 0,
    device: Annotated[str, typer.Option(help="Other than the setting's: auto, cpu, cuda.")] = "",
    size: Annotated[int, typer.Option(help="Image side when the data still have to be imported.")] = 32,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time; several get one thread each.")] = 1,
    cleaning: Annotated[bool, typer.Option(help="Also train again without the suspects.")] = True,
    trainings: Annotated[int, typer.Option(min=1, help="How often, with other seeds; their mean counts.")] = 1,
    redo: Annotated[str, typer.Option(help="Detectors (or verdict) to compute again in finished cells.")] = "",
    add: Annotated[bool, typer.Option("--add", help="Keep the file's rows; add the detectors they lack.")] = False,
    out: Annotated[str, typer.Option(help="Result file.")] = "",
    document: Annotated[str, typer.Option(help="The tables, as Markdown; empty: none.")] = "docs/results.md",
    home: Annotated[str, typer.Option(help="Where data and runs are kept between calls.")] = "",
) -> int:
    """Attack × detector × seed, resumable; writes a result file after every cell, and the tables."""
    from mspc_core import home as places
    from mspc_core import runs, scan_checks
    from mspc_core.bench import plan, run, tables
    from mspc_core.bench.work import Task

    if setting not in plan.SETTINGS:
        raise InputError(f"Settings are {', '.join(plan.SETTINGS)}; not {setting!r}.")
    base = plan.SETTINGS[setting]
    chosen = replace(
        base,
        arch=arch or base.arch,
        epochs=epochs or base.epochs,
        train=train or base.train,
        device=device or base.device,
    )
    label = setting + (f"-{arch}" if arch and arch != base.arch else "")
    path = Path(out or f"benchmarks/results/detection-{label}.json").absolute()
    names = scan_checks.detector_names(detectors)
    scan_checks.check(runs.ScanConfig(source="bench", detectors=names, trusted=trusted, mspc_preset=mspc))
    numbers = _seeds(seeds)
    cells, left_out = plan.choose(_parts(attacks))
    for name, reason in left_out.items():
        print(f"{name}: left out, {printable(reason)}", file=sys.stderr)

    place = Path(home).absolute() if home else places.home() / "bench"
    stored = "/" not in data and (places.datasets_folder() / data / "dataset.json").is_file()
    with run.home_at(places.home() if stored else place), progress_bar("reading images") as bar:
        whole = run.open_source(data, size, bar)
    about: dict[str, Any] = {
        "benchmark": "detection",
        "command": f"python -m mspc_core bench detection --data {whole.info.name} --setting {setting}"
        + "".join(f" --{k} {v}" for k, v in (("arch", arch), ("epochs", epochs), ("train", train)) if v)
        + f" --seeds {seeds} --detectors {detectors} --mspc {mspc}",
        "data": {"name": whole.info.name, "content_key": whole.info.content_key, "classes": len(whole.info.classes)},
        "setting": asdict(chosen),
        "versions": runs.versions(),
        "left_out": left_out,
        "failed": {},
    }
    if path.is_file():
        run.check_same(path, tables.read(path), about)
    with run.home_at(place):
        clean = {seed: run.subset(whole, chosen, seed) for seed in numbers}
        tasks: dict[Path, Task] = {}
        for cell, seed in plan.in_order(cells, numbers):
            task = Task(cell, seed, chosen, str(clean[seed].root), names, trusted, cleaning, mspc, trainings)
            tasks[run.prepare(task, clean[seed].info.content_key, _parts(redo))] = task
        open_ones = [folder for folder in tasks if run.finished_row(folder) is None]
        print(f"{len(tasks)} cells, {len(tasks) - len(open_ones)} finished before", flush=True)

        def ended(folder: Path, problem: str) -> None:
            task = tasks[folder]
            if problem:
                about["failed"][f"{task.cell.name}, seed {task.seed}"] = problem
            run.gather(path, about, plan.CELLS, numbers, tasks, add=add)
            row = run.finished_row(folder)
            text = row["verdict"]["text"] if row else f"failed, {problem}"
            print(f"seed {task.seed}, {task.cell.name}: {printable(text)}", flush=True)

        run.run_cells(open_ones, jobs, ended)
        run.gather(path, about, plan.CELLS, numbers, tasks, add=add)
    print(f"results: {path}")
    if document:
        beside = sorted(path.parent.glob("detection-*.json")) if path.name.startswith("detection-") else []
        write_document(beside or [path], Path(document))
    return 2 if about["failed"] else 0


@app.command()
def speed(
    data: Annotated[str, typer.Option(help="Clean data: a stored set, or anything `import` takes.")],
    setting: Annotated[
        str,
        typer.Option(help="cpu (1,000 and 10,000 images, small-cnn) or gpu (50,000 and 100,000 at 224 px, resnet18)."),
    ] = "cpu",
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0,1,2",
    counts: Annotated[str, typer.Option(help="Numbers of images other than the setting's, comma-separated.")] = "",
    whole: Annotated[
        int,
        typer.Option(help="Run the published loop as a whole up to this many images; -1: the setting's 1,000 or 0."),
    ] = -1,
    turns: Annotated[int, typer.Option(min=1, help="Of what is measured in turns.")] = 5,
    training: Annotated[bool, typer.Option(help="Also time training, beside a plain loop.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    size: Annotated[int, typer.Option(help="Image side when the data still have to be imported.")] = 32,
    out: Annotated[str, typer.Option(help="Result file; what it holds is not measured again.")] = "",
    document: Annotated[str, typer.Option(help="The page with the tables; empty: none.")] = "docs/performance.md",
    home: Annotated[str, typer.Option(help="Where data are kept between calls.")] = "",
) -> int:
    """What a scan costs, beside bare forwards and beside the published loop (run from the project's folder)."""
    from importlib import import_module

    from mspc_core import home as places
    from mspc_core.bench import run

    try:  # no part of the product, which never needs it otherwise
        measured, speed_table = import_module("benchmarks.speed"), import_module("benchmarks.speed_table")
    except ImportError as error:
        if not (error.name or "").startswith("benchmarks"):
            raise
        raise InputError("The published loop lives in the project's folder benchmarks/: run this from there.") from None
    if setting not in measured.SETTINGS:
        raise InputError(f"Settings are {', '.join(measured.SETTINGS)}; not {setting!r}.")
    cells = measured.SETTINGS[setting]
    if counts:
        cells = tuple(replace(cells[0], count=number) for number in _seeds(counts, "--counts"))
    if whole >= 0:
        cells = tuple(replace(cell, whole=whole) for cell in cells)
    plan = measured.Plan(cells, tuple(_seeds(seeds)), turns, device)
    plan = plan if training else replace(plan, trainings=())
    path = Path(out or f"benchmarks/results/speed-{setting}.json").absolute()
    place = Path(home).absolute() if home else places.home() / "bench"
    with run.home_at(place), progress_bar("reading images") as bar:
        images = run.open_source(data, size, bar)
    about = {
        "benchmark": "speed",
        "command": f"python -m mspc_core bench speed --data {images.info.name} --setting {setting} --seeds {seeds}"
        + (f" --counts {counts}" if counts else "")
        + (f" --whole {whole}" if whole >= 0 else "")
        + f" --turns {turns}",
        "data": {"name": images.info.name, "content_key": images.info.content_key, "classes": len(images.info.classes)},
        "attack": {"name": "badnets", "config": asdict(measured.ATTACK), "rate": measured.RATE},
    }
    with run.home_at(place):
        result = measured.measure(plan, images, place / "made-up", path, about)
    print(f"results: {path}")
    if document:
        speed_table.write(Path(document), result)
        print(f"tables: {document}")
    return 0


@app.command("tables")
def tables_(
    results: Annotated[list[Path], typer.Argument(help="Result files of `bench detection`.")],
    out: Annotated[Path, typer.Option(help="The document to write.")] = Path("docs/results.md"),
) -> None:
    """Write the document again from result files; nothing is computed."""
    write_document(results, out)


@app.command(hidden=True)
def cell(folder: Path) -> None:
    """One cell's process (started by `detection`)."""
    from mspc_core.bench.work import run_cell

    run_cell(folder)


def write_document(results: list[Path], out: Path) -> None:
    """The tables of these results as Markdown in `out`. Raises `InputError` for a file that is no result."""
    from mspc_core import atomic
    from mspc_core.bench import tables

    text = tables.document([tables.read(path) for path in results])
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(out.absolute(), text.encode())
    print(f"tables: {out}")


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seeds(text: str, option: str = "--seeds") -> list[int]:
    parts = _parts(text)
    if not parts or not all(part.isdecimal() for part in parts):
        raise InputError(f"{option} takes whole numbers from 0, separated by commas, not {text!r}.")
    return [int(part) for part in dict.fromkeys(parts)]
