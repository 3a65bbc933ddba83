"""Exercises for a class, from easy to hard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ui import teach_solutions
from ui.learn_run import Lesson
from ui.teach_solutions import BLEND

LEVELS = ("easy", "medium", "hard")
BLEND_COMMANDS = f"""\
python -m mspc_core poison demo-clean --attack blend --rate 0.05 --target stop --out {BLEND}
python -m mspc_core scan {BLEND}"""


@dataclass(frozen=True)
class Exercise:
    """level: place in `LEVELS`. minutes: about how long. task: Markdown. page, step: where in the app it is done.
    solve: draws the solution; it may load the model."""

    title: str
    level: int
    minutes: int
    task: str
    page: str
    solve: Callable[[Lesson], None]
    step: int | None = None
    code: str = ""


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "Move the sticker",
        0,
        5,
        "In *Try the backdoor*, put the sticker into each of the other places, halve its size, and make it white. When "
        "does the attack still work? What has the model learned?",
        "learn",
        teach_solutions.move_the_sticker,
        step=4,
    ),
    Exercise(
        "Count SPC by hand",
        0,
        5,
        "In *Make images brighter*, take one poisoned and two clean images. Count from the strip, work out SPC, and "
        "compare it with the number that the page shows.",
        "learn",
        teach_solutions.count_by_hand,
        step=5,
    ),
    Exercise(
        "Read a histogram",
        1,
        8,
        "On the page *Scores*, choose SPC. How many images are flagged at the natural threshold? How many of them are "
        "clean? To which class do these belong, and why?",
        "scores",
        teach_solutions.read_the_histogram,
    ),
    Exercise(
        "The perfect threshold",
        1,
        5,
        "In *All images at once*, look for a threshold that flags every poisoned image and no clean one. Is there one?",
        "learn",
        teach_solutions.best_threshold,
        step=6,
    ),
    Exercise(
        "Find the region",
        1,
        8,
        "On the page *Mask*, find the class whose region turns most other images. Where in the image does the region "
        "lie? Try it with several images of that class.",
        "mask",
        teach_solutions.find_the_region,
    ),
    Exercise(
        "Review ten suspects",
        1,
        8,
        "On the page *Review*, decide about ten suspects with the keys that are shown there. Reload the page. Are your "
        "decisions still there? Would you remove all suspects unseen?",
        "review",
        teach_solutions.review_some,
    ),
    Exercise(
        "Clean in two ways",
        2,
        15,
        "On the page *Clean & retrain*, train again twice: once without the suspects, once without what SPC flags "
        "(*One detector*). Compare accuracy and attack success. What went wrong in one of them?",
        "clean",
        teach_solutions.clean_in_two_ways,
    ),
    Exercise(
        "Another trigger",
        2,
        20,
        "Blend a picture faintly over a twentieth of the images and label them *stop*. Before you scan: which tests "
        "will find it? Then scan, and compare with your guess. On the command line:",
        "scores",
        teach_solutions.another_attack,
        code=BLEND_COMMANDS,
    ),
    Exercise(
        "Beat the tests (on paper)",
        2,
        15,
        "You are the attacker and know all four tests of the verdict. For each, describe a trigger that it cannot see. "
        "Is there one that none of them sees, and what would it cost you?",
        "learn",
        teach_solutions.beat_the_tests,
        step=10,
    ),
)
