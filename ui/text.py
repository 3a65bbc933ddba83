"""Words and numbers as people read them. Free of streamlit.

Names of classes, paths and URL values come from strangers. `plain` makes them harmless inside Markdown (streamlit's
labels and `st.markdown`), `short` is for places that show text as it is (tables, `st.text`, select boxes), and
`plotly_text` is for figures, which read a little HTML.
"""

from __future__ import annotations

import html
import re
import unicodedata
from datetime import datetime

from mspc_core.words import count, duration, percent, plural, short

__all__ = ["HELP", "count", "duration", "percent", "plain", "plotly_text", "plural", "short", "when"]

_JOINER = "\u2060"  # invisible and without width: breaks patterns that become emoji, icons or links
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-!|<>~$&^=])")
_SHORTCODE = re.compile(r":(?=[\w+/-]+:)")
_LINK = re.compile(r"(?i)(://|\bwww\.|@)")
_RIGHT_TO_LEFT = ("R", "AL")  # classes of letters in the bidirectional algorithm
_LIST = re.compile(r"^(\s*\d+)([.)])")


def plain(text: object, limit: int = 60) -> str:
    """`short` text that Markdown shows exactly as it is: no markup, links, icons, emoji codes or formulas."""
    line = _LINK.sub(lambda found: found[0][:-1] + _JOINER + found[0][-1] + _JOINER, short(text, limit))
    line = _SHORTCODE.sub(":" + _JOINER, line)
    line = _MARKUP.sub(r"\\\1", line)
    return _isolated(_LIST.sub(r"\1\\\2", line))


def plotly_text(text: object, limit: int = 40) -> str:
    """`short` text for titles, ticks and hover labels of plotly figures, which would read tags."""
    return _isolated(html.escape(short(text, limit), quote=False))


def _isolated(line: str) -> str:
    """A name in Arabic or Hebrew letters by itself, so that it does not pull numbers beside it to its other side."""
    if not line.isascii() and any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in line):
        return f"\u2068{line}\u2069"  # first strong isolate … pop directional isolate
    return line


def when(timestamp: float, now: datetime | None = None) -> str:
    """A time stamp in local time: "today 14:03", "21 Nov 09:10", "3 Jan 2025"."""
    moment = datetime.fromtimestamp(timestamp)
    today = now or datetime.now()
    if moment.date() == today.date():
        return f"today {moment:%H:%M}"
    if moment.year == today.year:
        return f"{moment.day} {moment:%b %H:%M}"
    return f"{moment.day} {moment:%b %Y}"


