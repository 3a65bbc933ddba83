"""What the page for teachers says: aims, plan, preparation, misconceptions. Markdown; free of streamlit."""

from __future__ import annotations

from typing import NamedTuple

AIMS = (
    "say what a backdoor is, and why an ordinary test does not show it",
    "tell poison rate, accuracy and attack success rate apart",
    "work out SPC of an image by hand, and read a histogram with a threshold",
    "explain a false alarm by its cause, not as bad luck",
    "judge evidence: what a transplant shows, and why a verdict asks several tests",
    "decide what to remove, and check that it helped",
)


class Part(NamedTuple):
    """A stretch of the plan. minutes: how long. steps: of the lesson, first and last."""

    minutes: int
    what: str
    steps: tuple[int, int] | None
    how: str


PLAN: tuple[Part, ...] = (
    Part(5, "What is a backdoor?", (1, 1), "Let the class vote on the question before you show the answer."),
    Part(5, "Put one in", (2, 2), "Ask for a poison rate; show how many images that is."),
    Part(7, "Training and attack", (3, 4), "Which curve falls first? Then exercise 1 together."),
    Part(11, "SPC and where it errs", (5, 7), "Everybody counts one SPC by hand; then look for the false alarms."),
    Part(8, "Mask and transplant", (8, 9), "Compare a poisoned with a clean image of the same class."),
    Part(4, "The verdict", (10, 10), "Let the class invent a rule and measure it."),
    Part(5, "Clean up", (11, 11), "Show a retraining that was made before the class."),
)

PREPARE = """\
1. **Start the app** on the machine with the projector: `make run`, then open the address that it prints.
2. **Scan the demo once**, before the class: *Start the demo* on the Learn page. It takes some minutes and needs no
   network.
3. **Train again once**, on *Clean & retrain*, so that the last step has something to show. Leave the second training of
   the exercise *Clean in two ways* to the class.
4. **Give everybody the same run.** All of it lies in one folder, the one that the variable `BACKDOOR_LENS_HOME` names
   (else `~/.local/share/backdoor-lens`). Copy its `datasets/demo`, `datasets/demo-clean` and the run in `runs/` to
   every machine: nobody has to wait for a scan, and all see the same numbers. Scans of their own may differ slightly
   from machine to machine.
5. **One machine for all?** The app listens on its own machine only. To open it to the class, give it a token that
   everybody logs in with: the page *Serving* of the documentation says how. Steps and answers belong to each browser
   window; review decisions are shared by all who use the folder.
"""


class Misconception(NamedTuple):
    """What is often said, and what to answer."""

    said: str
    answer: str


MISCONCEPTIONS: tuple[Misconception, ...] = (
    Misconception(
        "A model with a backdoor is a bad model.",
        "Without the trigger it is as good as any other. That is the point of the attack, and why accuracy cannot show "
        "it.",
    ),
    Misconception(
        "It takes a lot of poison.",
        "Chen and others (2017) reached more than 90 % attack success with about 50 poisoned images in their setting.",
    ),
    Misconception(
        "A trigger can be seen.",
        "A sticker can. A picture blended in faintly, or a slight warp (WaNet, 2021), is hard to see or cannot be "
        "seen.",
    ),
    Misconception(
        "A backdoor is the same as an adversarial example.",
        "An adversarial example is made for a finished, honest model, at test time. A backdoor is trained in; "
        "afterwards the same trigger works on any image.",
    ),
    Misconception(
        "A flagged image is a poisoned image.",
        "A flag is a reason to look. SPC also flags clean images, for a reason that has nothing to do with poison "
        "(step 7).",
    ),
    Misconception(
        "An AUROC near 1 means that the detector can be used as it is.",
        "AUROC says how well the score ranks. How many are flagged by mistake depends on the threshold (step 8).",
    ),
    Misconception(
        "No evidence means that the data is clean.",
        "Every test is blind to some triggers. “No evidence found” says that these tests, on this model, made no case.",
    ),
    Misconception(
        "The accuracy is back, so the backdoor is gone.",
        "The accuracy was never away. Measure the attack success rate (step 11).",
    ),
)
