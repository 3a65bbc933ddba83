"""Feature mixture: one class whose samples the network sees as two groups, where other classes are one.

Our detector for poison of any look and with any label: what the model learned to recognise in order to say the target
class, a patch as well as a warp or a style, takes another way through the network than the objects of that class. SCAn
(Tang et al., USENIX Security 2021) found this first, but needs clean data, to know how samples of one class vary and
which group is clean. Here both are taken from the data itself:

0. Only samples that the model gives their label count: a planted sample works, so it is among them. What a model
   has not learned of an honest class would be a second group as well.
1. How samples vary is measured on the *other* classes (`groups.split_classes`), where the poison of this one is not.
2. A class is mixed if the gain of two groups over one stands out from the other classes' (anomaly index above e², as
   published) *and* the split explains more variance than any single mode would (`classwise.UNIMODAL`).
3. The group whose contents are more mixed, by the classes that come next after the label, is the planted one.
4. What all layers show of this class is then regressed on the groups, every sample judged by a fit on others, and the
   groups are drawn again: features before the last layer alone have lost part of what tells poison from clean samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.classwise import EXP_2, UNIMODAL, anomaly_index, both, check_labels, members_of, note_constant
from mspc_core.detectors.features import collect_features, collect_statistics
from mspc_core.detectors.groups import kinds, split_classes, unit_length
from mspc_core.detectors.surprise import cross_ridge, principal
from mspc_core.engine.forward import counting
from mspc_core.engine.rows import Collected, blocks, pick
from mspc_core.errors import Progress, ShouldStop, stop_if

_COMPARED = 6  # classes, for one to stand out from
_MINIMUM = 10  # samples of a class, to speak of two groups
_FOLDS, _PENALTY = 5, 3e-4  # of the regression, as in the second opinion


@dataclass(frozen=True)
class MixtureConfig:
    """threshold: of the anomaly index of a class, e² as published for SCAn. components: principal components of what
    the layers show. refinements: of the groups."""

    threshold: float = EXP_2
    components: int = 300
    refinements: int = 5
    seed: int = 0


class Mixture:
    """Score in [0, 1]: above 0.5 in the planted group of a class that is a mixture of two."""

    name: ClassVar[str] = "mixture"
    title: ClassVar[str] = CATALOG["mixture"].title
    citation: ClassVar[str] = CATALOG["mixture"].citation
    needs: ClassVar[Needs] = CATALOG["mixture"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: MixtureConfig | None = None) -> None:
        self.config = config or MixtureConfig()

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
        """See `Detector.fit`. One forward an image, and another one for images of mixed classes.
        `artifacts_.tables["classes"]`: for each label class its samples that are recognised, J (`statistic`),
        `anomaly_index`, the share of variance the split `explained`, the share of the planted group (`second`), how
        mixed both groups' contents are (`kinds_second`, `kinds_first`, in nats), and how many are flagged."""
        config = self.config
        labels = check_labels(labels, len(images))
        scores = np.zeros(len(images))
        rows: list[dict[str, Any]] = []
        with counting(model) as count:
            found = collect_features(model, images, progress=progress, should_stop=should_stop)
            stop_if(should_stop)
            recognised = np.flatnonzero(found.predicted == labels)
            classes, notes = members_of(labels[recognised], _MINIMUM)
            members = {label: recognised[rows] for label, rows in classes.items()}
            splits = split_classes(_directions(found.penultimate), members, config.seed) if members else {}
            index = anomaly_index(np.array([split.statistic for split in splits.values()]))
            for (label, split), stands_out in zip(splits.items(), index, strict=True):
                stop_if(should_stop)
                own = members[label]
                logits, ratio = found.logits[own], float(min(stands_out / config.threshold, split.explained / UNIMODAL))
                if len(splits) < _COMPARED:
                    ratio = min(ratio, 1.0)
                mixed = [kinds(logits[part], label) for part in (split.second, ~split.second)]
                if mixed[1] > mixed[0]:
                    split, mixed = split.turned_over(), mixed[::-1]
                margin = split.margin
                if ratio > 1.0:
                    margin = self._refined(model, pick(images, own), margin, should_stop)
                scores[own] = both(ratio, margin)
                rows.append(
                    {
                        "class": label,
                        "samples": len(own),
                        "statistic": split.statistic,
                        "anomaly_index": float(stands_out),
                        "explained": split.explained,
                        "second": float((margin > 0).mean()),
                        "kinds_second": mixed[0],
                        "kinds_first": mixed[1],
                        "flagged": int((scores[own] > 0.5).sum()),
                    }
                )
        if 0 < len(splits) < 3:
            notes.append("Fewer than three classes can be compared, so that none stands out: nothing was flagged.")
        elif 0 < len(splits) < _COMPARED:
            notes.append(f"Fewer than {_COMPARED} classes can be compared, too few to trust one: nothing was flagged.")
        self.decision_scores_ = scores
        self.threshold_ = Threshold(0.5, "natural", CATALOG["mixture"].rule)
        self.labels_ = scores > 0.5
        constant = [label for label in members if label not in splits]
        self.artifacts_ = Artifacts(
            tables={"classes": rows}, notes=[*notes, *note_constant(constant)], forward_equivalents=count.equivalents
        )
        return self

    def _refined(
        self, model: nn.Module, images: np.ndarray, margin: np.ndarray, should_stop: ShouldStop | None
    ) -> np.ndarray:
        """The margin again, by a regression of the groups on what all layers show; each sample judged by a fit on
        others. images: uint8 [n, H, W, 3] of one class. The margin as it was where a group would vanish."""
        config = self.config
        shown = collect_statistics(model, images, seed=config.seed, should_stop=should_stop).statistics
        inputs = principal(shown, config.components, config.seed)
        folds = torch.from_numpy(np.random.default_rng(config.seed).permutation(len(images)) % _FOLDS)
        for _ in range(config.refinements):
            second = margin > 0
            share = float(second.mean())
            weights = torch.from_numpy(np.where(second, 0.5 / share, 0.5 / (1 - share))).float()  # both groups weigh 1
            targets = torch.from_numpy(np.where(second, 1.0, -1.0)).float()
            drawn = cross_ridge(inputs, targets, weights, _PENALTY, folds)
            if not (drawn > 0).any() or (drawn > 0).all():
                break
            margin = drawn
        return margin


def _directions(features: np.ndarray) -> np.ndarray:
    """Features [N, D] scaled to unit length, block by block: they may be a map of a file."""
    found = Collected(len(features))
    for _, part in blocks(features):
        found.add(unit_length(part))
    return found.array()
