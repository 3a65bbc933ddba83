"""The document of the comparison, written from result files alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mspc_core import atomic
from mspc_core.bench import targets
from mspc_core.bench.figures import Figure, Row, by_cell, columns, figure, of_detector, over_cells, shown
from mspc_core.bench.work import CONSENSUS
from mspc_core.detectors.catalog import CATALOG
from mspc_core.errors import InputError

_HEAD = """# Results

Written by `python -m mspc_core bench tables` from the files in `benchmarks/results/`; do not edit by hand.

Each figure is the mean ± sample standard deviation over the seeds in column *n*; each seed draws its own images,
poison, weights and batches. The best mean of a row is **bold**. Settings were chosen on attacks of the kinds marked
*tuned*, planted in the first 10,000 training images of CIFAR-10 (the rows draw their own). The feature mixture came
last: it was made because DFST was missed with seed 0, and worked out on seed 0 of tuned rows. Rows marked *held-out*,
and all other seeds, were not looked at while choosing. *Consensus* is the verdict: its samples are the suspects. A
detector marked † was given clean images, which the others do not get. A target counts as reached by the means of its
rows; where *n* is below three, that is an indication and no more.
"""


def read(path: Path) -> dict[str, Any]:
    """A result file of `bench detection`. Raises `InputError` for anything else."""
    try:
        found: dict[str, Any] = atomic.read_json(path)
        if found["benchmark"] == "detection" and isinstance(found["cells"], list):
            return found
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        pass
    raise InputError(f"{path} is no result file of `bench detection`.")


def document(results: Sequence[dict[str, Any]]) -> str:
    """The whole document in Markdown. results: as `read` gives them."""
    parts = [_HEAD]
    for result in results:
        parts += _section(result)
    return "\n".join(parts).rstrip() + "\n"


def _section(result: dict[str, Any]) -> list[str]:
    setting, rows = result["setting"], result["cells"]
    cells = by_cell(rows)
    names = columns(rows)
    attacked = {name: found for name, found in cells.items() if found[0]["attack"]}
    clean = {name: found for name, found in cells.items() if not found[0]["attack"]}
    parts = [
        f"## {setting['name']}: {result['data']['name']}, {_images(rows)} training images, {setting['arch']}\n",
        _circumstances(result),
    ]
    if not rows:
        return [*parts, "No cell has finished yet.\n"]
    parts += ["### Targets of the consensus verdict\n", targets.table(rows)]
    parts += ["### AUROC\n", _matrix(attacked, names, "auroc", max)]
    parts += ["### At each detector's own rule: true-positive rate / false-positive rate\n"]
    parts += ["Bold: the largest difference of the two.\n", _own_rule(attacked, names)]
    parts += ["### True-positive rate at 1 % false positives\n", _matrix(attacked, names, "tpr_at_1_fpr", max)]
    parts += ["### Clean data: share flagged by mistake\n", _clean(clean, names)]
    if any("cleaning" in row for row in rows):
        parts += ["### After removing the suspects and training again\n", _cleaning(cells)]
    parts += ["### Cost\n", _cost(rows, names)]
    reasons = _reasons(rows)
    if reasons:
        parts += ["### Not run\n", *(f"- {letter}: {reason}" for reason, letter in reasons.items()), ""]
    left = {**result.get("left_out", {}), **result.get("failed", {})}
    if left:
        parts += ["### Cells left out or failed\n", *(f"- {name}: {reason}" for name, reason in left.items()), ""]
    return parts


def _circumstances(result: dict[str, Any]) -> str:
    machines = {json.dumps(row["machine"], sort_keys=True): row["machine"] for row in result["cells"]}
    where = "; ".join(
        f"{one['accelerator'] or one['processor']}, {one['cores']} cores, {one['threads']} "
        f"thread{'s' if one['threads'] != 1 else ''} a cell"
        for one in machines.values()
    )
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items() if name != "platform")
    return f"`{result['command']}`\n\nComputed on: {where or 'nothing yet'} (shared with other work). {versions}.\n"


def _images(rows: Sequence[Row]) -> str:
    counts = sorted({row["scanned"] for row in rows})
    return " to ".join(f"{count:,}" for count in dict.fromkeys([counts[0], counts[-1]])) if counts else "0"


def _matrix(cells: dict[str, list[Row]], names: Sequence[str], key: str, better: Callable[..., float]) -> str:
    """Cells down, detectors across; then the mean of each half."""
    reasons = _reasons([row for rows in cells.values() for row in rows])
    lines = []
    for cell, rows in cells.items():
        found = {name: of_detector(rows, name, key) for name in names}
        best = _best({name: one.mean for name, one in found.items() if one}, better)
        texts = [_entry(rows, name, shown(found[name], len(rows)), name in best, reasons) for name in names]
        lines.append([cell, rows[0]["half"], str(len(rows)), *texts])
    for half, group in _halves(cells).items():
        means = {name: over_cells(group, lambda rows, n=name: of_detector(rows, n, key)) for name in names}  # type: ignore[misc]
        best = _best({name: one.mean for name, one in means.items() if one}, better)
        texts = [_bold(f"{one.mean:.3f}" if one else "–", name in best) for name, one in means.items()]
        lines.append([f"*mean, {half}*", "", f"{len(group)} cells", *texts])
    return _table(["attack", "half", "n", *(_title(name) for name in names)], lines)


def _own_rule(cells: dict[str, list[Row]], names: Sequence[str]) -> str:
    reasons = _reasons([row for rows in cells.values() for row in rows])
    lines = []
    for cell, rows in cells.items():
        rates = {name: (of_detector(rows, name, "tpr"), of_detector(rows, name, "fpr")) for name in names}
        best = _best({name: hit.mean - false.mean for name, (hit, false) in rates.items() if hit and false}, max)
        texts = [
            _entry(rows, name, " / ".join(shown(one, len(rows)) for one in rates[name]), name in best, reasons)
            for name in names
        ]
        lines.append([cell, rows[0]["half"], str(len(rows)), *texts])
    for half, group in _halves(cells).items():
        both: dict[str, tuple[Figure, Figure]] = {}
        for name in names:
            hit = over_cells(group, lambda rows, n=name: of_detector(rows, n, "tpr"))  # type: ignore[misc]
            false = over_cells(group, lambda rows, n=name: of_detector(rows, n, "fpr"))  # type: ignore[misc]
            if hit and false:
                both[name] = (hit, false)
        best = _best({name: hit.mean - false.mean for name, (hit, false) in both.items()}, max)
        texts = [
            _bold(f"{both[name][0].mean:.3f} / {both[name][1].mean:.3f}", name in best) if name in both else "–"
            for name in names
        ]
        lines.append([f"*mean, {half}*", "", f"{len(group)} cells", *texts])
    return _table(["attack", "half", "n", *(_title(name) for name in names)], lines)


def _clean(cells: dict[str, list[Row]], names: Sequence[str]) -> str:
    reasons = _reasons([row for rows in cells.values() for row in rows])
    lines = []
    for cell, rows in cells.items():
        found = {name: of_detector(rows, name, "flagged_share") for name in names}
        best = _best({name: one.mean for name, one in found.items() if one}, min)
        texts = [_entry(rows, n, shown(found[n], len(rows), percent=True), n in best, reasons) for n in names]
        calm = sum(row["verdict"]["level"] == "no_evidence" for row in rows)
        accuracy = shown(figure(row["accuracy"] for row in rows), len(rows), percent=True)
        lines.append([cell, rows[0]["half"], str(len(rows)), accuracy, f"{calm} of {len(rows)}", *texts])
    heads = ["data", "half", "n", "accuracy", 'verdict "no evidence"', *(_title(name) for name in names)]
    return _table(heads, lines)


def _cleaning(cells: dict[str, list[Row]]) -> str:
    lines = []
    for cell, rows in cells.items():
        done = [row for row in rows if "cleaning" in row]
        if not done:
            continue
        count = len(done)

        dropped = sum(row["cleaning"]["verdict"]["dropped"] for row in done) / count
        parts: list[list[dict[str, Any]]] = [
            done,
            [row["cleaning"]["verdict"] for row in done],
            [row["cleaning"]["reference"] for row in done],
        ]
        measured = [
            shown(figure(entry[key] for entry in part), count, percent=True)
            for part in parts
            for key in ("accuracy", "attack_success_rate")
        ]
        sizes = [f"{dropped:.0f}", f"{sum(row['poisoned'] for row in done) / count:.0f}"]
        times = "/".join(str(one) for one in sorted({row.get("trainings", 1) for row in done}))
        lines.append([cell, rows[0]["half"], str(count), times, *measured[:2], *sizes, *measured[2:]])
    heads = ["data", "half", "n", "trainings", "accuracy", "ASR", "suspects", "poisoned", "accuracy after", "ASR after"]
    note = (
        "*Truly clean part*: the same training without any poisoned sample (ground truth, here only). Its ASR is how "
        "often the trigger moves a model that never met it; with random labels every mistake counts. *Trainings*: how "
        "many, with seeds of their own, were made for each figure after cleaning; their mean counts. One alone tells "
        "little: those that differ by their seed, or by one image, differ by about half a point of accuracy.\n\n"
    )
    return note + _table([*heads, "accuracy, truly clean part", "ASR, truly clean part"], lines)


def _cost(rows: Sequence[Row], names: Sequence[str]) -> str:
    lines = []
    for name in names:
        passes = of_detector(rows, name, "forward_equivalents_per_image")
        seconds = of_detector(rows, name, "seconds")
        if passes is None or seconds is None or name == CONSENSUS:
            continue
        lines.append(
            [_title(name), f"{passes.mean:.1f} ({passes.smallest:.1f} to {passes.largest:.1f})", f"{seconds.mean:.0f}"]
        )
    note = "Seconds are those of this machine, which was shared; they compare nothing beyond it.\n\n"
    return note + _table(["detector", "forward-equivalents an image, mean (range)", "seconds, mean"], lines)


def _reasons(rows: Sequence[Row]) -> dict[str, str]:
    """Each reason for not running, with its letter."""
    found = list(dict.fromkeys(f"{_title(name)}: {why}" for row in rows for name, why in row["not_run"].items()))
    return {reason: _letter(number) for number, reason in enumerate(found)}


def _letter(number: int) -> str:
    return chr(97 + number) if number < 26 else f"{chr(97 + number // 26 - 1)}{chr(97 + number % 26)}"


def _entry(rows: Sequence[Row], name: str, text: str, best: bool, reasons: dict[str, str]) -> str:
    """A figure, or why there is none."""
    why = [f"{_title(name)}: {row['not_run'][name]}" for row in rows if name in row["not_run"]]
    if why and not any(name in row["detectors"] for row in rows):
        return f"not run ({', '.join(dict.fromkeys(reasons[one] for one in why))})"
    return _bold(text, best)


def _halves(cells: dict[str, list[Row]]) -> dict[str, list[list[Row]]]:
    """Half → its cells; undertrained models have rows of their own but count in no mean."""
    counted = [rows for rows in cells.values() if "poor" not in rows[0]["groups"]]
    halves = sorted({rows[0]["half"] for rows in counted}, reverse=True)
    return {half: [rows for rows in counted if rows[0]["half"] == half] for half in halves}


def _best(values: dict[str, float], better: Callable[..., float]) -> set[str]:
    """Names whose value is the best at the precision shown; none where there is nothing to compare."""
    if len(values) < 2:
        return set()
    winner = round(better(values.values()), 3)
    return {name for name, value in values.items() if round(value, 3) == winner}


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def _title(name: str) -> str:
    if name == CONSENSUS:
        return "Consensus"
    if name not in CATALOG:
        return name
    return CATALOG[name].title + ("†" if CATALOG[name].needs.clean_data else "")


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    if not lines:
        return "Nothing has been computed for this table.\n"
    rule = ["---"] * len(heads)
    cleaned = ([cell.replace("|", "\\|") for cell in line] for line in (heads, rule, *lines))
    return "\n".join(f"| {' | '.join(line)} |" for line in cleaned) + "\n"
