"""SD-FCT: features of backdoored images move more when the image is transformed (Chen et al., NeurIPS 2022).

"Effective Backdoor Defense by Exploiting Sensitivity of Poisoned Samples", the feature consistency towards
transformations: Δ(x; τ, f) = ‖f(x) − f(τ(x))‖²₂ with f the features before the last linear layer and τ a rotation
followed by a shift. High is suspicious: a turned trigger fails, and the features fall back to the object.
As in the paper it is measured on a network trained for two epochs: one that has learned every sample by heart tells
nothing (AUROC .53 instead of .83 or more on BadNets). The paper then tunes that network for ten epochs with a loss that
draws each class together; that is left out here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.features import collect_features
from mspc_core.detectors.relearn import Recipe, train_anew
from mspc_core.detectors.thresholds import one_class_note, top_share
from mspc_core.engine.forward import counting
from mspc_core.engine.plain import plain_predictions
from mspc_core.engine.rows import blocks
from mspc_core.errors import InputError, Progress, ShouldStop
from mspc_core.models.zoo import feature_layer


@dataclass(frozen=True)
class SDFCTConfig:
    """epochs: of a fresh copy of the model on the given labels, 2 as published; 0 measures on the model as it is.
    transformations: how many are drawn; each is applied to every image, and the score is the mean over them, so that
    images can be compared (the paper draws one for each image). rotation: in degrees, uniform in ±180 as published.
    shift: share of the size, uniform in ±0.2 as published. poison_share: α_p, the share called poisoned, 5 % as
    published."""

    epochs: int = 2
    transformations: int = 4
    rotation: float = 180.0
    shift: float = 0.2
    poison_share: float = 0.05
    seed: int = 0


class SDFCT:
    """Mean squared L2 distance between the features of an image and of its transformed versions. Range [0, ∞)."""

    name: ClassVar[str] = "sdfct"
    title: ClassVar[str] = CATALOG["sdfct"].title
    citation: ClassVar[str] = CATALOG["sdfct"].citation
    needs: ClassVar[Needs] = CATALOG["sdfct"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: SDFCTConfig | None = None) -> None:
        self.config = config or SDFCTConfig()

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
        """See `Detector.fit`. Costs 1 + T forwards for each image; with the short training, 3 more an epoch and 1 to
        check the given model. Without it, labels are not used.

        `artifacts_.tables["transformations"]` lists the draws and how far each moved the features on average. Raises
        `InputError` where the model has no linear layer, the training diverges, or a label is no class of the model.
        """
        config = self.config
        if config.transformations < 1:
            raise InputError("SD-FCT needs at least one transformation: set `transformations` to 1 or more.")
        feature_layer(model)  # refuse before the training, not after it
        learner, equivalents = model, 0
        notes: list[str] = []
        if config.epochs:
            with counting(model) as checking:
                classes = plain_predictions(model, images, should_stop=should_stop).classes
            learner, _, equivalents, notes = train_anew(
                model,
                images,
                labels,
                classes,
                Recipe(config.epochs, seed=config.seed),
                progress=progress,
                should_stop=should_stop,
            )
            equivalents += checking.equivalents
        drawn = draw_transformations(config, images.shape[1:3])
        total = (1 + len(drawn)) * len(images)

        def after(offset: int) -> Progress:
            def report(done: int, _: int, __: str) -> None:
                if progress:
                    progress(offset + done, total, "comparing features of transformed images")

            return report

        rows = []
        distances = np.zeros(len(images))
        with counting(learner) as count:
            plain = collect_features(learner, images, progress=after(0), should_stop=should_stop)
            for number, transformation in enumerate(drawn, start=1):
                moved = collect_features(
                    # In the mode of the model, which the reader restores.
                    Transformed(learner, transformation).train(learner.training),
                    images,
                    progress=after(number * len(images)),
                    should_stop=should_stop,
                )
                distance = _squared_distances(moved.penultimate, plain.penultimate)
                distances += distance
                rows.append({**transformation._asdict(), "mean_distance": float(distance.mean())})
        self.decision_scores_ = distances / len(drawn)
        value = top_share(self.decision_scores_, config.poison_share)
        self.threshold_ = Threshold(
            value,
            "quantile",
            f"the {config.poison_share:.0%} that move most, the published share (α_p), clean data or not",
        )
        self.labels_ = self.decision_scores_ > value
        self.artifacts_ = Artifacts(
            tables={"transformations": rows},
            notes=notes + one_class_note(plain.predicted),
            forward_equivalents=equivalents + count.equivalents,
        )
        return self


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the rows of two arrays [N, D], which may be maps of files, float64 [N]."""
    found = np.zeros(len(first))
    for part, rows in blocks(first):
        found[part] = np.square(rows - second[part], dtype=np.float64).sum(1)
    return found


class Transformation(NamedTuple):
    """angle: in degrees, counter-clockwise. right, down: whole pixels, after the rotation."""

    angle: float
    right: int
    down: int


class Transformed(nn.Module):
    """`model` on transformed images."""

    def __init__(self, model: nn.Module, transformation: Transformation) -> None:
        super().__init__()
        self.model = model
        self.transformation = transformation

    def forward(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] → logits [B, C]."""
        logits: Tensor = self.model(transformed(images, self.transformation))
        return logits


def draw_transformations(config: SDFCTConfig, size: tuple[int, ...]) -> list[Transformation]:
    """The fixed set of transformations for images of this height and width."""
    generator = np.random.default_rng(config.seed)
    limits = [math.floor(config.shift * side) for side in size]  # down, right
    return [
        Transformation(
            angle=float(generator.uniform(-config.rotation, config.rotation)),
            right=int(generator.integers(-limits[1], limits[1] + 1)),
            down=int(generator.integers(-limits[0], limits[0] + 1)),
        )
        for _ in range(config.transformations)
    ]


def transformed(images: Tensor, transformation: Transformation) -> Tensor:
    """Rotate about the centre, then shift; what comes in from outside is black. float [B, 3, H, W] → the same shape."""
    turned = transforms.rotate(images, transformation.angle, interpolation=InterpolationMode.NEAREST)
    shift = [transformation.right, transformation.down]
    moved: Tensor = transforms.affine(turned, angle=0.0, translate=shift, scale=1.0, shear=[0.0, 0.0])
    return moved
