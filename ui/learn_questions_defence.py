"""Questions of steps 5 to 11, about the defence. Reasons name numbers of the run where there is one."""

from __future__ import annotations

from ui import cache, figures_data, filters, learn_compute, verdicts
from ui.learn_quiz import Question
from ui.learn_run import Facts, Lesson
from ui.text import count, percent


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
            "them above."
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
        f"The same region is cut from a *clean* {facts.target_name} image and pasted on others. How many turn?",
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
