"""The Mask page's part on the pattern transplant: what sets a part of a class apart, and what it does elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache, compute_pattern, evidence, images, mask_views
from ui.class_rows import ClassRow
from ui.compute_pattern import Addition
from ui.gallery import Tile, gallery
from ui.text import HELP, percent, plain
from ui.theme import BACKDOOR, FLAGGED, NEUTRAL

CLASSES_SHOWN, LARGE = 30, 224


def show(run: Run) -> None:
    """The classes' patterns, and the chosen one tried on other images."""
    st.header("One pattern for each class", help=HELP["pattern transplant"])
    patterns = cache.masks_of(run).get("pattern")
    if patterns is None or not len(patterns):
        mask_views.explain_missing(run, "pattern", "The patterns of the classes")
        return
    st.caption(
        "What a part of a class has in common that the rest of it lacks; grey means no difference, and each is "
        "amplified to full contrast. Only a planted pattern, added to other images, turns them into the class. "
        "Click one to try it below."
    )
    chosen = _choose(run, patterns)
    mask_views.notes(run, "pattern")
    if chosen is not None:
        _demonstration(run, chosen)


def _choose(run: Run, patterns: np.ndarray) -> int | None:
    """Small multiples, the strongest first; returns the chosen class."""
    table = compute_pattern.class_table(run)
    rows = [row for row in evidence.class_rows_of(run) if row.number in table and row.number < len(patterns)]
    if not rows:
        return None
    rows.sort(key=lambda row: (not _named(row), -(row.turned or 0.0)))
    classes, labels = evidence.class_names(run), evidence.class_labels(run)
    pages = -(-len(rows) // CLASSES_SHOWN)
    page = st.pagination(pages, key=f"pattern-page-{run.id}") if pages > 1 else 1
    shown = rows[(page - 1) * CLASSES_SHOWN : page * CLASSES_SHOWN]
    key = f"chosen-pattern-{run.id}"
    chosen = int(st.session_state.get(key, rows[0].number))
    tiles = [
        Tile(
            str(row.number),
            evidence.name_of(classes, row.number),
            f"turns {percent(row.turned, 0)}" if table[row.number].get("with_pattern") else "no difference",
            badge="target" if _named(row) else "",
            tone=FLAGGED if _named(row) else "",
        )
        for row in shown
    ]

    def choose(identity: str) -> None:
        st.session_state[key] = int(identity)

    pictures = np.stack([images.signed(patterns[row.number]) for row in shown])
    gallery(
        pictures,
        tiles,
        key=f"patterns-{run.id}",
        label="Patterns of the classes",
        size=96,
        selected=str(chosen),
        on_click=choose,
    )
    numbers = pd.DataFrame(
        {
            "class": [labels[row.number] for row in rows],
            "images": [table[row.number].get("predicted") for row in rows],
            "with the pattern": [table[row.number].get("with_pattern") for row in rows],
            "flagged": [table[row.number].get("flagged") for row in rows],
            "turns": [row.turned for row in rows],
            "largest change": [table[row.number].get("strength") for row in rows],
            "separation": [table[row.number].get("separation") for row in rows],
        }
    ).round(3)
    evidence.table_under(numbers, key=f"patterns-table-{run.id}")
    return chosen


def _named(row: ClassRow) -> bool:
    return "pattern" in row.by


def _demonstration(run: Run, number: int) -> None:
    """The class's difference added to other images, one of them large."""
    classes = evidence.class_names(run)
    st.header("Try it: add the pattern to other images", help=HELP["pattern turns"])
    try:
        with st.spinner("Asking the model …", show_time=False):
            found = compute_pattern.addition_of(run, number)
    except InputError as error:
        st.info(plain(error, 300), icon=":material/block:")
        return
    originals = evidence.pictures_of(run, cache.scores_of(run)["row"].to_numpy()[found.others])
    if originals is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    key = f"pattern-on-{run.id}-{number}"
    place = min(int(st.session_state.get(key, 0)), len(found.others) - 1)
    left, right = st.columns([1, 1.25], gap="large")
    with left:
        _one(found, originals, place, classes)
        _sentences(run, found, number, classes)
    with right:
        _many(found, originals, place, classes, key)


def _one(found: Addition, originals: np.ndarray, place: int, classes: list[str]) -> None:
    """image + pattern = image with the pattern, with the model's answers."""
    before, after = (
        f"{plain(evidence.name_of(classes, int(said[place])), 30)} ({percent(float(sure[place]), 0)})"
        for said, sure in ((found.before, found.confidence_before), (found.after, found.confidence_after))
    )
    top = max(float(np.abs(found.pattern).max()), 1e-9)
    pictures = (
        (originals[place], f"An image: {before}"),
        (images.signed(found.pattern), f"+ the pattern, {0.5 / top:.0f}× amplified" if top < 0.25 else "+ the pattern"),
        (found.images[place], f"= {after}"),
    )
    for column, (picture, caption) in zip(st.columns(3, gap="small"), pictures, strict=True):
        column.image(images.framed(images.enlarge(picture, LARGE)), caption=caption, width="stretch", alt=caption)


def _sentences(run: Run, found: Addition, number: int, classes: list[str]) -> None:
    row = compute_pattern.class_table(run)[number]
    name, partners = plain(evidence.name_of(classes, number), 60), int(row.get("with_pattern") or 0)
    st.markdown(f"### {percent(float(row['turned']), 0)}")
    st.markdown(
        f"of other images turned into *{name}* when the scan added this pattern. **{partners:,} of "
        f"{int(row['predicted']):,}** images of the class have it."
    )
    turned = int(found.turned.sum())
    st.caption(f"Of the {len(found.others)} shown here, {turned} turn. Click one to see it large.")


def _many(found: Addition, originals: np.ndarray, place: int, classes: list[str], key: str) -> None:
    """All pairs, before and after; a click brings one to the left."""
    tiles = [
        Tile(
            str(number),
            f"{evidence.name_of(classes, int(found.before[number]))} → "
            f"{evidence.name_of(classes, int(found.after[number]))}",
            f"{percent(float(found.confidence_after[number]), 0)} sure",
            tone=BACKDOOR if found.turned[number] else NEUTRAL,
            badge="turned" if found.turned[number] else "",
        )
        for number in range(len(found.others))
    ]

    def choose(identity: str) -> None:
        st.session_state[key] = int(identity)

    gallery(
        images.side_by_side(images.thumbnails(originals, 64), images.thumbnails(found.images, 64)),
        tiles,
        key=f"added-{key}",
        label="Other images before and after the pattern was added",
        size=136,
        selected=str(place),
        on_click=choose,
    )
