"""The contract of every detector: `fit`, then scores, a threshold with its rule, flags and evidence.

A detector is a class with a frozen config dataclass. It learns from images, labels and a model; it never sees ground
truth, and neither attacks nor evaluation are imported here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np

from mspc_core.errors import Progress, ShouldStop

if TYPE_CHECKING:
    from torch import nn

# Published scales: the integers 2 … 12 (Guo et al. 2023; Pal et al. 2024, section 3).
SCALES: tuple[float, ...] = tuple(float(scale) for scale in range(2, 13))


@dataclass(frozen=True)
class Threshold:
    """Samples with a score above `value` are flagged. `rule`: natural (follows from the definition of the score),
    quantile (of the scores) or manual."""

    value: float
    rule: Literal["natural", "quantile", "manual"]
    explanation: str


@dataclass(frozen=True)
class Needs:
    """What a detector cannot do without. clean_data: a few hundred images that are known to be clean, with labels.
    min_classes, min_per_class: of the scanned data (a class that holds fewer samples stops the detector)."""

    labels: bool = False
    gradients: bool = False
    batch_norm: bool = False
    clean_data: bool = False
    min_classes: int = 2
    min_per_class: int = 1


@dataclass(frozen=True)
class Situation:
    """What a scan has to offer. None: not known yet (the model is not built)."""

    classes: int
    smallest_class: int
    clean_data: bool = False
    gradients: bool | None = None
    batch_norm: bool | None = None


def obstacle(needs: Needs, situation: Situation) -> str | None:
    """Why a detector cannot run here, as the end of "… cannot run: ", or None if nothing stands in its way."""
    if needs.clean_data and not situation.clean_data:
        return "it needs clean data, and no part of this data set was named as trusted"
    if needs.batch_norm and situation.batch_norm is False:
        return "it needs BatchNorm layers, and this model has none"
    if needs.gradients and situation.gradients is False:
        return "it needs gradients, and this model gives none"
    if situation.classes < needs.min_classes:
        return f"it needs at least {needs.min_classes} classes, and this data set has {situation.classes}"
    if situation.smallest_class < needs.min_per_class:
        return (
            f"it needs at least {needs.min_per_class} samples in every class, and the smallest class has "
            f"{situation.smallest_class}"
        )
    return None


class CleanData(NamedTuple):
    """Images that are known to be clean: uint8 [M, H, W, 3], labels int64 [M]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass
class Artifacts:
    """Evidence beside the scores. masks: name → float32 array; tables: name → rows; notes: sentences for the user."""

    masks: dict[str, np.ndarray] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    forward_equivalents: int = 0


class Detector(Protocol):
    """What `mspc_core.detectors.create` returns."""

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]
    needs: ClassVar[Needs]

    config: Any
    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

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
        """Score every image.

        model: takes float [B, 3, H, W] in [0, 1], gives logits [B, C]. images: uint8 [N, H, W, 3].
        labels: int [N], as given (possibly wrong). clean: given to detectors that need it (`Needs.clean_data`) and
        ignored by the others, so that none is helped by accident. Afterwards `decision_scores_` is float64 [N], higher
        is more suspicious, and `labels_` is bool [N], both in the order of `images`. Raises `Cancelled`, `InputError`.
        """
        ...


def config_as_json(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON values; `type(config)(**result)` rebuilds it."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
