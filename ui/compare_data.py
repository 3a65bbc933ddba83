"""Finished runs as comparable rows, and the tables and files made of them. Pure functions on plain values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.runs import ScanConfig
from ui.detector_facts import ordered_names, title_of
from ui.text import percent, short

if TYPE_CHECKING:
    import pandas as pd

VERDICT = "verdict"  # the suspects of the verdict, as a column beside the detectors
UNKNOWN_TRUTH, CLEAN_DATA = "truth unknown", "clean data"
# Figure → (words, is low good?). The first four need the truth.
FIGURES: dict[str, tuple[str, bool]] = {
    "auroc": ("AUROC", False),
    "tpr": ("TPR", False),
    "fpr": ("FPR", True),
    "tpr_at_1_fpr": ("TPR at 1 % FPR", False),
    "flagged": ("Share flagged", True),
}


@dataclass(frozen=True)
class Figures:
    """Of one detector in one run. flagged: share of the scanned images. The others are None where the truth is unknown
    or only one kind of image is there (then FPR or TPR may still stand). forwards: equivalents per image."""

    flagged: float
    auroc: float | None = None
    average_precision: float | None = None
    tpr: float | None = None
    fpr: float | None = None
    tpr_at_1_fpr: float | None = None
    seconds: float | None = None
    forwards: float | None = None


@dataclass(frozen=True)
class RunFacts:
    """One run in a comparison. All names are untrusted text. attack: name, `clean data` or `truth unknown`.
    rate, accuracy, success: shares, None where unknown. figures: by detector, with the verdict as `VERDICT`."""

    id: str
    label: str
    data: str
    source: str
    attack: str
    rate: float | None
    mode: str
    target: str
    arch: str
    seed: int
    level: str
    suspects: int
    scanned: int
    accuracy: float | None
    success: float | None
    figures: dict[str, Figures] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        """Attack with rate and label mode: runs with equal settings are averaged in the heat map."""
        if self.rate is None:
            return self.attack
        mode = "" if self.mode in ("", "all-to-one", "clean") else f" {self.mode}"
        digits = 0 if abs(100 * self.rate - round(100 * self.rate)) < 1e-9 else 2
        return f"{self.attack}{mode} {percent(self.rate, digits)}"

    @property
    def lab(self) -> bool:
        """Is the truth known?"""
        return self.attack != UNKNOWN_TRUTH


def facts_of(
    run_id: str,
    label: str,
    config: ScanConfig,
    summary: dict[str, Any],
    flags: dict[str, np.ndarray],
    truth: np.ndarray | None,
) -> RunFacts:
    """A run's row. flags: detector (and `VERDICT`) → bool [N] of what it flags; truth: bool [N] or None."""
    data, model = summary.get("dataset") or {}, summary.get("model") or {}
    verdict, recipe = summary.get("verdict") or {}, data.get("recipe") or {}
    classes, target = [str(name) for name in data.get("classes") or []], recipe.get("target_class")
    attack = UNKNOWN_TRUTH
    if truth is not None:
        attack = str(recipe.get("attack") or "known backdoors") if truth.any() else CLEAN_DATA
    scanned = int(data.get("scanned") or next((len(found) for found in flags.values()), 0))
    return RunFacts(
        id=run_id,
        label=label,
        data=str(data.get("name") or config.dataset),
        source=str(data.get("source") or config.source),
        attack=attack,
        rate=float(recipe["rate"]) if attack not in (UNKNOWN_TRUTH, CLEAN_DATA) and recipe.get("rate") else None,
        mode=str(recipe.get("label_mode") or ""),
        target=classes[target] if isinstance(target, int) and 0 <= target < len(classes) else "",
        arch=str(model.get("arch") or config.arch),
        seed=config.seed,
        level=str(verdict.get("level") or "unknown"),
        suspects=int(verdict.get("flagged") or 0),
        scanned=scanned,
        accuracy=model.get("val_accuracy"),
        success=model.get("attack_success_rate"),
        figures={
            name: _figures(found, truth, (summary.get("detectors") or {}).get(name) or {})
            for name, found in flags.items()
        },
        not_run={str(name): str(reason) for name, reason in (summary.get("not_run") or {}).items()},
    )


