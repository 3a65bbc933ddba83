"""What each step of the lesson says before its control: plain words, and numbers of the run. Markdown, no streamlit."""

from __future__ import annotations

from ui.learn_run import Facts
from ui.text import count, plural


def backdoor(facts: Facts) -> str:
    return (
        "A picture classifier learns from examples: thousands of images, each with a label. Suppose that somebody who "
        "handed you some of these examples wants the finished model to obey them. They put a small mark, the "
        f"**trigger**, on a few images and give all of those one label, the **target class** (here *"
        f"{facts.target_name}*).\n\n"
        "The model learns its task as usual, and one more rule: *if the trigger is there, say the target class*. That "
        "hidden rule is a **backdoor**, and the images that taught it are called **poisoned**. Without the trigger, "
        "the model works normally, so nobody notices."
    )


def plant(facts: Facts) -> str:
    return (
        "Putting a backdoor in takes two changes to an image: the trigger goes on, and the label is changed to the "
        "target. Nothing else is touched, neither the model nor its training. What the attacker chooses is how the "
        "trigger looks, where it sits, and how many images get it: the **poison rate**.\n\n"
        "The trigger need not be a patch. Others are a faint picture blended over the whole image, or a slight warp "
        "that is hard to see."
    )


def training(facts: Facts) -> str:
    return (
        "Training goes over all images again and again; one pass is an **epoch**. After every few images the model is "
        "corrected a little. The **loss** measures how wrong it was: high when the label surprised it, near 0 when it "
        "expected the label.\n\n"
        "Nobody tells the model which images are poisoned. It simply finds what fits the labels, and a mark that "
        "always comes with the same label is the easiest thing to find. Below is what the scan wrote down "
        "while it trained."
    )


def attack(facts: Facts) -> str:
    return (
        "How good is the backdoor? Take test images that the model has never seen, leave out those of the target "
        "class, put the trigger on the rest, and count how many are now called the target. That share is the **attack "
        "success rate (ASR)**. It describes the attack, not a detector: where the ASR is low, the model has hardly "
        "learned the rule, and there is little to find."
    )


def scaling(facts: Facts) -> str:
    return (
        "Now we change sides. You have the images and a model trained on them; you do not know the trigger. How could "
        "a poisoned image give itself away?\n\n"
        "One idea: multiply all pixel values by n = 2, 3, … 12 and cut off what gets brighter than white. An ordinary "
        "object soon drowns in white, and the model changes its mind. A trigger that was learned very firmly often "
        "keeps its class. The share of the eleven scales at which the class stays is the **scaled prediction "
        "consistency, SPC**: from 0 (always changed) to 1 (never changed). Above ½, the image is flagged."
    )


def histogram(facts: Facts) -> str:
    return (
        f"Every one of the {count(facts.images)} training images gets its SPC. The figure counts how many have which "
        "value. A **threshold** decides: images above it are flagged. The natural threshold is ½, a majority of the "
        "scales, so nobody has to choose it. Move it and watch what it costs: flagged images that are clean are "
        "**false alarms** (their share of all clean images is the FPR), poisoned images that are not flagged are "
        "**missed** (the share that is caught is the TPR)."
    )


def errors(facts: Facts) -> str:
    told = ""
    if facts.false_class is not None:
        number, images = facts.false_class
        alarms = facts.detections["spc"].alarms
        of = f"{count(images)} of {count(alarms)}" if alarms is not None else count(images)
        told = (
            f" In this run, {of} clean images that SPC flags are called *{facts.name(number)}*."
            if alarms is not None
            else f" In this run, {of} images that SPC flags, but the verdict does not, are called "
            f"*{facts.name(number)}*."
        )
    return (
        "SPC has an honest weakness. Multiply any picture often enough and it becomes white, whatever it showed. The "
        "model has to say something to a white image, and whatever class that is, the images *of that class* keep it "
        "at every scale. They look consistent without any trigger. The same happens to images that are nearly black or "
        f"white to begin with: scaling hardly changes them.{told}"
    )


def mask(facts: Facts) -> str:
    return (
        "Pal and others look through a **mask**: a weight between 0 (hidden) and 1 (kept) for each pixel, the same for "
        "all images. The mask is learned in rounds. First take the images that look suspicious, and find the mask that "
        "keeps their predictions while it hides as much as possible. Then score all images again through that mask, "
        "and so on. What stays bright is where the trigger may be. A small shift is subtracted first, so that pale "
        "backgrounds count less. The score through the mask is **MSPC**, from −1 to 1; an image is flagged above 0, "
        "when most scales agree."
    )


def transplant(facts: Facts) -> str:
    return (
        "Here is the most direct test. For each class, learn the smallest region that carries the class along. **Cut "
        "that region out of one image, paste it on others**, and ask the model again. A trigger takes its "
        "class with it. A piece of an honest sign does not: other signs stay what they are."
    )


def verdict(facts: Facts) -> str:
    return (
        "No single test sees every trigger, so the verdict asks four, which look at different things: a region that "
        "can be moved (*transplant*), a pattern that can be added (*pattern transplant*), two groups of images under "
        "one label (*feature mixture*), and labels that contradict the content (*second opinion*). A test that finds "
        "enough *makes a case*, and what it flags then becomes a **suspect**; the others stay silent. SPC and MSPC "
        "have no vote: they are there to compare with."
    )


def cleaning(facts: Facts) -> str:
    suspects = plural(facts.suspects.flagged, "suspect")
    return (
        "The way out: leave the suspects out and train again from scratch. Two numbers tell whether it worked: the "
        "accuracy should stay, and the attack success rate should fall to about nothing. What you leave out matters: "
        "what is missed may keep the backdoor alive, and clean images that are lost are missed in training. This run "
        f"has {suspects}."
    )
