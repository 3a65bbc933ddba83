"""Detectors of other authors that do not scale anything, as the catalogue describes them."""

from __future__ import annotations

from mspc_core.detectors.base import Needs
from mspc_core.detectors.facts import Facts

BASELINES: dict[str, Facts] = {
    "strip": Facts(
        title="STRIP",
        family="classic",
        citation="Gao et al., ACSAC 2019",
        needs=Needs(),
        cost="11 forward passes an image",
        rule="entropy below the 1 % point of a normal distribution fitted to the bulk of the samples",
        explains="Lays other images over each one; a prediction that does not get confused is suspicious.",
        how=(
            "Ten other images $x_k$ are added to $x$, one at a time, and the mean entropy of the predictions is "
            "taken: $H(x) = -\\frac1K\\sum_k\\sum_c y_{kc}\\log_2 y_{kc}$ with $y_k = F(\\mathrm{clip}(x + x_k))$. "
            "Two objects in one image confuse the model; a trigger that shines through does not. The paper draws the "
            "line with clean samples; here it is drawn with the bulk of the scanned ones."
        ),
        limits=(
            "Triggers that do not survive an overlay (warps, faint patterns, triggers in other images' bright areas) "
            "are not found, and 1 % or more of the clean samples are flagged in any data set."
        ),
    ),
    "sdfct": Facts(
        title="SD-FCT",
        family="modern",
        citation="Chen et al., NeurIPS 2022",
        needs=Needs(labels=True, gradients=True),
        cost="about 12 an image (trains anew for two epochs)",
        rule="among the 5 % whose features move most",
        explains="Turns and shifts every image; features that change a lot are suspicious.",
        how=(
            "The distance between the features of an image and of its turned and shifted versions, $\\Delta(x) = "
            "\\|f(x) - f(\\tau(x))\\|_2^2$, averaged over four transformations, in a fresh copy of the model after two "
            "epochs. A trigger that is moved or cut off fails, and the features jump back to what the object is."
        ),
        limits=(
            "Always flags 5 %, clean data or not, and never more. The authors' second training, which draws each class "
            "together, is left out. Triggers that survive a rotation are not found."
        ),
    ),
    "abl": Facts(
        title="ABL",
        family="classic",
        citation="Li et al., Anti-Backdoor Learning, NeurIPS 2021",
        needs=Needs(labels=True, gradients=True),
        cost="about 17 an image (trains anew for five epochs)",
        rule="among the 1 % with the lowest training loss",
        explains="Trains a fresh copy of the model for a few epochs; what is learned first is suspicious.",
        how=(
            "A trigger is easier to learn than an object. A copy of the model with new weights is trained on the given "
            "labels; when the loss $\\ell$ of a batch falls below $\\gamma = 0.5$ it is pushed back up: "
            "$\\min\\, \\mathrm{sign}(\\ell - \\gamma)\\,\\ell$. The samples with the lowest loss at the end are "
            "isolated."
        ),
        limits=(
            "Always flags 1 %, clean data or not, and never more. Easy clean samples are learned early too; attacks "
            "that are learned slowly (warps, clean labels, few samples) are not found."
        ),
    ),
    "cognitive_distillation": Facts(
        title="Cognitive Distillation",
        family="modern",
        citation="Huang et al., ICLR 2023",
        needs=Needs(gradients=True),
        cost="about 80 an image",
        rule="a mask one standard deviation smaller than average",
        explains="Finds, for each image, the smallest part that the prediction needs; a very small part is suspicious.",
        how=(
            "For each image, the smallest mask $m$ that keeps the model's answer when the rest is replaced by a random "
            "colour $\\delta$: $\\min_m \\|f(x) - f(x \\odot m + (1 - m) \\odot \\delta)\\|_1 + \\alpha\\|m\\|_1 + "
            "\\beta\\,\\mathrm{TV}(m)$. A trigger is small and decides alone, an object needs more of the image."
        ),
        limits=(
            "Without clean data the line is drawn through the scanned samples themselves, so some are flagged in any "
            "data set. Simple clean images have small masks too, and patch triggers stand out less than blended ones."
        ),
    ),
    "activation_clustering": Facts(
        title="Activation clustering",
        family="classic",
        citation="Chen et al., SafeAI at AAAI 2019, arXiv 1811.03728",
        needs=Needs(labels=True),
        cost="1 forward pass an image",
        rule="in the smaller of two well separated clusters of its class",
        explains="Splits each class's features in two; a small, well separated part is suspicious.",
        how=(
            "The features before the last layer are taken for all images of one label, reduced to 10 dimensions and "
            "cut into two clusters. The silhouette $\\frac{b-a}{\\max(a,b)}$, with $a$ the mean distance to the own "
            "and $b$ to the other cluster, says how well they are separated. Above 0.15, and if one cluster holds at "
            "most 35 % of the class, that cluster is flagged. Features are reduced by principal components."
        ),
        limits=(
            "Says nothing when the poison makes up about half of its class or more (10 % of a data set with ten "
            "classes, all in one class, does), or when its features mix with the others. Clean classes with two kinds "
            "of images can be split as well."
        ),
    ),
    "spectral_signatures": Facts(
        title="Spectral signatures",
        family="classic",
        citation="Tran et al., NeurIPS 2018",
        needs=Needs(labels=True),
        cost="1 forward pass an image",
        rule="among the 15 % of its class that lie farthest along the class's main direction",
        explains="Looks for samples that lie far out along the direction in which their class varies most.",
        how=(
            "Of the features $h(x)$ of all images of one label, the mean is subtracted and the direction $v$ of "
            "largest variance is taken. The score is $((h(x)-\\bar h)\\cdot v)^2$. Poison that the model tells from "
            "the rest shows as a direction of its own. The share to remove, 1.5 times the poison that is expected, "
            "must be known; 10 % is assumed here."
        ),
        limits=(
            "Always flags 15 % of every class, clean or not, and finds only part of the poison where there is more. "
            "Fails where the poison is half of its class or is not the direction of largest variance."
        ),
    ),
    "scan_cov": Facts(
        title="SCAn",
        family="modern",
        citation="Tang et al., USENIX Security 2021",
        needs=Needs(labels=True, clean_data=True, min_classes=3),
        cost="1 forward pass an image, and 1 for each trusted image",
        rule="in the suspicious half of a class whose anomaly index is above e² = 7.39",
        explains="Tests for each class whether its features are one group or a mixture of two. Needs trusted images.",
        how=(
            "Trusted images tell how features vary within a class (covariance $S_e$). In each class, one group "
            "$N(\\mu, S_e)$ is compared with two groups $N(\\mu_1, S_e), N(\\mu_2, S_e)$ by $J = "
            "\\frac2n\\log\\frac{P(\\text{two})}{P(\\text{one})}$. A class is mixed if $J$ lies more than $e^2$ "
            "robust standard deviations above the median of all classes; the group with fewer trusted images is "
            "flagged."
        ),
        limits=(
            "Compares classes with each other, so attacks on all classes at once (all-to-all, random labels) are not "
            "found. Needs a trusted sample and at least three classes."
        ),
    ),
    "spectre": Facts(
        title="SPECTRE",
        family="modern",
        citation="Hayase et al., ICML 2021",
        needs=Needs(labels=True),
        cost="1 forward pass an image",
        rule="among the 15 % highest scores of the class with the strongest signature",
        explains="Spectral signatures after robust whitening, in the one class where they are strongest.",
        how=(
            "In each class, mean and covariance are estimated from the most concentrated samples and the features are "
            "whitened, so that only directions of the poison keep a variance above one. With $\\tilde\\Sigma$ the "
            "covariance after whitening and $Q = \\exp\\frac{4(\\tilde\\Sigma - I)}{\\|\\tilde\\Sigma\\|-1}$, the "
            "score is $\\tilde x^\\top Q\\tilde x/\\mathrm{tr}\\,Q$. The class with the largest mean score is taken "
            "as the target; 15 % of it are removed (1.5 times an expected 10 %)."
        ),
        limits=(
            "Always flags 15 % of one class, clean or not. Fails where the poison is more than about a fifth of its "
            "class, because then it is part of what is estimated; of all-to-all attacks one class is found."
        ),
    ),
    "beatrix": Facts(
        title="Beatrix",
        family="modern",
        citation="Ma et al., NDSS 2023, arXiv 2209.11715",
        needs=Needs(labels=True, clean_data=True, min_classes=3),
        cost="2 forward passes an image, and large matrices; slow on a CPU",
        rule="suspect in a class whose anomaly index is above e² = 7.39",
        explains="Compares how feature channels go together with how they do in trusted images of the class.",
        how=(
            "Of a feature map $v$, the matrices $G^p = (v^p {v^p}^\\top)^{1/p}$, $p = 1 … 8$, hold which channels are "
            "active together. Trusted images give a band, median ± 10 MAD, for every entry; the score is how far a "
            "sample leaves it. A class is infected if its samples outside and inside differ much more than in the "
            "other classes."
        ),
        limits=(
            "Needs at least 5, better 30 trusted images of a class. Compares classes with each other, so attacks on "
            "all classes at once are not found. Depends on the layer; chosen for networks where triggers show late."
        ),
    ),
    "flare": Facts(
        title="FLARE",
        family="modern",
        citation="Hou et al., IEEE TIFS 2025, arXiv 2411.19479",
        needs=Needs(batch_norm=True),
        cost="1 forward pass an image, and clustering",
        rule="nearer to the other clusters than to the large, benign one",
        explains="Collects the most extreme activations of every layer and looks for a group apart from the large one.",
        how=(
            "Each BatchNorm layer says what is usual for it, so its input is measured in these units: $z = (a - "
            "\\mu)/\\sigma$. Of every layer the largest and the smallest $z$ of an image are kept. These numbers are "
            "projected to two dimensions and clustered; if no large cluster stands out, the last layers are left out "
            "one by one. Whatever is not in the largest cluster is flagged. Labels are not needed."
        ),
        limits=(
            "PCA takes the place of the paper's UMAP, and the test for a stable space is ours. Triggers without "
            "abnormal activations (warps, faint patterns) are not found; any odd group of images, poisoned or not, is."
        ),
    ),
}
