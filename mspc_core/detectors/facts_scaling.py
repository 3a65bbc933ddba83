"""Detectors that scale pixels or parameters, as the catalogue describes them."""

from __future__ import annotations

from mspc_core.detectors.base import Needs
from mspc_core.detectors.facts import Facts

SCALING: dict[str, Facts] = {
    "spc": Facts(
        title="SPC",
        family="scaling",
        citation="Guo et al., SCALE-UP, ICLR 2023",
        needs=Needs(),
        cost="12 forward passes an image",
        rule="more than half of the scales keep the predicted class",
        explains="Brightens every image step by step; a class that never changes is suspicious.",
        how=(
            "Every image is multiplied by 2, 3, … 12 and cut off at white. The score is the share of these scales at "
            "which the model still says the same: $\\frac1{|S|}\\sum_{n\\in S} 1[F(\\mathrm{clip}(n x)) = F(x)]$. "
            "A trigger that the model learned too well survives the glare; an object rarely does."
        ),
        limits="Images with many black or white pixels look consistent when clean; smooth warps are not found.",
    ),
    "mspc": Facts(
        title="MSPC",
        family="scaling",
        citation="Pal et al., ICLR 2024, arXiv 2403.10717",
        needs=Needs(gradients=True),
        cost="50 to 150 an image (fast), 200 or more (as published)",
        rule="most of the scales keep the predicted class under the mask",
        explains="The same under one learned mask, so that ordinary objects stop passing the test.",
        how=(
            "Two problems solved in turn: which samples are suspicious (a majority of scales agree under the mask), "
            "and which mask $m$ keeps the suspicious samples' predictions with as few pixels as possible: "
            "$\\min_m \\frac1N\\sum_i w_i\\,\\mathrm{KL}(F(x_i)\\,\\|\\,F(\\mathrm{clip}(n(x_i-\\tau)\\odot m))) + "
            "\\lambda\\|m\\|_1$."
        ),
        limits=(
            "One mask for all images: warps, random places and all-to-all attacks are not found; up to 40 % of clean "
            "samples were flagged in independent measurements."
        ),
    ),
    "spc_limited": Facts(
        title="SPC with clean data",
        family="scaling",
        citation="Guo et al., SCALE-UP, ICLR 2023 (data-limited)",
        needs=Needs(clean_data=True),
        cost="12 forward passes an image, and for each clean image",
        rule="0.5 standard deviations more consistent than clean samples of the predicted class",
        explains="SPC compared with what is normal for the class, learned from a few images known to be clean.",
        how=(
            "Some classes are consistent by nature: a white car stays a car in any glare. So the SPC of an image is "
            "compared with clean samples of the class $c$ that the model gives it: $z(x) = "
            "(\\mathrm{SPC}(x) - \\mu_c) / \\sigma_c$."
        ),
        limits=(
            "At 0.5 standard deviations, up to a third of the clean samples are above the line. Otherwise the limits "
            "of SPC: black or white pixels look consistent, smooth warps are not found."
        ),
    ),
    "ibd_psc": Facts(
        title="IBD-PSC",
        family="scaling",
        citation="Hou et al., ICML 2024, arXiv 2405.09786",
        needs=Needs(labels=True, batch_norm=True),
        cost="6 forward passes an image, and a search on 1,000",
        rule="mean confidence in the predicted class above 0.9 when parameters are amplified",
        explains="Turns up the network's own parameters instead of the pixels; poisoned predictions stay.",
        how=(
            "Weights and biases of the last $k$ BatchNorm layers are multiplied by 1.5, for five values of $k$. The "
            "score is the mean confidence in the class that the unchanged model predicts: $\\frac1n\\sum_{k} "
            "F_k(x)_{\\hat y}$. The smallest $k$ is the one at which more than 60 % of the samples are misclassified, "
            "found on the scanned images themselves."
        ),
        limits=(
            "Made for networks with many BatchNorm layers (ResNet-18: 20). With few, such as the small CNN's five, 60 "
            "% errors are not reached and most clean samples stay above 0.9. Training images that were learned by "
            "heart hold their class too. All-to-all attacks are not found."
        ),
    ),
}
