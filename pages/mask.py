"""Mask: what part of the image the detectors found decisive, and what happens when that part moves to other images."""

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, evidence, filters, images, mask_views, pattern_views, state
from ui.errors import friendly
from ui.gallery import Tile, gallery
from ui.text import HELP, percent, plain, plural
from ui.theme import FLAGGED

OVERLAID, CLASSES_SHOWN = 24, 30


def shared_mask(run: Run) -> None:
    """MSPC's one mask, round by round, alone and on images."""
    st.subheader("The shared mask, round by round", help=HELP["mask"])
    rounds = cache.masks_of(run).get("mspc")
    if rounds is None or not len(rounds):
        mask_views.explain_missing(run, "mspc", "The shared mask")
        return
    playing = f"playing-{run.id}"
    st.fragment(show_rounds, run_every=1.0 if st.session_state.get(playing) else None)(run, rounds, playing)
    mask_views.notes(run, "mspc")


def show_rounds(run: Run, rounds: np.ndarray, playing: str) -> None:
    with friendly():
        key, last = f"round-{run.id}", len(rounds) - 1
        now = min(int(st.session_state.get(key, last)), last)
        st.session_state[key] = (now + 1) % len(rounds) if st.session_state.get(playing) else now
        left, right = st.columns([1, 1.9], gap="large")
        with left:
            chosen = round_slider(key, last, playing)
            mask_views.show_heat(rounds[chosen], f"{mask_views.round_name(chosen)} of the shared mask")
            mask_views.rounds_table(run, rounds)
        with right:
            overlaid(run, rounds[chosen])


def round_slider(key: str, last: int, playing: str) -> int:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.select_slider(
            "Round", list(range(last + 1)), format_func=mask_views.round_name, key=key, disabled=last == 0
        )
        on = bool(st.session_state.get(playing))
        if st.button(
            "Pause" if on else "Play", icon=":material/pause:" if on else ":material/play_arrow:", disabled=last == 0
        ):
            st.session_state[playing] = not on
            st.rerun(scope="app")
    return int(chosen)


def overlaid(run: Run, mask: np.ndarray) -> None:
    """The mask on a choice of images."""
    scores, classes = cache.scores_of(run), evidence.class_names(run)
    first, second, third = st.columns([2, 1, 1], gap="medium", vertical_alignment="bottom")
    kinds = ["Suspects", "Random", "Class"] if filters.suspects_of(scores).any() else ["Flagged", "Random", "Class"]
    kind = first.segmented_control("Show it on", kinds, default=kinds[0], required=True, key=f"mask-on-{run.id}")
    opacity = second.slider("Opacity", 0.0, 1.0, 0.6, 0.05, key=f"opacity-{run.id}", help="0 shows the image alone.")
    threshold = third.slider(
        "Cut", 0.0, 0.95, 0.2, 0.05, key=f"cut-{run.id}", help="Only where the mask is above this share of its maximum."
    )
    number = None
    if kind == "Class":
        present = [row.number for row in evidence.class_rows_of(run) if row.samples]
        labels = evidence.class_labels(run)
        number = st.selectbox(
            "Predicted class",
            present,
            format_func=lambda n: labels[n],
            key=f"mask-class-of-{run.id}",
        )
    chosen = mask_views.pick(scores, kind, number, OVERLAID)
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[chosen])
    if pictures is None:
        st.caption("The images cannot be shown: the data set of this run was deleted.")
        return
    if not len(chosen):
        st.caption("No images there.")
        return
    small = images.thumbnails(pictures)
    drawn = images.overlay(small, images.fit_mask(mask, small.shape[1:3]), opacity, threshold)
    predicted = scores["predicted"].to_numpy()[chosen]
    ids = scores["sample_id"].to_numpy()[chosen]
    tiles = [Tile(str(i), evidence.name_of(classes, int(p))) for i, p in zip(ids, predicted, strict=True)]
    clicked = gallery(drawn, tiles, key=f"overlaid-{run.id}", label="The mask on images", size=80)
    if clicked:
        state.go("inspect", sample=clicked)


