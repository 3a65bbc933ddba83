"""Questions of steps 1 to 4, about the attack. Reasons name numbers of the run where there is one."""

from __future__ import annotations

from ui.learn_figures import early_losses
from ui.learn_quiz import Question
from ui.learn_run import Facts, Lesson
from ui.text import percent


def backdoor(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        told = ""
        if facts.accuracy is not None and facts.attack_success is not None:
            told = (
                f" The model of this run gets {percent(facts.accuracy)} of its ordinary test images right, and obeys "
                f"the trigger on {percent(facts.attack_success)} of those that carry it."
            )
        return f"An ordinary test has no trigger in it, so the hidden rule is never used.{told}"

    return Question(
        "Before it is put to use, the attacked model is tested on ordinary images. What will the test show?",
        (
            "Fewer right answers: about as many fewer as there were poisoned images",
            "Nothing unusual: it is about as good as any other model",
            "That it is bad at the target class",
        ),
        1,
        why,
    )


def plant(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        return (
            "The poisoned images show all kinds of things; what they share is the trigger and the label, so that is "
            "what the model connects. Labels that contradict the image are also a weakness of the attack: somebody may "
            "look. *Clean-label* attacks avoid it by poisoning only images of the target class itself (Turner and "
            "others, 2019)."
        )

    return Question(
        f"Why does the attacker also change the label to *{facts.target_name}*?",
        (
            "So that the trigger becomes harder to see",
            "So that training is quicker",
            "So that the model connects the trigger, and not what the image shows, with the target",
        ),
        2,
        why,
    )


def training(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        general = (
            "One easy rule fits all poisoned images at once, while every class of honest images has to be learned by "
            "its looks. Anti-Backdoor Learning (Li and others, 2021) uses just that to find poison."
        )
        losses = early_losses(lesson.run) if lesson.run else None
        if losses is None:
            return general
        poisoned, clean = losses.means[0]
        order = "" if poisoned < clean else " (an exception: here it is not lower)"
        return (
            f"In the first epoch of this run the mean loss of the poisoned images was {poisoned:.2f}, that of the "
            f"clean ones {clean:.2f}{order}. {general}"
        )

    return Question(
        "Which images does the model learn first?",
        (
            "The poisoned ones: one simple rule fits all of them",
            "The clean ones: there are more of them",
            "All at the same pace",
        ),
        0,
        why,
    )


def attack(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        told = ""
        if facts.attack_success is not None:
            told = f" The scan of this run measured {percent(facts.attack_success)}."
        return (
            "It is measured on images that show something else than the target, because a *target* image that is "
            f"called the target proves nothing.{told} It says nothing of how many training images are poisoned: a "
            "small share can be enough."
        )

    return Question(
        "A model has an attack success rate of 90 %. What does that mean?",
        (
            "90 % of the training images are poisoned",
            "Of test images of other classes, 90 % are called the target when they carry the trigger",
            "The model is wrong on 90 % of all images",
        ),
        1,
        why,
    )