HELP: dict[str, str] = {
    "backdoor": "A hidden rule that an attacker trains into a model: any image that carries the trigger is given the "
    "target class. The poisoned images in the training set teach that rule.",
    "trigger": "What the attacker adds to an image, such as a sticker, so that the model gives the target class.",
    "target class": "The class the attacker wants the model to answer whenever the trigger is there.",
    "poison rate": "The share of the training images that carry the trigger.",
    "SPC": "Scaled prediction consistency: multiply all pixels by 2, 3, … 12 and count how often the prediction stays. "
    "Triggers often survive this, ordinary objects often do not. 1 means that it never changed. "
    "(Guo et al., SCALE-UP, ICLR 2023)",
    "MSPC": "Mask-aware SPC: the same test on the part of the image under a learned mask, after subtracting a small "
    "shift. From −1 (no scale agrees) to 1 (all agree); above 0 most agree and the image is flagged. "
    "(Pal et al., ICLR 2024)",
    "transplant": "Cut the region under the mask out of this image, paste it on other images, and see how many then "
    "get this image's class. A trigger takes its class with it; a part of an object rarely does.",
    "transplant rate": "The share of other images that change to this class when the region is pasted on them.",
    "pattern transplant": "Take what a part of a class has in common and the rest of it lacks, add it to images of "
    "other classes, and see how many then get this class. Both parts show the same kind of object, so the difference "
    "holds none: what turns other images was planted.",
    "pattern turns": "The share of other images that change to this class when its pattern is added to them.",
    "feature mixture": "What the network sees of each class is split in two. Most classes gain about as much from "
    "that; one whose images are recognised in two ways, by their object and by a trigger, gains far more.",
    "two groups": "The feature mixture's anomaly index: how far the gain of splitting this class in two stands out "
    "from the other classes'. Above 7.4 it does. (Tang et al., USENIX Security 2021)",
    "gain": "How far apart the two groups are, in units of how much images of the other classes vary.",
    "explained": "The share of the variance along the line between the groups that the split explains, in images that "
    "did not choose this line. About 64 % for one bell-shaped group; more than 75 % takes two.",
    "second opinion": "A second model that sees only small, flipped and shifted images, and is not shown what is "
    "learned first, so that it hardly learns a trigger. Each half of the images is judged by a model trained on the "
    "other half. Where its surprise follows the features of the scanned model, these features hold a trigger.",
    "surprise": "How much more often the second opinion contradicts a label than its own confidence promised. On clean "
    "images it is zero on average, whatever they show.",
    "contradicted": "Of the flagged images with this label, the share to which the second opinion gives another class.",
    "evidence": "How much likelier the contradictions of the flagged images are if these images are poisoned than if "
    "they are clean, as a logarithm, in nats: 1 nat is a factor of 2.7, 13.8 nats are a million to one.",
    "suspect score": "The scores of the verdict's tests on one scale: the highest rank that any of them gives the "
    "image. Suspects are above 0.5.",
    "mask": "A map over the image, from 0 (hidden) to 1 (kept), learned so that suspicious images keep their "
    "prediction. Where it stays bright is where the trigger may be.",
    "cut": "Only where the mask is above this share of its maximum. The transplant test cuts at 0.2.",
    "cut out": "The masked place, enlarged without smoothing. In the mean over the suspects a trigger that is the same "
    "in all of them stays sharp, and everything else blurs. The spread is the standard deviation of each pixel.",
    "attribution": "How much each pixel of one image speaks for the class the model gives it. Integrated Gradients "
    "adds up gradients, Grad-CAM shows where the last convolutional block is active, Occlusion hides one place after "
    "the other.",
    "overlap": "IoU: the area that the mask's region and as many of the strongest pixels share, divided by the area "
    "that either covers. Share inside: how much of what speaks for the class lies in the region.",
    "τ": "The shift: subtracted from each pixel before scaling, so that pale backgrounds stop counting as evidence.",
    "scale": "The number all pixels are multiplied by before the model looks again. Values above white are cut off.",
    "natural threshold": "A limit that follows from what the score means (a majority of scales or of changed images, "
    "even odds), so nobody had to choose it and no clean data was needed.",
    "flagged": "The detector's score for this image is above its threshold. A flag is a reason to look, not a proof.",
    "suspect": "Flagged by a test that has a case: by the transplant test, the pattern transplant or the feature "
    "mixture in a class that stands out from the others, or by the second opinion.",
    "anomaly index": "How far a class's share of flagged samples stands out from the other classes', in units of their "
    "usual spread; the largest of the verdict's tests. Above 2 it is unusual. (Wang et al., Neural Cleanse, 2019)",
    "ASR": "Attack success rate: the share of clean test images that get the target class once the trigger is added.",
    "AUROC": "How well a score ranks backdoored images above clean ones: 1 is perfect, 0.5 is chance. "
    "It needs the truth, so only lab data sets have it.",
    "average precision": "The mean precision over all thresholds; unlike AUROC it suffers when flags are mostly wrong.",
    "TPR": "True-positive rate: the share of backdoored images that are flagged.",
    "FPR": "False-positive rate: the share of clean images that are flagged by mistake.",
    "TPR at 1 % FPR": "How many backdoored images are found if at most one clean image in a hundred may be flagged.",
    "truth": "Lab data sets record which images were poisoned. Detectors never see it; it is used to check them.",
    "test accuracy": "The share of held-out images that the model gives their label.",
    "training accuracy": "The share of the scanned images that the model gives their label; there were no held-out "
    "images. A model that has learned little has hardly learned a backdoor either, so its verdict says little.",
    "label": "The class the data set gives to the image. On poisoned images it may be wrong.",
    "predicted": "The class the model gives to the image.",
    "confidence": "The probability that the model gives to its prediction.",
    "forward-equivalents": "The cost of a detector: how many times an image went through the model, forwards or "
    "backwards. It does not depend on the machine.",
    "map": "Each image is a dot, placed by the numbers that the model's last layer works with. Near dots look alike to "
    "the model. It is a way to look, not a part of the verdict.",
    "PCA and UMAP": "PCA: the two directions in which the images differ most; distances are true to them. UMAP: keeps "
    "neighbours together and so shows more groups; distances between groups and their sizes mean nothing.",
    "feature distance": "Cosine distance between what the model's last layer sees of two images: 0 for the same, about "
    "1 for nothing in common.",
    "clipped": "The share of pixel values that scaling pushed past white; they were cut off at 1.",
}
