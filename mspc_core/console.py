"""What the command line shows: a progress bar on stderr, results on stdout, text from data made safe."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mspc_core.errors import Progress

# True: a progress bar where one can be drawn; False: nothing; or a function of one's own: (done, total, message).
Bar = bool | Progress


def printable(text: object) -> str:
    """Text from data, made safe for a terminal: control and direction characters become visible replacements, so that
    a file name can neither move the cursor nor fake a line of output."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else c for c in str(text))


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Yields a progress function. Where stderr is neither a terminal nor a notebook, it prints nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    shown = sys.stderr.isatty() or console.is_jupyter  # rich draws in notebooks, too
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(title, total=None)

        def report(done: int, total: int, message: str) -> None:
            bar.update(task, completed=done, total=total, description=(message or title)[:60].replace("[", "("))

        yield report


@contextmanager
def shown(progress: Bar, title: str) -> Iterator[Progress]:
    """The progress function for one piece of work, by what the caller wants to see of it."""
    if progress is True:
        with progress_bar(title) as bar:
            yield bar
    elif progress is False:
        yield lambda done, total, message: None
    else:
        yield progress


def print_summary(folder: Path, summary: dict[str, Any]) -> None:
    """A finished scan in a few lines."""
    print("\n".join(summary_lines(folder, summary)))


def summary_lines(folder: Path, summary: dict[str, Any]) -> list[str]:
    """A finished scan in a few lines of text."""
    from mspc_core.detectors.catalog import CATALOG
    from mspc_core.verdict import MEMBERS

    lines = [f"verdict: {printable(summary['verdict']['text'])}"]
    if by := summary["verdict"].get("by"):
        lines.append(f"found by: {_titles(by)}")
    missing = [name for name in MEMBERS if name not in summary["detectors"]]
    if 0 < len(missing) < len(MEMBERS):
        lines.append(f"not part of the verdict: {_titles(missing)}")
    model = summary["model"]
    for name, key in (("training accuracy", "train_accuracy"), ("test accuracy", "val_accuracy")):
        if model.get(key) is not None:
            lines.append(f"{name}: {model[key]:.2%}")
    if model.get("attack_success_rate") is not None:
        lines.append(f"attack success rate: {model['attack_success_rate']:.2%}")
    for record in summary["detectors"].values():
        line = f"{record['title']}: {record['flagged']} of {summary['dataset']['scanned']} flagged"
        if record["metrics"]:
            m = record["metrics"]
            line += f"; AUROC {m['auroc']:.4f}, TPR {m['tpr']:.3f}, FPR {m['fpr']:.4f}"
        lines.append(f"{line}; {record['seconds']:.0f} s")
        lines += [f"  note: {printable(note)}" for note in record["notes"]]
    for name, reason in (summary.get("not_run") or {}).items():
        lines.append(f"{CATALOG[name].title if name in CATALOG else name}: not run, {printable(reason)}")
    lines += [f"note: {printable(note)}" for note in model.get("notes") or []]
    return [*lines, f"run folder: {folder}"]


def _titles(names: Iterable[str]) -> str:
    from mspc_core.detectors.catalog import CATALOG

    return ", ".join(facts.title for name, facts in CATALOG.items() if name in set(names))


def print_dataset(name: str, as_json: bool, reused: bool = False) -> None:
    """A stored data set and what was skipped, in words or as JSON."""
    from dataclasses import asdict

    from mspc_core.data.store import open_dataset

    dataset = open_dataset(name)
    info, skipped = dataset.info, dataset.skipped()
    if as_json:
        rows = skipped.to_dict("records")
        print(json.dumps({**asdict(info), "reused": reused, "skipped_files": rows}, ensure_ascii=False))
        return
    print(f"data set {info.name}: {info.count} images, {len(info.classes)} classes, {info.size} px")
    if reused:
        print("already stored: nothing had to be read again")
    if info.resized:
        print(f"resized to {info.size}×{info.size}: {info.resized} that had another size")
    if len(skipped):
        print(f"skipped {len(skipped)}:")
        for path, reason in skipped.head(20).itertuples(index=False):
            print(f"  {printable(path)}: {printable(reason)}")
        if len(skipped) > 20:
            print(f"  … and {len(skipped) - 20} more (skipped.parquet in {dataset.root})")


def estimate_lines(found: dict[str, Any]) -> list[str]:
    """What a scan will take, as `Estimate.as_json` says: a line a stage."""
    lines = [
        f"{found['images']:,} images of {found['image_size']} px, {found['classes']} classes, on {found['device']}",
        f"{'stage':<28}{'time':>12}{'passes an image':>18}{'memory':>12}",
    ]
    for stage in found["stages"]:
        low, expected, high = (count / max(1, found["images"]) for count in stage["forward_equivalents"])
        passes = "" if not high else f"{expected:.1f}" if low == high else f"{expected:.1f} ({low:.0f}–{high:.0f})"
        time, memory = duration(stage["seconds"]), f"{stage['memory_mib']:,} MiB"
        lines.append(f"{stage['title']:<28}{time:>12}{passes:>18}{memory:>12}")
    lines.append(f"{'together':<28}{duration(found['seconds']):>12}{'':>18}{found['memory_mib']['anonymous']:>8,} MiB")
    lines.append(
        f"and up to {found['memory_mib']['file']:,} MiB of mapped files, which the system takes back when it needs them"
    )
    if found["device_mib"] is not None:
        lines.append(f"memory of the accelerator: {found['device_mib']:,} MiB")
    return lines + [f"{name} cannot run: {printable(reason)}" for name, reason in found["not_run"].items()]


def duration(seconds: float) -> str:
    """About how long, for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