def class_masks(run: Run) -> int | None:
    """Small multiples of the class masks, the most telling first; returns the chosen class."""
    st.subheader("One mask for each class", help=HELP["transplant rate"])
    masks = cache.masks_of(run).get("transplant")
    if masks is None:
        mask_views.explain_missing(run, "transplant", "The masks of the classes")
        return None
    st.caption(
        "For each class, a small region learned to carry the class along; honest classes mostly let go of everything. "
        "Ranked by transplant rate: how often the region, pasted on other images, turns them into this class. "
        "Click one to try it below."
    )
    classes = evidence.class_names(run)
    rows = [row for row in evidence.class_rows_of(run) if row.samples and row.number < len(masks)]
    if not rows:
        return None
    pages = -(-len(rows) // CLASSES_SHOWN)
    page = st.pagination(pages, key=f"class-page-{run.id}") if pages > 1 else 1
    shown = rows[(page - 1) * CLASSES_SHOWN : page * CLASSES_SHOWN]
    key = f"chosen-class-{run.id}"
    chosen = int(st.session_state.get(key, rows[0].number))
    tops = masks[[row.number for row in shown]]
    pictures = np.stack([images.heat(mask, max(float(mask.max()), 1e-9)) for mask in tops])
    tiles = [
        Tile(
            str(row.number),
            evidence.name_of(classes, row.number),
            f"turns {percent(row.rate, 0)}" if masks[row.number].max() >= images.COLLAPSED else "no region",
            badge="target" if row.target else "",
            tone=FLAGGED if row.target else "",
        )
        for row in shown
    ]

    def choose(identity: str) -> None:
        st.session_state[key] = int(identity)

    gallery(
        pictures, tiles, key=f"classes-{run.id}", label="Class masks", size=96, selected=str(chosen), on_click=choose
    )
    labels = evidence.class_labels(run)
    table = pd.DataFrame(
        {
            "class": [labels[row.number] for row in rows],
            "transplant rate": [row.rate for row in rows],
            "anomaly index": [row.index for row in rows],
            "mean weight": [float(masks[row.number].mean()) for row in rows],
        }
    ).round(3)
    evidence.table_under(table, key=f"class-masks-table-{run.id}")
    mask_views.notes(run, "transplant")
    return chosen


@st.fragment
def demonstration(run: Run, number: int) -> None:
    """Cut the region from one image of the class and paste it on sixteen others."""
    with friendly():
        scores, classes = cache.scores_of(run), evidence.class_names(run)
        wanted = filters.SampleFilter(classes=(number,))
        queue = evidence.queue_of(run, wanted, "transplant_score")
        st.subheader("Try it: cut the region out and paste it elsewhere", help=HELP["transplant"])
        if not len(queue):
            st.caption("The model gives no image this class.")
            return
        key = f"demo-{run.id}-{number}"
        place = min(int(st.session_state.get(key, 0)), len(queue) - 1)
        position = int(queue[place])

        def move(step: int) -> None:
            st.session_state[key] = min(max(place + step, 0), len(queue) - 1)

        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Previous image", icon=":material/arrow_back:", on_click=move, args=(-1,), disabled=place == 0)
            st.button(
                "Next image",
                icon=":material/arrow_forward:",
                on_click=move,
                args=(1,),
                disabled=place + 1 >= len(queue),
            )
            name = plain(evidence.name_of(classes, number), 40)
            st.caption(
                f"Image {place + 1:,} of {plural(len(queue), 'image')} the model calls “{name}”, strongest first."
            )
        mask_views.show_demonstration(run, scores, position, classes)


with friendly():
    run = state.require_run()
    st.title("Mask")
    evidence.verdict_line(run)
    evidence.watch(run)
    shared_mask(run)
    chosen = class_masks(run)
    if chosen is not None:
        demonstration(run, chosen)
    pattern_views.show(run)
