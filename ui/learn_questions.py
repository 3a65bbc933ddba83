"""The questions of the lesson. Reasons name numbers of the run, or leave them out where there are none."""

from __future__ import annotations

from ui import cache, figures_data, filters, learn_compute, verdicts
from ui.learn_figures import early_losses
from ui.learn_quiz import Question
from ui.learn_run import Facts, Lesson
from ui.text import count, percent


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


def scaling(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        return (
            f"SPC is the share of scales that keep the class: 9 ÷ 11 = {9 / 11:.2f}. More than half of the scales "
            "agree, so the image is flagged. A flag is a reason to look, not a proof."
        )

    return Question(
        "An image keeps its class at 9 of the 11 scales. What is its SPC?",
        (
            f"{2 / 11:.2f}, and it is not flagged",
            f"{9 / 11:.2f}, and it is flagged",
            "9, and it is flagged",
        ),
        1,
        why,
    )


def histogram(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        general = "The stricter the threshold, the fewer false alarms, and the more poison may slip through."
        if lesson.run is None:
            return general
        scores = lesson.scores
        found = figures_data.counts_at(scores["spc_score"].to_numpy(dtype=float), filters.known_truth(scores), 0.9)
        told = f"At 0.9, {count(found.flagged)} images of this run would be flagged"
        if found.missed is not None:
            told += f": {count(found.missed)} poisoned ones missed and {count(found.false_alarms or 0)} false alarms"
        return (
            f"{general} {told}. Where false alarms and poison have the same score, no threshold separates them, as the "
            "next step shows."
        )

    return Question(
        "You raise the threshold from 0.5 to 0.9. Fewer images are flagged. What do you risk?",
        (
            "That more clean images are flagged",
            "That poisoned images are missed",
            "Nothing: a higher threshold is always better",
        ),
        1,
        why,
    )


def errors(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        general = (
            "When scaling has turned everything white, all images look alike, and the model gives all of them one "
            "class. Images that had this class to begin with never change it."
        )
        if lesson.run is None:
            return general
        white = learn_compute.ask_white(lesson.run)
        told = f"The model of this run calls an all-white image *{facts.name(white)}*"
        if facts.false_class is None:
            return f"{general} {told}."
        number, images = facts.false_class
        if number == white:
            return f"{general} {told}, and {count(images)} of SPC's false alarms are just this class."
        return (
            f"{general} {told}. Most of SPC's false alarms here are called *{facts.name(number)}*, though: look at "
            "them above; small images in even colours may also keep their class for other reasons."
        )

    return Question(
        "An image is clean, and SPC is 1 all the same. What is the likeliest reason?",
        (
            "The image was poisoned after all",
            "Its class is what the model calls a white, overexposed image",
            "The image is of poor quality",
        ),
        1,
        why,
    )


def mask(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        text = (
            "It keeps what makes suspicious images keep their class under scaling, and a price on every bright pixel "
            "makes it let go of the rest. No person marked anything."
        )
        before, after = facts.detections.get("spc"), facts.detections.get("mspc")
        if before is None or after is None or before.alarms is None or after.alarms is None:
            return text
        text += (
            f" In this run SPC caught {count(before.caught or 0)} and raised {count(before.alarms)} false alarms; MSPC "
            f"caught {count(after.caught or 0)} and raised {count(after.alarms)}."
        )
        if before.auroc is not None and after.auroc is not None:
            text += (
                " How well the scores rank poison above clean images, whatever the threshold (AUROC, 1 is perfect), "
                f"went from {before.auroc:.3f} to {after.auroc:.3f}."
            )
        if after.alarms >= before.alarms:
            text += " The ranking matters here: at its own threshold, MSPC did not raise fewer alarms."
        return text

    return Question(
        "What is the mask trained to keep?",
        (
            "The object in the image",
            "Whatever looks strange to a person",
            "The pixels that make suspicious images keep their class when they are scaled",
        ),
        2,
        why,
    )


def transplant(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        general = "The region of an honest sign is a piece of background or paint; it carries no rule."
        if lesson.run is None or facts.target is None or "transplant_score" not in lesson.scores:
            return general
        scores = lesson.scores
        truth = filters.known_truth(scores)
        accused = filters.suspects_of(scores) if truth is None else truth
        here = scores["predicted"].to_numpy() == facts.target
        rates = scores["transplant_score"].to_numpy(dtype=float)
        told = []
        for words, kept in (
            ("clean", here & ~accused),
            ("poisoned" if truth is not None else "suspect", here & accused),
        ):
            if kept.any():
                told.append(
                    f"of the {count(kept.sum())} {words} ones turned {percent(float(rates[kept].mean()))} on average"
                )
        parts = ", those ".join(told)
        return f"{general} Among the images that the model calls *{facts.target_name}*, the regions {parts}."

    return Question(
        f"The same region is cut from a *clean* {facts.target_name} image and pasted on sixteen others. How many turn?",
        ("Nearly all", "About half", "Hardly any"),
        2,
        why,
    )


def verdict(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        general = (
            "Each test sees certain triggers only: a transplant needs something that stays in one place, the second "
            "opinion needs labels that contradict the image. One test with a case is enough; silence is no proof."
        )
        if lesson.run is None:
            return general
        summary = cache.summary_of(lesson.run)
        loud = verdicts.having_a_case(facts.verdict)
        quiet = [name for name in verdicts.finished(summary) if name not in loud]
        told = f" In this run, {verdicts.tests_words(loud)} made a case" if loud else " In this run, none made a case"
        return f"{general}{told}" + (f"; silent: {verdicts.tests_words(quiet)}." if quiet else ".")

    return Question(
        "Three tests point at a class and one stays silent. What does its silence mean?",
        (
            "The data is clean after all",
            "That the silent test is broken",
            "By itself nothing: every test is blind to some triggers",
        ),
        2,
        why,
    )


def cleaning(facts: Facts) -> Question:
    def why(lesson: Lesson) -> str:
        general = (
            "The accuracy was fine with the backdoor, too. Only images *with the trigger* can tell, so put the trigger "
            "on (or, where it is not known, the region that was found) and measure again."
        )
        before, after = facts.retrained.get("before") or {}, facts.retrained.get("after") or {}
        if before.get("attack_success_rate") is None or after.get("attack_success_rate") is None:
            return general
        return (
            f"{general} In this run the accuracy went from {percent(before['accuracy'])} to "
            f"{percent(after['accuracy'])}, the attack success rate from {percent(before['attack_success_rate'])} to "
            f"{percent(after['attack_success_rate'])}."
        )

    return Question(
        "After cleaning and training again, the accuracy is as high as before. Is the backdoor gone?",
        (
            "Yes, a good accuracy proves it",
            "That cannot be told from the accuracy",
            "No, a backdoor always stays",
        ),
        1,
        why,
    )
