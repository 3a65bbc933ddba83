"""The only reader of ground truth: detection metrics, clean accuracy and attack success on lab data sets.

Nothing here may feed back into a detector; a scan calls it after all scores stand.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core.data.store import Dataset
from mspc_core.errors import InputError, one_line
from mspc_core.files import open_regular

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

_MOST_TRIGGERED = 2000  # test images that carry the trigger when attack success is measured


@dataclass(frozen=True)
class DetectionMetrics:
    """auroc, average_precision: of the scores. tpr, fpr: at the detector's own threshold. tpr_at_1_fpr: the highest
    true-positive rate with at most 1 % false positives."""

    auroc: float
    average_precision: float
    tpr: float
    fpr: float
    tpr_at_1_fpr: float

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def load_truth(dataset: Dataset) -> pd.DataFrame | None:
    """`sample_id, is_backdoor, original_label` in manifest order, or None where the truth is unknown."""
    if not dataset.has_truth:
        return None
    import pandas as pd

    try:
        with open_regular(dataset.root / "truth.parquet") as handle:
            truth = pd.read_parquet(handle)
        found = truth.set_index("sample_id").loc[dataset.manifest["sample_id"]].reset_index()
        fits = found["is_backdoor"].dtype.kind == "b" and found["original_label"].dtype.kind in "iu"
        if len(found) != dataset.info.count or not fits:
            raise ValueError("not one entry for each image")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise InputError(f"The truth of data set {dataset.info.name!r} cannot be read ({one_line(error)}).") from None


def detection_metrics(is_backdoor: np.ndarray, scores: np.ndarray, flagged: np.ndarray) -> DetectionMetrics | None:
    """Metrics of one detector, or None if only one kind of sample is there. All arrays [N], scores finite."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = np.asarray(is_backdoor, dtype=bool)
    if truth.all() or not truth.any():
        return None
    fpr, tpr, _ = roc_points(truth, scores)
    return DetectionMetrics(
        auroc=float(roc_auc_score(truth, scores)),
        average_precision=float(average_precision_score(truth, scores)),
        tpr=float(flagged[truth].mean()),
        fpr=float(flagged[~truth].mean()),
        tpr_at_1_fpr=float(tpr[fpr <= 0.01].max(initial=0.0)),
    )


def roc_points(is_backdoor: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False-positive rates, true-positive rates and thresholds of the ROC curve."""
    from sklearn.metrics import roc_curve

    fpr, tpr, thresholds = roc_curve(is_backdoor, scores)
    return fpr, tpr, thresholds


def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float | None:
    """Share of images that get their label, or None without images."""
    from mspc_core.engine.forward import predict_logits

    if not len(images):
        return None
    return float((predict_logits(model, images).argmax(1).numpy() == labels).mean())


def attack_success_rate(model: nn.Module, dataset: Dataset, notes: list[str] | None = None) -> float | None:
    """Share of clean test images whose prediction the recipe's trigger moves to where the attacker wants it: the target
    class (images of other classes), the next class (all-to-all), any wrong class (random labels).

    None without a recipe or a test split. Images are chosen and triggered with a fixed seed. None with a damaged
    recipe, too, and `notes` gets a sentence on it: a model is not given up because of a figure.
    """
    from mspc_core.attacks.labels import attack_succeeded
    from mspc_core.attacks.recipe import has_recipe, read_recipe
    from mspc_core.engine.forward import predict_logits

    rows = dataset.indices("test")
    if not has_recipe(dataset) or not len(rows):
        return None
    try:
        recipe = read_recipe(dataset)
    except InputError as error:
        if notes is not None:
            notes.append(f"The attack success rate is unknown. {error}")
        return None
    target, mode = recipe.target, recipe.label_mode
    labels = dataset.manifest["label"].to_numpy().astype(np.int64)
    generator = np.random.default_rng(0)
    usable = rows if mode in ("all-to-all", "random") else rows[labels[rows] != target]
    # Drawn at random: a test split is often sorted by class.
    rows = np.sort(generator.permutation(usable)[:_MOST_TRIGGERED])
    if not len(rows):
        return None
    triggered = recipe.attack.apply(np.asarray(dataset.pixels[rows]), generator, dataset.trigger())
    predicted = predict_logits(model, triggered).argmax(1).numpy()
    classes = len(dataset.info.classes)
    return float(attack_succeeded(predicted, labels[rows], mode, target=target, classes=classes).mean())


def truth_table(dataset: Dataset, rows: np.ndarray) -> dict[str, Any]:
    """Columns `is_backdoor` and `original_label` for the given rows; both null where the truth is unknown."""
    import pandas as pd

    truth = load_truth(dataset)
    if truth is None:
        empty = pd.array([pd.NA] * len(rows), dtype="boolean")
        return {"is_backdoor": empty, "original_label": pd.array([pd.NA] * len(rows), dtype="Int32")}
    chosen = truth.iloc[rows]
    return {
        "is_backdoor": pd.array(chosen["is_backdoor"].to_numpy(), dtype="boolean"),
        "original_label": pd.array(chosen["original_label"].to_numpy(), dtype="Int32"),
    }
