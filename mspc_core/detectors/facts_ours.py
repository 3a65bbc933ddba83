"""This project's own detectors, as the catalogue describes them."""

from __future__ import annotations

from mspc_core.detectors.base import Needs
from mspc_core.detectors.facts import Facts

OURS: dict[str, Facts] = {
    "transplant": Facts(
        title="Transplant",
        family="ours",
        citation="this project (docs/method.md), after Pal et al. 2024 and Wang et al. 2019",
        needs=Needs(gradients=True),
        cost="about 15 to 30 an image",
        rule="the region turns most of the images it is pasted on",
        explains=(
            "Learns the smallest region of each class that turns other images, then pastes each image's region and "
            "counts. One of the four tests that give the verdict."
        ),
        how=(
            "For each class, a region is learned that, cut from its images and pasted on others, turns them into this "
            "class, at a rising price per pixel. A trigger needs few pixels and moves with them; an honest class lets "
            "go of everything. The score is the share of 16 other images that turn."
        ),
        limits="Triggers without a fixed place or spread over the whole image cannot be cut out and moved.",
    ),
    "pattern": Facts(
        title="Pattern transplant",
        family="ours",
        citation="this project, 2026 (docs/method.md), after Wang et al., Neural Cleanse, IEEE S&P 2019",
        needs=Needs(gradients=True),
        cost="about 5 an image",
        rule="the pattern that sets these samples apart within their class turns most other images",
        explains=(
            "Finds what a part of a class has in common that the rest of it lacks, and adds it to other images. Finds "
            "triggers spread over the whole image, also where the labels are correct."
        ),
        how=(
            "For each class the smallest pattern is learned that turns other images into it. If the class's own images "
            "fall into two kinds along it, the difference of their means holds no object, since both are of the same "
            "class: it is what was planted. The score is the share of other images that turn when this difference is "
            "added, times the probability that the sample has it."
        ),
        limits=(
            "Warps, styles and triggers of random place or of their own in every image have no common difference. A "
            "class in which every sample is poisoned has nothing to be compared with."
        ),
    ),
    "second_opinion": Facts(
        title="Second opinion",
        family="ours",
        citation="this project, 2026 (docs/method.md), with early losses after Li et al., NeurIPS 2021",
        needs=Needs(labels=True, min_per_class=2),
        cost="about as much as training the model",
        rule="more likely poisoned than not; nobody, as long as the evidence is below a million to one",
        explains=(
            "Asks a second model that sees only small blurred images, and looks where it contradicts the labels more "
            "than its confidence allows. Finds any trigger that goes with wrong labels."
        ),
        how=(
            "A second model learns from small, flipped and shifted images without those that are learned first, so "
            "that it hardly sees a trigger; each half of the data is judged by the other. Its *surprise* at a sample "
            "is $1[\\hat y\\neq y]-(1-a)$, where $a$ is how often it is right at this confidence: zero on average for "
            "clean images of every kind. If the first model's features predict the surprise, they hold a trigger: a "
            "ridge regression, always judged on samples it was not fitted to, ranks the samples, and the prefix with "
            "the largest sum of $\\log P(\\cdot\\mid\\text{poisoned})-\\log P(\\cdot\\mid\\text{clean})$ is "
            "flagged."
        ),
        limits=(
            "Poison that keeps its correct label is not contradicted and not found. Large triggers that survive "
            "blurring may fool the second model too. Wrong labels without any trigger can be flagged as well."
        ),
    ),
    "mixture": Facts(
        title="Feature mixture",
        family="ours",
        citation="this project, 2026 (docs/method.md), after Tang et al., SCAn, USENIX Security 2021",
        needs=Needs(labels=True, min_classes=3),
        cost="1 an image, 2 in a mixed class",
        rule="its class stands out as two groups (anomaly index above e²), and it lies in the planted one",
        explains=(
            "Looks for the one class that the network sees as two groups. Finds any trigger that the model learned, "
            "whatever it looks like, also where the labels are correct."
        ),
        how=(
            "Features before the last layer are scaled to unit length, and measured by how much samples of the *other* "
            "classes vary. In each class 2-means gives the gain $J$ of two groups over one. A class is mixed if its "
            "$J$ stands out from the other classes' and the split explains more than 75 % of the variance along it, "
            "as no single mode does. The planted group is the one whose runner-up classes are more mixed; a "
            "regression on what all layers show then draws the border again."
        ),
        limits=(
            "Needs a class that stands out: poison in most classes (all-to-all, random labels) makes them alike, and "
            "below six classes nothing is flagged. A class that honestly holds two kinds of images, where no other "
            "does, looks the same as poison."
        ),
    ),
}
