"""A second opinion that does not see the trigger, and what the first model's features say about where they part.

Our detector for poison whose label contradicts its content: one target class, all classes, or random labels; a patch, a
pattern, a warp or a trigger of its own in every image; nothing is assumed of its shape. It asks three questions.

1. What would a model say that cannot see the trigger (`opinion`)? On poisoned samples it contradicts the label.
2. Where does it contradict more often than its own confidence promised (`surprise`)? Unlike disagreement as such, this
   surprise is pure noise on clean data, also on hard or ambiguous images.
3. Do the features of the suspicious model predict the surprise? They know the trigger, because the model learned it. A
   ridge regression, always judged on samples it was not fitted to, ranks the samples; those whose disagreement adds up
   to the largest log-odds are set apart, and nothing is where clean data could have given as much.

Then it asks again, without showing the second model what was set apart, and flags every sample that is poisoned rather
than not, by its rank and its own contradiction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

import numpy as np
from torch import Tensor, nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.classwise import check_labels
from mspc_core.detectors.features import collect_statistics
from mspc_core.detectors.opinion import Blinding, second_opinion
from mspc_core.detectors.surprise import (
    Ranking,
    best_cut,
    expected_accuracy,
    log_odds,
    posterior_odds,
    principal,
    rank,
)
from mspc_core.engine import distributed
from mspc_core.engine.forward import counting, device_of
from mspc_core.errors import Progress, ShouldStop

_ASKED_AGAIN = 1000  # added to the seed


@dataclass(frozen=True)
class SecondOpinionConfig:
    """components: principal components of the features. refinements: of the ranking. certainty: evidence in nats that
    is asked for before anything is flagged; 13.8 is a million to one, by Ville's inequality."""

    blinding: Blinding = field(default_factory=Blinding)
    components: int = 300
    refinements: int = 9
    certainty: float = 13.8
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.blinding, dict):  # from JSON
            object.__setattr__(self, "blinding", Blinding(**self.blinding))


class _Said(NamedTuple):
    """odds: log-odds of each sample by its own (dis)agreement. disagrees: bool [N], contradicted."""

    ranking: Ranking
    odds: np.ndarray
    disagrees: np.ndarray
    equivalents: int


class SecondOpinion:
    """Score: log-odds that the sample is poisoned; without evidence of poison, a ranking below zero."""

    name: ClassVar[str] = "second_opinion"
    title: ClassVar[str] = CATALOG["second_opinion"].title
    citation: ClassVar[str] = CATALOG["second_opinion"].citation
    needs: ClassVar[Needs] = CATALOG["second_opinion"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: SecondOpinionConfig | None = None) -> None:
        self.config = config or SecondOpinionConfig()

    def fit(
        self,
        model: nn.Module,
        images: np.ndarray,
        *,
        labels: np.ndarray,
        clean: CleanData | None = None,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Self:
        """See `Detector.fit`. `artifacts_.tables["classes"]`: for each label class its samples, how many are flagged,
        and how often the second opinion contradicts the flagged and the others; `tables["refinements"]`: flagged and
        evidence after each refinement of the ranking."""
        config = self.config
        labels = check_labels(labels, len(images))
        with counting(model) as count:
            found = collect_statistics(model, images, seed=config.seed, should_stop=should_stop)
        classes = max(found.logits.shape[1], int(labels.max()) + 1)
        inputs = principal(found.statistics, config.components, config.seed)
        said = self._ask(model, images, labels, classes, inputs, None, _part(progress, 0, 700), should_stop)
        equivalents, history = said.equivalents, said.ranking.history
        evidence = best_cut(said.ranking.scores, said.odds)[1]
        enough = distributed.decided(evidence >= config.certainty)
        if enough:
            # Now that most of the poison is known, ask models that were never shown it.
            shown = distributed.array_from_leader(~said.ranking.set_apart())
            again = self._ask(model, images, labels, classes, inputs, shown, _part(progress, 700, 300), should_stop)
            equivalents += again.equivalents
            if again.ranking.evidence >= config.certainty:
                said, history = again, history + again.ranking.history
            self.decision_scores_ = posterior_odds(said.ranking.scores, said.ranking.set_apart(), said.odds)
        else:
            self.decision_scores_ = said.ranking.scores - said.ranking.scores.max()
        self.threshold_ = Threshold(0.0, "natural", CATALOG["second_opinion"].rule)
        self.labels_ = self.decision_scores_ > 0.0
        agreement = float((~said.disagrees).mean())
        self.artifacts_ = Artifacts(
            tables={
                "classes": _class_table(labels, self.labels_, said.disagrees),
                "refinements": history,
                "evidence": [
                    {
                        "nats": evidence,
                        "first": history[0]["evidence"],
                        "asked": config.certainty,
                        "agreement": agreement,
                    }
                ],
            },
            notes=_notes(evidence, enough, agreement, labels),
            forward_equivalents=count.equivalents + equivalents,
        )
        return self

    def _ask(
        self,
        model: nn.Module,
        images: np.ndarray,
        labels: np.ndarray,
        classes: int,
        inputs: Tensor,
        shown: np.ndarray | None,
        progress: Progress | None,
        should_stop: ShouldStop | None,
    ) -> _Said:
        """One second opinion and the ranking that follows from it."""
        config = self.config
        opinion = second_opinion(
            images,
            labels,
            classes,
            config.blinding,
            seed=config.seed + (0 if shown is None else _ASKED_AGAIN),
            device=device_of(model),
            shown=shown,
            progress=progress,
            should_stop=should_stop,
        )
        probabilities = opinion.probabilities
        disagrees, present = probabilities.argmax(1) != labels, len(np.unique(labels))
        # Poison is looked for against what is usual for all labels; what counts as evidence is usual for each of them.
        strict = expected_accuracy(probabilities, labels, shown)
        usual = strict if shown is not None else expected_accuracy(probabilities, labels, within=False)
        ranking = rank(inputs, disagrees, usual, present, refinements=config.refinements, seed=config.seed)
        return _Said(ranking, log_odds(disagrees, strict, present), disagrees, opinion.equivalents)


def _part(progress: Progress | None, start: int, size: int) -> Progress | None:
    """Progress over a part of a thousand steps."""
    if progress is None:
        return None
    whole = progress
    return lambda done, total, message: whole(start + round(size * done / max(1, total)), 1000, message)


def _class_table(labels: np.ndarray, flagged: np.ndarray, disagrees: np.ndarray) -> list[dict[str, float | int]]:
    rows: list[dict[str, float | int]] = []
    for label in np.unique(labels):
        own = labels == label
        rows.append(
            {
                "class": int(label),
                "samples": int(own.sum()),
                "flagged": int((own & flagged).sum()),
                "contradicted_flagged": float(disagrees[own & flagged].mean()) if (own & flagged).any() else 0.0,
                "contradicted_others": float(disagrees[own & ~flagged].mean()) if (own & ~flagged).any() else 0.0,
            }
        )
    return rows


def _notes(evidence: float, enough: bool, agreement: float, labels: np.ndarray) -> list[str]:
    notes = []
    if not enough:
        notes.append(
            f"The evidence that labels and contents part systematically is {evidence:.1f} nats: too little to flag "
            "anything."
        )
    guessing = float(np.bincount(labels).max() / len(labels))
    if agreement < guessing + 0.1:
        notes.append(
            f"The second opinion agrees with only {agreement:.0%} of the labels, hardly better than guessing: it says "
            "little about this data set."
        )
    return notes
