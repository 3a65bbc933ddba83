"""Writes "What a scan costs" in docs/performance.md from benchmarks/results/speed-cpu.json.

python -m benchmarks.speed_table
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import markdown
from mspc_core import atomic

RESULT, PAGE = Path("benchmarks/results/speed-cpu.json"), Path("docs/performance.md")
START, END = markdown.marks("speed")
_Row = dict[str, Any]


def tables(result: dict[str, Any]) -> str:
    """Markdown: where and with what it was measured, targets, costs of each part, training. Medians over the seeds."""
    machine, versions = result["machine"], result["versions"]
    groups = [rows for _, rows in sorted(_by_cell(result["cells"]).items())]
    loads = [value for row in result["cells"] + result["training"] for value in row["load_at_start_and_end"]]
    lines = [
        f"`{result['command']}`",
        "",
        f"Measured on {machine['device']}, {result['unit']}, load average {min(loads):g} to {max(loads):g} on "
        f"{machine['cores']} cores: "
        + ", ".join(f"{name} {versions[name]}" for name in ("backdoor-lens", "python", "torch") if name in versions)
        + f". A matrix product reaches {result['matmul_tflops']:g} TFLOP/s here.",
        "",
        *markdown.head(["target", *map(_title, groups)]),
    ]
    for words, value in _TARGETS:
        lines.append(markdown.row([words, *(value(rows) for rows in groups)]))
    lines += [
        "",
        *markdown.head(["what", "images", "time", "forwards an image", "bytes read an image", "peak memory", "AUROC"]),
    ]
    for rows in groups:
        for words, key in _PARTS:
            if rows[0][key] is None:
                continue
            lines.append(markdown.row([words, _title(rows), *_costs(rows, key)]))
    lines += ["", *markdown.head(["precision", *map(_title, groups)])]
    for words, key in (
        ("predictions that bfloat16 changes", "changed_predictions"),
        ("images whose SPC score it changes", "changed_scores"),
        ("largest change of a score", "largest_change"),
    ):
        lines.append(markdown.row([words, *(f"{_middle(rows, 'precision', key):.2%}" for rows in groups)]))
    slower = [[row["published"]["float32_takes_times"] for row in rows] for rows in groups]
    if all(value for values in slower for value in values):
        cells = (f"{statistics.median(values):.1f} times" for values in slower)
        lines.append(markdown.row(["float32 takes, for the published loop (it is timed in bfloat16 above)", *cells]))
    if result["training"]:
        heads = ["training", "images", "goal", "our recipe", "plain loop", "ours is faster", "an epoch: ours", "plain"]
        lines += ["", *markdown.head(heads), *(markdown.row(_training(row)) for row in result["training"])]
    return "\n".join(lines)


def filled(page: str, result: dict[str, Any]) -> str:
    """The page with its tables replaced."""
    return markdown.filled(page, "speed", tables(result))


def write(path: Path, result: dict[str, Any]) -> None:
    """Put the tables into the page, if it has a place for them."""
    page = path.read_text(encoding="utf-8")
    if START in page:
        atomic.write_bytes(path.absolute(), filled(page, result).encode())


def _by_cell(rows: Sequence[_Row]) -> dict[tuple[int, int], list[_Row]]:
    found: dict[tuple[int, int], list[_Row]] = {}
    for row in rows:
        found.setdefault((row["cell"]["size"], row["cell"]["count"]), []).append(row)
    return found


def _title(rows: list[_Row]) -> str:
    cell = rows[0]["cell"]
    seeds = f", {len(rows)} seeds" if len(rows) > 1 else ""
    return f"{cell['count']:,} of {cell['size']} px, {cell['arch']}{seeds}"


def _middle(rows: list[_Row], *keys: str) -> float:
    return statistics.median(_at(row, keys) for row in rows)


def _at(row: _Row, keys: Sequence[str]) -> Any:
    found: Any = row
    for key in keys:
        found = found[key]
    return found


def _reached(value: float, goal: bool, text: str) -> str:
    return text if goal else f"**{text}**, missed"


def _scoring(rows: list[_Row]) -> str:
    value = _middle(rows, "scoring_to_bare")
    return _reached(value, value >= 0.95, f"{value:.2f}")


def _loop(rows: list[_Row]) -> str:
    value = _middle(rows, "mspc_faster_than_published")
    how = "" if all(row["published"]["whole"] for row in rows) else ", extrapolated"
    return _reached(value, value >= 20, f"{value:.0f} times{how}")


def _auroc(rows: list[_Row], key: str) -> str:
    pairs = [(row["mspc"]["auroc"], (row[key] or {}).get("auroc")) for row in rows]
    pairs = [pair for pair in pairs if None not in pair]
    if not pairs:
        return "not computed"
    ours, theirs = (statistics.fmean(column) for column in zip(*pairs, strict=True))
    seeds = f" ({len(pairs)} seed{'s' * (len(pairs) > 1)})"
    return _reached(ours, ours >= theirs, f"{ours:.3f} beside {theirs:.3f}") + seeds


def _transplant(rows: list[_Row]) -> str:
    value = _middle(rows, "transplant_adds")
    return _reached(value, value <= 0.3, f"{value:.0%}")


_TARGETS: tuple[tuple[str, Callable[[list[_Row]], str]], ...] = (
    ("scoring pass at ≥ 0.95 of bare forwards' speed", _scoring),
    ("whole MSPC scan ≥ 20 times as fast as the published loop", _loop),
    ("its mean AUROC no lower than the loop's", partial(_auroc, key="published")),
    ("… than that of the loop's schedule in our code", partial(_auroc, key="mspc_paper")),
    ("the transplant test adds ≤ 30 % to it", _transplant),
)
_PARTS = (
    ("scoring pass (prediction and 11 scales)", "scoring"),
    ("published MSPC loop", "published"),
    ("its schedule in our code", "mspc_paper"),
    ("our MSPC", "mspc"),
    ("transplant test", "transplant"),
)


def _costs(rows: list[_Row], key: str) -> list[str]:
    first = rows[0][key]
    images = first.get("images")
    time = f"{_middle(rows, key, 'seconds'):,.1f} s" + (f" ({images:,} images)" if images else "")
    if key == "published" and not all(row[key]["whole"] for row in rows):
        time += ", extrapolated"
    found = [time, f"{_middle(rows, key, 'forward_equivalents_per_image'):,.1f}"]
    for name, form in (("bytes_read_per_image", "{:,.0f}"), ("peak_memory_mib", "{:,.0f} MiB")):
        known = first.get(name) is not None
        found.append(form.format(_middle(rows, key, name)) if known else "–")
    values = [row[key].get("auroc") for row in rows]
    return [*found, "–" if None in values else f"{statistics.fmean(values):.4f}"]


def _training(row: _Row) -> list[str]:
    recipe, pace = row["recipe"], row["seconds_of_an_epoch"]
    faster = row["ours_faster"]
    return [
        recipe["arch"],
        f"{recipe['count']:,}",
        f"{recipe['goal']:.0%}",
        *(_goal(row[name]) for name in ("ours", "plain")),
        f"{faster:.1f} times" if faster else "–",
        *(f"{pace[name]:.1f} s" for name in ("ours", "plain")),
    ]


def _goal(found: dict[str, Any]) -> str:
    epochs = len(found["epochs"])
    if found["seconds_to_goal"] is None:
        seconds, accuracy = found["epochs"][-1]
        return f"not reached: {accuracy:.1%} after {epochs} epochs, {seconds:.0f} s"
    return f"{found['seconds_to_goal']:.0f} s, {epochs} epochs"


def main() -> None:
    write(PAGE, atomic.read_json(RESULT))


if __name__ == "__main__":
    main()
