"""ABL: backdoored samples are learned first (Li et al., "Anti-Backdoor Learning", NeurIPS 2021, section 3.2).

Train from scratch for a few epochs with local gradient ascent, sign(ℓ − γ) · ℓ with ℓ the cross-entropy (equation 2):
when the loss falls below γ it is pushed back up, so that the gap between what is learned fast and the rest stays open.
Then isolate the samples with the lowest loss. As in the authors' code ℓ is the mean of a batch. (With ℓ of each sample,
the poison itself is pushed up and is no longer lowest: on Blend, none of it was isolated.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.relearn import Recipe, train_anew
from mspc_core.detectors.thresholds import top_share
from mspc_core.engine.forward import counting, predict_logits
from mspc_core.engine.plain import plain_predictions
from mspc_core.errors import Progress, ShouldStop


@dataclass(frozen=True)
class ABLConfig:
    """gamma: γ, the loss that local gradient ascent keeps a batch above (0.5 as published). epochs: 20 as
    published; fewer are quicker. isolation_rate: share of samples to isolate, 1 % as published. The rest is the
    published optimiser, but without augmentation, which can break a trigger."""

    gamma: float = 0.5
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    isolation_rate: float = 0.01
    seed: int = 0


class ABL:
    """Minus the loss of each sample after a short training with local gradient ascent. Range (−∞, 0]."""

    name: ClassVar[str] = "abl"
    title: ClassVar[str] = CATALOG["abl"].title
    citation: ClassVar[str] = CATALOG["abl"].citation
    needs: ClassVar[Needs] = CATALOG["abl"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: ABLConfig | None = None) -> None:
        self.config = config or ABLConfig()

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
        """See `Detector.fit`. Costs 3 forward-equivalents an image and epoch, one to score, one to check the model.

        `artifacts_.tables["epochs"]` has the mean loss and accuracy of each epoch. The given model is not changed.
        Raises `InputError` when a label is no class of the model, or the training diverges at every rate tried.
        """
        config = self.config
        with counting(model) as checking:
            classes = plain_predictions(model, images, should_stop=should_stop).classes
        relearned = train_anew(
            model,
            images,
            labels,
            classes,
            Recipe(
                config.epochs,
                config.batch_size,
                config.learning_rate,
                config.momentum,
                config.weight_decay,
                config.seed,
            ),
            objective=lambda loss: ascent_loss(loss, config.gamma),
            progress=progress,
            should_stop=should_stop,
        )
        with counting(relearned.model) as scoring:
            logits = predict_logits(relearned.model, images, should_stop=should_stop).double()
        losses = F.cross_entropy(logits, torch.from_numpy(labels.astype(np.int64)), reduction="none")
        self.decision_scores_ = -losses.numpy()
        value = top_share(self.decision_scores_, config.isolation_rate)
        self.threshold_ = Threshold(
            value, "quantile", f"the {config.isolation_rate:.0%} with the lowest loss, the published isolation rate"
        )
        self.labels_ = self.decision_scores_ > value
        self.artifacts_ = Artifacts(
            tables={"epochs": relearned.table},
            notes=relearned.notes,
            forward_equivalents=checking.equivalents + relearned.equivalents + scoring.equivalents,
        )
        return self


def ascent_loss(loss: Tensor, gamma: float) -> Tensor:
    """Local gradient ascent, sign(ℓ − γ) · ℓ, for a scalar ℓ. Its gradient raises a loss below γ."""
    return torch.sign(loss.detach() - gamma) * loss
