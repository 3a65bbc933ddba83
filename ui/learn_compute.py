"""What the lesson asks the model while the reader waits: a trigger put on images, images made brighter. All cached.

Torch is imported inside the functions: the first steps are read without it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.base import as_json, create
from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache, compute, filters

MOST_TESTED = 1000  # test images on which attack success is measured while the reader waits


@dataclass(frozen=True)
class Answers:
    """What the model says of some images. images: uint8 [N, H, W, 3]; predicted, confidence: [N]."""

    images: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Success:
    """Attack success, measured now. before, after: shares of test images of other classes that the model gives the
    target without and with the trigger. tested: how many images. rows: theirs in the data set; predicted: with it."""

    before: float
    after: float
    tested: int
    rows: np.ndarray
    predicted: np.ndarray


def stamp_trigger(images: np.ndarray, trigger: BadNets) -> np.ndarray:
    """The trigger on images, uint8 [N, H, W, 3] → the same. A patch that is too large for the images is made smaller;
    a random place is the same each time."""
    room = min(images.shape[1:3])
    margin = min(trigger.margin, max(0, (room - 1) // 2))
    fitting = create("badnets", {**as_json(trigger), "margin": margin, "size": min(trigger.size, room - 2 * margin)})
    return fitting.apply(images, np.random.default_rng(0))


def has_images(run: Run) -> bool:
    """Are the images of the run still there?"""
    try:
        return bool(len(cache.dataset_of(run).pixels))
    except InputError:
        return False


def recorded(run: Run, row: int) -> tuple[int, float] | None:
    """Class and confidence that the scan has written down for an image, or None for one that it did not scan."""
    scores = cache.scores_of(run)
    here = np.flatnonzero(scores["row"].to_numpy() == row)
    if not len(here):
        return None
    return int(scores["predicted"].iloc[here[0]]), float(scores["confidence"].iloc[here[0]])


def samples(run: Run, *, but: int | None = None, most: int = 8, scanned: bool = False) -> np.ndarray:
    """Rows of honest images that the model was not trained on, one a class in turn, always the same ones. but: all
    classes except this one. scanned, or no test split: clean training images instead."""
    rows, labels = _trained_on(run) if scanned else _held_out(run)
    kept = np.ones(len(rows), dtype=bool) if but is None else labels != but
    rows, labels = rows[kept], labels[kept]
    order = np.random.default_rng(0).permutation(len(rows))
    turn = np.zeros(len(rows), dtype=int)  # how many of its class came before
    for number in np.unique(labels):
        here = order[labels[order] == number]
        turn[here] = np.arange(len(here))
    chosen = np.lexsort((labels, turn))[:most]
    found: np.ndarray = rows[chosen]
    return found


def labels_of(run: Run, rows: np.ndarray) -> np.ndarray:
    """Labels in the data set, int64 [N]."""
    found: np.ndarray = cache.dataset_of(run).manifest["label"].to_numpy()[rows].astype(np.int64)
    return found


def _held_out(run: Run) -> tuple[np.ndarray, np.ndarray]:
    rows = cache.dataset_of(run).indices("test")
    return (rows, labels_of(run, rows)) if len(rows) else _trained_on(run)


def _trained_on(run: Run) -> tuple[np.ndarray, np.ndarray]:
    scores = cache.scores_of(run)
    truth = filters.known_truth(scores)
    accused = filters.suspects_of(scores) if truth is None else truth
    rows = scores["row"].to_numpy()[~accused]
    return rows, labels_of(run, rows)


def ask(run: Run, rows: np.ndarray, trigger: BadNets | None = None, scale: float = 1.0) -> Answers:
    """The model's answers to stored images, with the trigger on them if one is given, then multiplied by `scale`."""
    wanted = json.dumps(as_json(trigger)) if trigger else ""
    return _ask(*compute.run_files(run), tuple(int(row) for row in rows), wanted, float(scale))


def ask_white(run: Run) -> int:
    """The class that the model gives to an image that is nothing but white."""
    return _ask_white(*compute.run_files(run))


def attack_success(run: Run, trigger: BadNets, target: int) -> Success:
    """How often the trigger turns test images of other classes into the target."""
    return _success(*compute.run_files(run), json.dumps(as_json(trigger)), target)


@st.cache_data(max_entries=200, show_spinner=False)
def _ask(
    folder: str, model: int, masks: int, scores: int, rows: tuple[int, ...], trigger: str, scale: float
) -> Answers:
    run = Run(Path(folder))
    images = np.array(cache.dataset_of(run).pixels[list(rows)])
    if trigger:
        images = stamp_trigger(images, create("badnets", json.loads(trigger)))  # type: ignore[arg-type]
    scaled = np.clip(np.rint(images.astype(np.float32) * scale), 0, 255).astype(np.uint8)
    predicted, confidence = _predict(run, scaled)
    return Answers(scaled, predicted, confidence)


@st.cache_data(max_entries=8, show_spinner=False)
def _ask_white(folder: str, model: int, masks: int, scores: int) -> int:
    run = Run(Path(folder))
    size = cache.dataset_of(run).info.size
    return int(_predict(run, np.full((1, size, size, 3), 255, dtype=np.uint8))[0][0])


@st.cache_data(max_entries=64, show_spinner=False)
def _success(folder: str, model: int, masks: int, scores: int, trigger: str, target: int) -> Success:
    run = Run(Path(folder))
    rows, labels = _held_out(run)
    rows = np.sort(np.random.default_rng(0).permutation(rows[labels != target])[:MOST_TESTED])
    images = np.array(cache.dataset_of(run).pixels[rows])
    before = _predict(run, images)[0]
    attack = create("badnets", json.loads(trigger))
    after = _predict(run, stamp_trigger(images, attack))[0]  # type: ignore[arg-type]
    count = max(1, len(rows))
    return Success(
        float((before == target).sum() / count), float((after == target).sum() / count), len(rows), rows, after
    )


def _predict(run: Run, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes and confidences, [N] each; none for no images."""
    if not len(images):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    from mspc_core.engine.forward import predict_logits

    confidence, predicted = predict_logits(cache.model_of(run), images).softmax(1).max(1)
    return predicted.numpy(), confidence.numpy()
