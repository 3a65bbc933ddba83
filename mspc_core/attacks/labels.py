"""Which label a poisoned sample gets."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mspc_core.errors import InputError

LabelMode = Literal["all-to-one", "all-to-all", "random", "clean"]
LABEL_MODES: tuple[LabelMode, ...] = ("all-to-one", "all-to-all", "random", "clean")


def poisoned_labels(
    labels: np.ndarray, mode: str, *, target: int | None, classes: int, generator: np.random.Generator
) -> np.ndarray:
    """Labels int64 [N] that samples of the true classes `labels` get when they are poisoned.

    all-to-one: the target. all-to-all: the next class, as in Gu et al. 2017, section 4.2. random: any other class,
    drawn once for each sample (untargeted: the trigger only makes predictions wrong). clean: the label stays.
    """
    if mode == "all-to-one":
        if target is None:
            raise InputError("The label mode all-to-one needs a target class.")
        return np.full(len(labels), target, dtype=np.int64)
    if mode == "all-to-all":
        return (labels.astype(np.int64) + 1) % classes
    if mode == "random":
        return (labels.astype(np.int64) + generator.integers(1, classes, len(labels))) % classes
    if mode == "clean":
        return labels.astype(np.int64)
    raise InputError(f"Label modes are {', '.join(LABEL_MODES)}; not {mode!r}.")


def attack_succeeded(predicted: np.ndarray, labels: np.ndarray, mode: str, *, target: int, classes: int) -> np.ndarray:
    """Did the trigger do what it was planted for? bool [N]; `labels` are the true classes.

    random: any other class than the true one counts, so an inaccurate model has a high rate without any trigger.
    """
    if mode == "random":
        return np.asarray(predicted != labels)
    wanted = (labels + 1) % classes if mode == "all-to-all" else np.full(len(labels), target)
    return np.asarray(predicted == wanted)
