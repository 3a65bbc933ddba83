"""What the consensus verdict was meant to reach, beside what it reached."""

from __future__ import annotations

from collections.abc import Sequence

from mspc_core.bench.figures import Row, by_cell, figure, of_detector
from mspc_core.bench.work import CONSENSUS

_RANDOM = "random"  # every mistake counts as a success of this attack, so that its ASR cannot fall to 2 %


def table(rows: Sequence[Row]) -> str:
    """Markdown: each target, the measured figure (means over seeds) and whether it was reached."""
    cells = by_cell(rows)
    lines = ["| target | measured | over | reached |", "| --- | --- | --- | --- |"]

    def add(text: str, found: dict[str, float], value: float | None, reached: bool, form: str = "{:.3f}") -> None:
        if value is not None and found:
            over = f"{len(found)} cells" if len(found) > 3 else ", ".join(found)
            lines.append(f"| {text} | {form.format(value)} | {over} | {'yes' if reached else '**no**'} |")

    tpr = _means(cells, "tpr", "paper")
    value = sum(tpr.values()) / len(tpr) if tpr else None
    add("paper's attacks: mean TPR ≥ 0.98", tpr, value, bool(value is not None and value >= 0.98))
    fpr = _means(cells, "fpr", "paper")
    value = sum(fpr.values()) / len(fpr) if fpr else None
    add("paper's attacks: mean FPR ≤ 0.01", fpr, value, bool(value is not None and value <= 0.01))
    for group, text in (("hard", "warp, all-to-all, untargeted"), ("rare", "1 % poison")):
        found = _means(cells, "tpr", group)
        value = min(found.values(), default=None)
        add(f"{text}: lowest TPR ≥ 0.90", found, value, bool(value is not None and value >= 0.9))
    calm = _means(cells, "flagged_share", "clean")
    value = max(calm.values(), default=None)
    add("clean data: at most 0.5 % flagged", calm, value, bool(value is not None and value <= 0.005), "{:.2%}")
    quiet = {name: float(all(r["verdict"]["level"] == "no_evidence" for r in cells[name])) for name in calm}
    value = min(quiet.values(), default=None)
    add('clean data: verdict "no evidence" for every seed', quiet, value, value == 1.0, "{:.0f}")

    attacked = {
        name: [row for row in found if "cleaning" in row]
        for name, found in cells.items()
        if found[0]["attack"] and "poor" not in found[0]["groups"]
    }
    left = {
        name: one.mean
        for name, found in attacked.items()
        if (one := figure(row["cleaning"]["verdict"]["attack_success_rate"] for row in found))
        and found[0]["label_mode"] != _RANDOM
    }
    value = max(left.values(), default=None)
    add("after cleaning: highest ASR ≤ 2 %", left, value, bool(value is not None and value <= 0.02), "{:.1%}")
    lost = {name: one.mean for name, found in attacked.items() if (one := figure(map(_lost, found)))}
    value = max(lost.values(), default=None)
    reached = bool(value is not None and value <= 0.005)
    add("after cleaning: at most 0.5 points below the truly clean part", lost, value, reached, "{:.2%}")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "No cell of these groups has finished yet.\n"


def _means(cells: dict[str, list[Row]], key: str, group: str) -> dict[str, float]:
    """Cell → mean over its seeds of a figure of the consensus, for the cells in a group."""
    chosen = {name: rows for name, rows in cells.items() if group in rows[0]["groups"]}
    figures = {name: of_detector(rows, CONSENSUS, key) for name, rows in chosen.items()}
    return {name: one.mean for name, one in figures.items() if one}


def _lost(row: Row) -> float | None:
    """Accuracy below that of the truly clean part, in 0 … 1; negative if above."""
    verdict, reference = row["cleaning"]["verdict"]["accuracy"], row["cleaning"]["reference"]["accuracy"]
    return None if verdict is None or reference is None else float(reference - verdict)