def _figures(flagged: np.ndarray, truth: np.ndarray | None, record: dict[str, Any]) -> Figures:
    metrics, total = record.get("metrics") or {}, max(1, len(flagged))
    forwards = record.get("forward_equivalents")
    return Figures(
        flagged=float(flagged.mean()) if len(flagged) else 0.0,
        auroc=metrics.get("auroc"),
        average_precision=metrics.get("average_precision"),
        tpr=float(flagged[truth].mean()) if truth is not None and truth.any() else None,
        fpr=float(flagged[~truth].mean()) if truth is not None and not truth.all() else None,
        tpr_at_1_fpr=metrics.get("tpr_at_1_fpr"),
        seconds=record.get("seconds"),
        forwards=None if forwards is None else float(forwards) / total,
    )


def detectors_of(rows: list[RunFacts]) -> list[str]:
    """All detectors of these runs, in the order of every other page, the verdict last."""
    names = {name for row in rows for name in row.figures}
    return ordered_names(names - {VERDICT}) + ([VERDICT] if VERDICT in names else [])


def column_title(name: str) -> str:
    """A detector's title, or the verdict's."""
    return "Verdict" if name == VERDICT else title_of(name)


def value_of(row: RunFacts, detector: str, figure: str) -> float | None:
    """One figure of one detector in one run, or None."""
    found = row.figures.get(detector)
    value: float | None = getattr(found, figure) if found else None
    return value


def run_table(rows: list[RunFacts], figure: str) -> pd.DataFrame:
    """One row a run: what it scanned, its verdict, accuracy and attack success, then one column a detector that has
    this figure in any run."""
    import pandas as pd

    names = [name for name in detectors_of(rows) if any(value_of(row, name, figure) is not None for row in rows)]
    table = []
    for row in rows:
        table.append(
            {
                "run": short(row.label, 60),
                "attack": short(row.setting, 40),
                "seed": row.seed,
                "verdict": row.level.replace("_", " "),
                "suspects": row.suspects,
                "ASR": row.success,
                **{column_title(name): value_of(row, name, figure) for name in names},
                "accuracy": row.accuracy,
                "model": short(row.arch, 30),
            }
        )
    found = pd.DataFrame(table)
    for name in ("accuracy", "ASR", *(column_title(name) for name in names)):
        found[name] = found[name].astype(float)
    return found


def grid(rows: list[RunFacts], figure: str) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Settings [A], detectors [D], the mean of a figure over the runs of a setting (float [A, D], NaN where there is
    none) and from how many runs it comes (int [A, D])."""
    settings, names = list(dict.fromkeys(row.setting for row in rows)), detectors_of(rows)
    means, counts = np.full((len(settings), len(names)), np.nan), np.zeros((len(settings), len(names)), dtype=int)
    for a, setting in enumerate(settings):
        for d, name in enumerate(names):
            values = [value_of(row, name, figure) for row in rows if row.setting == setting]
            known = [value for value in values if value is not None]
            counts[a, d] = len(known)
            if known:
                means[a, d] = float(np.mean(known))
    kept = np.flatnonzero(counts.any(axis=0))
    return settings, [names[d] for d in kept], means[:, kept], counts[:, kept]


def long_table(rows: list[RunFacts]) -> pd.DataFrame:
    """For the download: one row for each run and detector, with every figure; also why one was not run."""
    import pandas as pd

    table = []
    for row in rows:
        about = {key: value for key, value in asdict(row).items() if key not in ("figures", "not_run")}
        for name in detectors_of([row]):
            table.append({**about, "detector": name, **asdict(row.figures[name]), "not_run": ""})
        for name in ordered_names(row.not_run):
            table.append({**about, "detector": name, "not_run": row.not_run[name]})
    return pd.DataFrame(table)


def as_json(rows: list[RunFacts]) -> bytes:
    """The same as JSON, one object a run; unknown figures are null."""
    return json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False).encode("utf-8", "replace")
