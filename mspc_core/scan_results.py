"""What a scan writes: the table of scores, the figures where the truth is known, and the summary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mspc_core import evaluate
from mspc_core.data.store import Dataset
from mspc_core.engine.forward import predict_logits
from mspc_core.models.zoo import Normalised
from mspc_core.runs import Run
from mspc_core.verdict import Verdict


def base_table(
    dataset: Dataset, rows: np.ndarray, model: Normalised, images: np.ndarray, labels: np.ndarray
) -> pd.DataFrame:
    """scores.parquet before any detector. rows: int64 [N] into the data set. images: their pixels, uint8 [N, H, W, 3].
    labels: int [N], as they count in this run.
    Raises `InputError` when the model gives NaN or infinity."""
    probabilities = predict_logits(model, images).softmax(1)
    confidence, predicted = probabilities.max(1)
    manifest = dataset.manifest.iloc[rows]
    return pd.DataFrame(
        {
            "sample_id": manifest["sample_id"].to_numpy(),
            "path": manifest["path"].to_numpy(),
            "label": labels.astype(np.int32),
            "predicted": predicted.numpy().astype(np.int32),
            "confidence": confidence.numpy().astype(np.float32),
            "row": rows.astype(np.int64),
            **evaluate.truth_table(dataset, rows),
        }
    )


def with_metrics(record: dict[str, Any], scores: pd.DataFrame, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The record of a detector with its figures, or with None where the truth is not known."""
    if scores["is_backdoor"].isna().any():
        return {**record, "metrics": None}
    truth = scores["is_backdoor"].to_numpy(dtype=bool)
    metrics = evaluate.detection_metrics(truth, arrays["scores"], arrays["flagged"])
    return {**record, "metrics": metrics.as_json() if metrics else None}


def ordered(scores: pd.DataFrame) -> pd.DataFrame:
    """Truth and bookkeeping last, as the contract lists the columns."""
    last = [name for name in ("suspect_score", "suspect", "row", "original_label", "is_backdoor") if name in scores]
    return scores[[name for name in scores if name not in last] + last]


def summarise(
    run: Run,
    dataset: Dataset,
    about: dict[str, Any],
    scores: pd.DataFrame,
    records: dict[str, dict[str, Any]],
    not_run: dict[str, str],
    found: Verdict,
    *,
    complete: bool,
) -> None:
    """Write summary.json."""
    run.save_summary(
        {
            "complete": complete,
            "verdict": found.as_json(),
            "dataset": {
                "name": dataset.info.name,
                "source": dataset.info.source,
                "classes": list(dataset.info.classes),
                "scanned": len(scores),
                "skipped": dataset.info.skipped,
                "content_key": dataset.info.content_key,
                "recipe": dataset.recipe(),
            },
            "model": {
                key: about.get(key)
                for key in (
                    "arch",
                    "trained_here",
                    "train_accuracy",
                    "val_accuracy",
                    "attack_success_rate",
                    "precision",
                    "poor",
                    "notes",
                )
            },
            "detectors": records,
            "not_run": not_run,
            "true_backdoors": None if scores["is_backdoor"].isna().any() else int(scores["is_backdoor"].sum()),
        }
    )
