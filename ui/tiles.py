"""Samples of a run as tiles of a gallery."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ui import filters
from ui.evidence import name_of
from ui.gallery import Tile
from ui.text import short
from ui.theme import BACKDOOR, CLEAN, FLAGGED

DECISION_TONES = {"keep": "#00795A", "remove": "#C24E00", "unsure": "#6B5BA5"}


def sample_tiles(
    scores: pd.DataFrame,
    chosen: np.ndarray,
    classes: list[str],
    detector: str,
    *,
    truth: np.ndarray | None = None,
    decided: Mapping[int, str] | np.ndarray | None = None,
    mark_flags: bool = True,
) -> list[Tile]:
    """Samples in a gallery: predicted class and score below; framed by decision, else by truth, else where flagged.

    chosen: positions in the table; truth, decided: of all samples [N], or None to leave them out; decisions may also
    be those of the chosen positions alone.
    """
    rows = scores.iloc[chosen]
    flagged = filters.flags_of(rows, detector) & mark_flags
    values = (
        rows[f"{detector}_score"].to_numpy(dtype=float) if f"{detector}_score" in rows else np.full(len(rows), np.nan)
    )
    tiles = []
    columns = (rows[name].tolist() for name in ("sample_id", "path", "label", "predicted"))
    for place, (identity, path, label, predicted) in enumerate(zip(*columns, strict=True)):
        badge, tone = "", FLAGGED if flagged[place] else ""
        if truth is not None:
            badge, tone = ("backdoor", BACKDOOR) if truth[chosen[place]] else ("clean", CLEAN)
        if decided is not None and decided[chosen[place]] in DECISION_TONES:
            badge = str(decided[chosen[place]])
            tone = DECISION_TONES[badge]
        shown = f"{values[place]:.2f}" if np.isfinite(values[place]) else "no score"
        hint = f"{short(path, 160)} · label {short(name_of(classes, label))} · {filters.title_of(detector)} {shown}"
        tiles.append(Tile(str(identity), name_of(classes, predicted), shown, badge, tone, hint=hint))
    return tiles


def class_tiles(rows: pd.DataFrame, classes: list[str]) -> list[Tile]:
    """Samples in a gallery, with no more than the predicted class below. rows: of the run's table."""
    columns = (rows[name].tolist() for name in ("sample_id", "predicted", "path"))
    return [
        Tile(str(identity), name_of(classes, int(predicted)), hint=str(path))
        for identity, predicted, path in zip(*columns, strict=True)
    ]
