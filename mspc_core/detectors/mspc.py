"""Mask-aware scaled prediction consistency with bi-level optimisation (Pal et al., ICLR 2024, arXiv 2403.10717).

MSPC(x; m, τ) = mean over n ∈ S of +1 if argmax F(clip(n·(x−τ)⊙m, 0, 1)) = argmax F(x), else −1.   (range [−1, 1])
Upper level: w_i = 1[MSPC(x_i) > 0], the rule without a threshold to choose.
Lower level: m = argmin (1/N) Σ w_i · mean_n KL(softmax F(x_i) ‖ softmax F(clip(n·(x_i−τ)⊙m))) + λ‖m‖₁.

Same results as the published loop with only the forwards it needs: logits of unscaled images are computed once, samples
with w_i = 0 never enter the model while the mask is optimised (they add nothing to the sum), and between rounds an
image leaves the scoring as soon as the majority of its scales is decided.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
from torch import nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.mspc_mask import MSPCConfig, learn_mask, scaled_divergence
from mspc_core.engine.forward import counting, frozen, scaled_agreement, scaled_majority
from mspc_core.engine.pixels import on_device
from mspc_core.engine.plain import plain_predictions
from mspc_core.errors import Progress, ShouldStop

__all__ = ["MSPC", "PAPER", "PRESETS", "MSPCConfig", "scaled_divergence"]

# A mask whose largest weight is below this shows the model nothing but black, even at the largest scale. The mean would
# be the wrong thing to look at: a mask on the five pixels of a small trigger is the best there is.
_COLLAPSED = 0.02


# The settings of the paper's experiments (section 5 and its appendix).
PAPER = MSPCConfig(rounds=4, inner_steps=None, batch_size=1000, scales_per_step=None)
PRESETS = {"fast": MSPCConfig(), "paper": PAPER}


class MSPC:
    """Bi-level MSPC. Score in [−1, 1]; flagged where it is above 0, that is, where most scales agree."""

    name: ClassVar[str] = "mspc"
    title: ClassVar[str] = CATALOG["mspc"].title
    citation: ClassVar[str] = CATALOG["mspc"].citation
    needs: ClassVar[Needs] = CATALOG["mspc"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: MSPCConfig | None = None) -> None:
        self.config = config or MSPCConfig()

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
        """See `Detector.fit`. `artifacts_.masks["mspc"]` is float32 [rounds + 1, H, W], the first all ones."""
        config, notes = self.config, []
        report = _Steps(progress, 2 * config.rounds + 2)
        generator = np.random.default_rng(config.seed)
        with counting(model) as count, frozen(model) as device:
            pixels = on_device(images, device)
            base = plain_predictions(model, pixels, should_stop=should_stop)
            predicted = base.predicted
            mask = torch.ones(images.shape[1:3], device=device)
            masks, flagged_per_round = [mask], []
            for number in range(1, config.rounds + 1):
                weights = scaled_majority(
                    model,
                    pixels,
                    predicted,
                    config.scales,
                    mask=mask,
                    shift=config.tau,
                    progress=report.stage(f"round {number}: scoring"),
                    should_stop=should_stop,
                )
                flagged_per_round.append(int(weights.sum()))
                stage = report.stage(f"round {number}: learning the mask")
                if not weights.any():
                    notes.append(f"Round {number} started with no suspicious sample, so the mask was left as it was.")
                    break
                learned = learn_mask(config, model, pixels, base, weights, mask, generator, stage, should_stop)
                if float(learned.max()) < _COLLAPSED:
                    notes.append(
                        f"The mask collapsed to zero in round {number} (the model would see only black), "
                        "so the mask of the round before was kept."
                    )
                    break
                mask = learned
                masks.append(mask)
            agreement = scaled_agreement(
                model,
                pixels,
                predicted,
                config.scales,
                mask=mask,
                shift=config.tau,
                progress=report.stage("final scores"),
                should_stop=should_stop,
            )
            black = int(model(torch.zeros(1, 3, *images.shape[1:3], device=device)).argmax())
        self.decision_scores_ = 2.0 * agreement.mean(1) - 1.0
        self.threshold_ = Threshold(0.0, "natural", CATALOG["mspc"].rule)
        self.labels_ = self.decision_scores_ > 0.0
        share = float((predicted[self.labels_] == black).mean()) if self.labels_.any() else 0.0
        if share > 0.5:
            notes.append(
                f"{share:.0%} of the flagged samples are predicted as class {black}, which is also what the model says "
                "of a black image: a known source of false alarms."
            )
        self.artifacts_ = Artifacts(
            masks={"mspc": torch.stack(masks).cpu().numpy().astype(np.float32)},
            tables={"rounds": [{"round": n, "suspicious": k} for n, k in enumerate(flagged_per_round, start=1)]},
            notes=notes,
            forward_equivalents=count.equivalents,
        )
        return self


class _Steps:
    """Turns the progress of several equal stages into one count of thousandths."""

    def __init__(self, progress: Progress | None, stages: int) -> None:
        self._progress, self._stages, self._begun = progress, stages, -1

    def stage(self, message: str) -> Progress:
        self._begun += 1
        base = self._begun

        def report(done: int, total: int, _: str) -> None:
            if self._progress:
                fraction = (base + done / max(1, total)) / self._stages
                self._progress(round(1000 * min(1.0, fraction)), 1000, message)

        return report
