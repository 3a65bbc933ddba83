"""Small parts that several steps of the lesson use: choosing an image, pictures with the model's answer below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from mspc_core.attacks.badnets import BadNets
from mspc_core.runs import Run
from ui import evidence, filters, images, learn_compute
from ui.gallery import Tile, gallery
from ui.learn_run import Lesson
from ui.text import percent, plain
from ui.theme import BACKDOOR, CLEAN

LARGE, SMALL = 224, 96


def one_of(pictures: np.ndarray, names: Sequence[str], key: str, label: str) -> int:
    """Let the reader click one of some images; returns its place (the first, until one was clicked)."""

    def choose(identity: str) -> None:
        st.session_state[f"{key}-chosen"] = int(identity)

    chosen = min(int(st.session_state.get(f"{key}-chosen", 0)), len(pictures) - 1)
    tiles = [Tile(str(place), name) for place, name in enumerate(names)]
    gallery(pictures, tiles, key=key, label=label, size=64, selected=str(chosen), on_click=choose)
    return chosen


def rendered(name: str, number: int = 0) -> np.ndarray:
    """A freshly drawn traffic sign, uint8 [32, 32, 3]: what the lesson shows before there is a run."""
    return _rendered(name, number)


@st.cache_data(max_entries=64, show_spinner=False)
def _rendered(name: str, number: int) -> np.ndarray:
    from mspc_core.data.signs.scene import photograph

    return photograph(name, np.random.default_rng([number, len(name)]), 32)


def candidates(
    lesson: Lesson, most: int = 8, *, scanned: bool = False
) -> tuple[np.ndarray, list[str], np.ndarray | None]:
    """Honest images of other classes than the target to try the trigger on: pictures, class names, their rows in the
    data set (None: drawn here, because there is no run or its images are gone). scanned: of those in the table."""
    if lesson.run is not None and learn_compute.has_images(lesson.run):
        rows = learn_compute.samples(lesson.run, but=lesson.facts.target, most=most, scanned=scanned)
        pictures = evidence.pictures_of(lesson.run, rows)
        if pictures is not None and len(rows):
            labels = learn_compute.labels_of(lesson.run, rows)
            return pictures, [evidence.name_of(lesson.names, int(label)) for label in labels], rows
    from mspc_core import demo
    from mspc_core.data.signs.shapes import CLASSES

    names = [name for name in CLASSES if name != demo.TARGET][-most:]
    return np.stack([rendered(name) for name in names]), names, None


def answer_words(lesson: Lesson, predicted: int, confidence: float) -> str:
    """What the model says, in Markdown."""
    name = plain(evidence.name_of(lesson.names, predicted), 40)
    return f"The model says **{name}**  \n{percent(float(confidence))} sure"


def answered_tiles(lesson: Lesson, before: np.ndarray, after: learn_compute.Answers) -> list[Tile]:
    """Tiles with the answer and the one before, those that turned into the target marked. before: classes without the "
    "trigger."""
    target, tiles = lesson.facts.target, []
    for place, (old, new) in enumerate(zip(before, after.predicted, strict=True)):
        turned = int(new) == target and int(old) != target
        title, note = evidence.name_of(lesson.names, int(new)), f"was {evidence.name_of(lesson.names, int(old))}"
        tiles.append(Tile(str(place), title, note, "turned" if turned else "", BACKDOOR if turned else CLEAN))
    return tiles


def pictures_row(pictures: Sequence[np.ndarray], captions: Sequence[str], size: int = 160, columns: int = 6) -> None:
    """Still pictures with captions side by side, for the printed lesson. Captions are Markdown."""
    for start in range(0, len(pictures), columns):
        places = st.columns(columns, gap="small")
        for place, picture, caption in zip(
            places, pictures[start : start + columns], captions[start : start + columns], strict=False
        ):
            place.image(images.framed(images.enlarge(picture, size)), caption=caption, width="stretch", alt=caption)


def kinds_of(lesson: Lesson) -> dict[str, np.ndarray]:
    """Training images by what they are: poisoned and clean where that is known, else suspects and others. Positions in
    the table, always in the same mixed order."""
    scores = lesson.scores
    truth = filters.known_truth(scores)
    accused = filters.suspects_of(scores) if truth is None else truth
    names = ("Suspect", "Not suspect") if truth is None else ("Poisoned", "Clean")
    order = np.random.default_rng(0).permutation(len(scores))
    found = {names[0]: order[accused[order]], names[1]: order[~accused[order]]}
    return {name: places for name, places in found.items() if len(places)}


def one_image(lesson: Lesson, key: str) -> int:
    """Let the reader choose a kind of training image and walk through them; returns the position in the table."""
    kinds = kinds_of(lesson)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = list(kinds)
        kind = st.segmented_control("Kind of image", names, default=names[0], required=True, key=f"{key}-kind")
        here = kinds[kind if kind in kinds else names[0]]
        number = st.number_input("Which one", 1, len(here), 1, key=f"{key}-{kind}", width=140)
    return int(here[int(number) - 1])


def trigger_controls(start: BadNets, key: str, *, pattern: bool = True, largest: int = 10) -> BadNets:
    """Pattern, place and size of a patch, beginning with those that were planted."""
    from mspc_core.attacks.badnets import PATTERNS, PLACES
    from mspc_core.attacks.base import as_json, create

    with st.container(horizontal=True, vertical_alignment="bottom"):
        look = start.pattern
        if pattern:
            look = st.selectbox("Pattern", PATTERNS, index=PATTERNS.index(start.pattern), key=f"{key}-look", width=170)
        where = st.selectbox("Place", PLACES, index=PLACES.index(start.place), key=f"{key}-where", width=170)
        size = st.slider("Size in pixels", 1, max(largest, start.size), start.size, key=f"{key}-size", width=260)
    found = create("badnets", {**as_json(start), "pattern": look, "place": where, "size": int(size), "triggers": 1})
    assert isinstance(found, BadNets)
    return found


def same_trigger(first: BadNets, second: BadNets) -> bool:
    return (first.pattern, first.place, first.size) == (second.pattern, second.place, second.size)


def picture_of(run: Run, position: int, scores: object) -> np.ndarray | None:
    """One scanned image, uint8 [H, W, 3], or None when the data set was deleted."""
    found = evidence.pictures_of(run, scores["row"].to_numpy()[[position]])  # type: ignore[index]
    return None if found is None else found[0]
