"""What the detectors said of a sample when somebody decided on it, as it is kept with the decision."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_SCORE, _FLAGGED = "_score", "_flagged"


def evidence_of(scores: pd.DataFrame, positions: Sequence[int]) -> list[str]:
    """Compact JSON for each position of a table of scores: `scores` (detector → score, null where there is none), the
    detectors that `flagged` it, and whether the verdict names it a `suspect` (where there is a verdict)."""
    rows = scores.iloc[list(positions)]
    names = [str(name).removesuffix(_SCORE) for name in scores.columns if str(name).endswith(_SCORE)]
    values = {name: rows[name + _SCORE].tolist() for name in names}
    flagged = {name: rows[name + _FLAGGED].fillna(False).tolist() for name in names if name + _FLAGGED in rows}
    suspect = rows["suspect"].fillna(False).tolist() if "suspect" in rows else None
    found = []
    for place in range(len(rows)):
        entry: dict[str, Any] = {
            "scores": {name: _number(values[name][place]) for name in names},
            "flagged": [name for name in flagged if flagged[name][place]],
        }
        if suspect is not None:
            entry["suspect"] = bool(suspect[place])
        found.append(json.dumps(entry, separators=(",", ":"), allow_nan=False))
    return found


def read_evidence(text: str) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """Scores and flagged detectors out of `evidence_of`'s text; empty for text that is not such (older rows)."""
    try:
        found = json.loads(text)
        scores = {str(name): None if value is None else float(value) for name, value in found["scores"].items()}
        return scores, tuple(str(name) for name in found["flagged"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}, ()


def detector_version(config_versions: dict[str, str], summary: dict[str, Any]) -> str:
    """The product's version when the run was made, and a hash over each detector's settings and threshold:
    `0.1.0+3fa94c21b07e`. Two runs with the same text scored by the same rules."""
    detectors = summary.get("detectors") or {}
    settings = {
        str(name): {"config": record.get("config"), "threshold": (record.get("threshold") or {}).get("value")}
        for name, record in detectors.items()
    }
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), default=str)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{config_versions.get('backdoor-lens', 'unknown')[:40]}+{digest}"


def _number(value: Any) -> float | None:
    number = float(value) if value is not None else math.nan
    return float(f"{number:.6g}") if math.isfinite(number) else None
