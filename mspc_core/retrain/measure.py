"""The last stage of a retraining: before against after, the removed samples, suggestions, and `retrain.json`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from mspc_core import atomic
from mspc_core.data.store import Dataset
from mspc_core.jobs import Reporter
from mspc_core.models import checkpoint
from mspc_core.models.zoo import Normalised
from mspc_core.retrain import estimate, figures, relabel, trainings
from mspc_core.retrain.config import RESULT, SUGGESTIONS, RetrainConfig, Retraining
from mspc_core.retrain.kept import Choice
from mspc_core.retrain.plan import Plan, describe, recipe_of
from mspc_core.runs import Run, versions

_MOST = 0.5  # a majority, as in the transplant test
Results = dict[tuple[str, int], dict[str, Any]]


@dataclass(frozen=True)
class Selected:
    """The run's table and what the choice does to it. truth: bool [N]; original: int64 [N]; None where unknown."""

    scores: pd.DataFrame
    plan: Plan
    truth: np.ndarray | None
    original: np.ndarray | None

    @property
    def dropped(self) -> np.ndarray:
        return self.plan.dropped

    @property
    def relabelled(self) -> np.ndarray:
        return self.plan.relabelled


def selected(run: Run, choice: Choice) -> Selected:
    """Apply a choice to a run's table of scores."""
    scores = run.scores()
    known = not scores["is_backdoor"].isna().any()
    return Selected(
        scores,
        describe(run, scores, choice),
        scores["is_backdoor"].to_numpy(dtype=bool) if known else None,
        scores["original_label"].to_numpy(dtype=np.int64) if known and "original_label" in scores else None,
    )


def write_result(
    retraining: Retraining, run: Run, recipe: trainings.Recipe, results: Results, reporter: Reporter
) -> None:
    """Measure, write `suggestions.csv` and `retrain.json`, and make this the run's latest retraining."""
    config, dataset, folder = retraining.config(), recipe.dataset, retraining.folder
    choice = retraining.choice()
    chosen = selected(run, choice)
    before, about = checkpoint.load_saved_model(run.folder, recipe.device)
    models = [
        checkpoint.load_saved_model(folder / "trainings" / f"after-{seed}", recipe.device)[0] for seed in config.seeds
    ]
    pictures = dataset.pixels[chosen.scores["row"].to_numpy()[chosen.dropped]]  # uint8 [M, H, W, 3]
    probabilities = relabel.mean_probabilities(models, pictures)  # [M, C]
    triggers = estimate.reconstructed(run, dataset, chosen.scores)
    table = _suggestions(dataset, chosen, models, pictures, triggers, reporter)
    relabel.write_suggestions(folder / SUGGESTIONS, table)
    guess = estimate.estimate(triggers, before, list(models), dataset, *_trial_images(dataset, chosen))
    result = {
        **_selection(run, retraining, config, chosen),
        **_comparison(run, config, before, about, dataset, results),
        "estimated_asr": guess,
        "still_works": still_works(guess),
        **_truth(chosen, choice),
        "removed": _removed(chosen, probabilities, dataset.info.classes),
        "suggestions": relabel.summary_of(table, _of_dropped(chosen)),
        "curves": {"before": _curve_of(about), "after": results["after", config.seeds[0]]["curves"]},
        "training": results["after", config.seeds[0]]["training"],
        "finished": time.time(),
        "versions": versions(),
    }
    atomic.write_json(folder / RESULT, result)
    atomic.sweep(run.folder)  # a killed job's half of the next line lies outside its own folder
    atomic.write_json(run.folder / RESULT, result)


def still_works(guess: dict[str, Any]) -> bool:
    """Does the reconstructed trigger still turn most other images? Then poison that carries it was kept, whatever a
    scan of the kept images says: the tests need more carriers to make a case than a model needs to learn the trigger.
    """
    return guess["after"] is not None and guess["after"] > _MOST


def _selection(run: Run, retraining: Retraining, config: RetrainConfig, chosen: Selected) -> dict[str, Any]:
    return {
        "run": run.id,
        "folder": f"{retraining.folder.parent.name}/{retraining.id}",
        "drop": config.drop,
        "dropped": int(chosen.dropped.sum()),
        "kept": int((~chosen.dropped).sum()),
        "relabelled": int(chosen.relabelled.sum()),
        "seeds": list(config.seeds),
        "classes": [asdict(row) for row in chosen.plan.classes],
        "warnings": chosen.plan.warnings,
    }


def _comparison(
    run: Run, config: RetrainConfig, before: Normalised, about: dict[str, Any], dataset: Dataset, results: Results
) -> dict[str, Any]:
    own = trainings.scanned_figures(before, about, dataset, run.config().seed)
    own["images"] = len(run.scores()) if recipe_of(run) is not None else None
    everything = [results["everything", seed] for seed in config.seeds if ("everything", seed) in results]
    if recipe_of(run) is not None and run.config().seed in config.seeds:
        everything = [own, *everything]
    complete = len(everything) == len(config.seeds)  # else it would be compared with means over other seeds
    clean = [results["clean", seed] for seed in config.seeds if ("clean", seed) in results]
    return {
        "before": figures.over_seeds([own]),
        "after": figures.over_seeds([results["after", seed] for seed in config.seeds]),
        "references": {
            "clean_part": figures.over_seeds(clean),
            "everything": figures.over_seeds(everything) if complete else None,
        },
    }


def _trial_images(dataset: Dataset, chosen: Selected) -> tuple[np.ndarray, np.ndarray, str]:
    """Images on which a reconstructed trigger is tried: held-out ones, or kept ones where nothing is held out."""
    rows = trainings.held_out(dataset)
    if len(rows):
        return rows, dataset.manifest["label"].to_numpy()[rows].astype(np.int64), "held-out images"
    kept = ~(chosen.dropped | chosen.relabelled)
    labels = chosen.scores["label"].to_numpy()[kept].astype(np.int64)
    return chosen.scores["row"].to_numpy()[kept], labels, "kept training images (none are held out)"


def _suggestions(
    dataset: Dataset,
    chosen: Selected,
    models: Sequence[Normalised],
    pictures: np.ndarray,
    triggers: Sequence[estimate.Trigger],
    reporter: Reporter,
) -> pd.DataFrame:
    scores = chosen.scores[chosen.dropped]
    rest = chosen.scores["row"].to_numpy()[~(chosen.dropped | chosen.relabelled)]
    partners = dataset.pixels[np.sort(np.random.default_rng(0).permutation(rest)[: relabel.PARTNERS])]
    flagged = "transplant_flagged"
    in_region = scores[flagged].to_numpy(dtype=bool) if flagged in scores else np.zeros(len(scores), dtype=bool)
    suggested, confidence, how = relabel.suggest(
        models,
        pictures,
        {trigger.target: trigger.region for trigger in triggers if trigger.region is not None},
        in_region,
        scores["predicted"].to_numpy(),
        partners,
        should_stop=reporter.should_stop,
    )
    table = scores[["sample_id", "label", "predicted"]].reset_index(drop=True)
    return table.assign(suggested_label=suggested, confidence=confidence.round(4), how=how)


def _removed(chosen: Selected, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    scores = chosen.scores[chosen.dropped]
    labels, before = scores["label"].to_numpy(), scores["predicted"].to_numpy()
    return figures.removed_changes(labels, before, probabilities.argmax(1), classes)


def _truth(chosen: Selected, choice: Choice) -> dict[str, Any]:
    if chosen.truth is None or chosen.original is None:
        return {"missed_poison": None, "lost_clean": None, "relabelled_right": None}
    ids = chosen.scores["sample_id"].to_numpy()
    right = np.array([choice.labels.get(key, -1) for key in ids]) == chosen.original
    found: dict[str, Any] = figures.truth_figures(chosen.truth, chosen.dropped, chosen.relabelled, right)
    return {**found, "relabelled_right": int((chosen.relabelled & right).sum())}


def _of_dropped(chosen: Selected) -> np.ndarray | None:
    return None if chosen.original is None else chosen.original[chosen.dropped]


def _curve_of(about: dict[str, Any]) -> dict[str, Any] | None:
    if not about.get("train_loss"):
        return None
    return {"loss": about["train_loss"], "accuracy": about["train_accuracy_per_epoch"]}
