"""The Mask page's transplant: the region cut from the image of the page, pasted on images that the user chooses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.pasting import Pasted
from mspc_core.runs import Run
from ui import cache, compute, compute_paste, evidence, image_choice, images, mask_choice
from ui.compute_paste import Receivers
from ui.errors import friendly
from ui.gallery import Tile, gallery
from ui.image_choice import UPLOAD_MIB, Picked, decode_all
from ui.mask_choice import ChosenMask
from ui.text import HELP, percent, plain, plural, short
from ui.theme import BACKDOOR, NEUTRAL

MOST, CANDIDATES = 16, 36
_OWN, _RANDOM, _CLASS, _CLICKED, _UPLOADED = "As in the scan", "Random", "A class", "Click them", "Upload"


@st.fragment
def show(run: Run, mask: ChosenMask, picked: Picked) -> None:
    """Donor, receivers, and what the model said before and after."""
    with friendly():
        st.header("Try it: cut the region out and paste it elsewhere", help=HELP["transplant"])
        if not mask.region.any():
            st.info(
                "The mask let go of every pixel, so there is no region to cut out. Choose another mask above.",
                icon=":material/block:",
            )
            return
        try:
            receivers = _receivers(run, mask, picked)
            if receivers is None:
                return
            with st.spinner("Asking the model …", show_time=False):
                found = compute_paste.pasted(run, picked, mask.region, receivers)
        except InputError as error:
            st.info(plain(error, 300), icon=":material/block:")
            return
        _both(run, mask, picked, receivers, found)


def as_in_the_scan(run: Run, position: int) -> None:
    """One sample's region on the images that the scan pasted it on, without anything to choose (for the lesson)."""
    scores = cache.scores_of(run)
    try:
        mask = mask_choice.of_class(run, int(scores["predicted"].iloc[position]))
        picked = image_choice.stored(run, position)
        if mask is None or picked is None:
            st.caption("The images cannot be shown: the data set of this run was deleted.")
            return
        with st.spinner("Asking the model …", show_time=False):
            own = compute.transplant_of(run, position).others
            receivers = compute_paste.as_in_scan(run, own, position)
            found = compute_paste.pasted(run, picked, mask.region, receivers)
    except InputError as error:
        st.info(plain(error, 300), icon=":material/block:")
        return
    _both(run, mask, picked, receivers, found)


def _both(run: Run, mask: ChosenMask, picked: Picked, receivers: Receivers, found: Pasted) -> None:
    """Where the region comes from, beside what it does to the others."""
    left, right = st.columns([1, 2.2], gap="large")
    with left:
        _donor(run, mask, picked, found, receivers.counted)
    with right:
        _pairs(run, receivers, found)


def _receivers(run: Run, mask: ChosenMask, picked: Picked) -> Receivers | None:
    """The images that get the region; None while none are chosen."""
    scores = cache.scores_of(run)
    own = compute_paste.scans_own(run, mask, picked)
    kinds = [*([_OWN] if own is not None else []), _RANDOM, _CLASS, _CLICKED, _UPLOADED]
    turn = f"paste-turn-{run.id}"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control("Paste it on", kinds, default=kinds[0], required=True, key=f"paste-on-{run.id}")
        number = None
        if kind == _CLASS:
            present = [row.number for row in evidence.class_rows_of(run) if row.samples]
            labels = evidence.class_labels(run)
            number = st.selectbox(
                "Predicted class", present, format_func=lambda n: labels[n], key=f"paste-class-{run.id}", width=280
            )
        if kind in (_RANDOM, _CLASS, _CLICKED) and st.button("Draw others", icon=":material/casino:", key="paste-draw"):
            st.session_state[turn] = st.session_state.get(turn, 0) + 1
    seed = int(st.session_state.get(turn, 0))
    if kind == _OWN and own is not None and picked.position is not None:
        return compute_paste.as_in_scan(run, own, picked.position)
    if kind == _UPLOADED:
        return _uploaded(run)
    if kind == _CLICKED:
        candidates = compute_paste.draw(scores["predicted"].to_numpy(), None, picked.position, CANDIDATES, seed)
        return _clicked(run, candidates)
    return compute_paste.stored(
        run, compute_paste.draw(scores["predicted"].to_numpy(), number, picked.position, MOST, seed)
    )


def _uploaded(run: Run) -> Receivers | None:
    files = st.file_uploader(
        "PNG or JPEG",
        type=["png", "jpg", "jpeg"],
        accept_multiple_files=True,
        key=f"paste-files-{run.id}",
        max_upload_size=UPLOAD_MIB,
    )
    good, bad = decode_all(list(files or [])[:MOST], run.config().size)
    for sentence in bad:
        st.error(plain(sentence, 300), icon=":material/error:")
    if len(files or []) > MOST:
        st.caption(f"Only the first {MOST} are used.")
    if not good:
        st.caption(f"Upload up to {MOST} images; they are stretched to the size the model sees.")
        return None
    names = tuple(image.name for image in good)
    return Receivers(np.stack([image.pixels for image in good]), names, tuple(image.token for image in good))


def _clicked(run: Run, candidates: np.ndarray) -> Receivers | None:
    """A wall to click on; a second click takes an image back."""
    scores, classes, key = cache.scores_of(run), evidence.class_names(run), f"paste-chosen-{run.id}"
    chosen: list[str] = list(st.session_state.get(key, []))
    pictures = evidence.pictures_of(run, scores["row"].to_numpy()[candidates])
    if pictures is None:
        raise InputError(compute_paste.DELETED)

    def toggle(identity: str) -> None:
        kept = [other for other in chosen if other != identity]
        st.session_state[key] = kept if identity in chosen else [*chosen, identity][-MOST:]

    rows = scores.iloc[candidates]
    tiles = [
        Tile(
            str(identity),
            evidence.name_of(classes, int(predicted)),
            badge="chosen" if identity in chosen else "",
            tone=BACKDOOR if identity in chosen else "",
        )
        for identity, predicted in zip(rows["sample_id"].tolist(), rows["predicted"].tolist(), strict=True)
    ]
    gallery(pictures, tiles, key=f"paste-wall-{run.id}", label="Images to paste on", size=64, on_click=toggle)
    positions = np.flatnonzero(scores["sample_id"].isin(chosen).to_numpy()) if chosen else np.zeros(0, np.int64)
    if not len(positions):
        st.caption(f"Click up to {MOST} images to paste the region on.")
        return None
    st.button(f"Clear the {plural(len(positions), 'choice')}", key="paste-clear", on_click=_forget, args=(key,))
    return compute_paste.stored(run, positions)


def _forget(key: str) -> None:
    st.session_state.pop(key, None)


def _donor(run: Run, mask: ChosenMask, picked: Picked, found: Pasted, counted: int | None) -> None:
    """What was cut out, and the sentence that counts."""
    first, second = st.columns(2)
    outlined = images.outline(picked.pixels, mask.region, 256)
    first.image(
        outlined, caption="The image, region outlined", width="stretch", alt="The image with the region outlined"
    )
    cut = images.enlarge(images.cut_out(picked.pixels, mask.region), 256)
    second.image(cut, caption="What is cut out", width="stretch", alt="The region alone")
    target = plain(evidence.name_of(evidence.class_names(run), found.target), 60)
    sure = percent(float(found.donor.max()), 0)
    st.caption(f"The model calls the image *{target}* ({sure}).")
    able, turned = int(found.eligible.sum()), int(found.turned.sum())
    if not able:
        st.info(f"All of these have the class {target} already: choose others.", icon=":material/block:")
        return
    share = f"{turned} of {able}"
    st.markdown(f"### {share}")
    st.markdown(f"This region, cut from this image, turned **{share}** other images into *{target}*.")
    if counted is not None and counted != turned:
        st.caption(f"The scan counted {counted}; small numerical differences between devices can tip an answer.")
    already = len(found.images) - able
    if already:
        st.caption(f"{plural(already, 'more image')} had this class before and cannot turn.")
    gained = float((found.after[found.eligible, found.target] - found.before[found.eligible, found.target]).mean())
    st.caption(f"The probability of this class changed by {100 * gained:+.0f} percentage points on average.")


def _pairs(run: Run, receivers: Receivers, found: Pasted) -> None:
    """Before and after, side by side, with the model's answers."""
    classes, target = evidence.class_names(run), found.target
    before, after = found.before.argmax(1), found.after.argmax(1)
    tiles = [
        Tile(
            str(place),
            f"{evidence.name_of(classes, int(before[place]))} → {evidence.name_of(classes, int(after[place]))}",
            f"{percent(float(found.before[place].max()), 0)} → {percent(float(found.after[place].max()), 0)} sure",
            tone=BACKDOOR if found.turned[place] else NEUTRAL,
            badge="turned" if found.turned[place] else "" if found.eligible[place] else "same class",
        )
        for place in range(len(found.images))
    ]
    gallery(
        images.side_by_side(images.thumbnails(receivers.pixels, 64), images.thumbnails(found.images, 64)),
        tiles,
        key=f"pasted-{run.id}",
        label="Other images before and after the region was pasted on them",
        size=136,
        clickable=False,
    )
    labels = evidence.class_labels(run)
    table = pd.DataFrame(
        {
            "image": [short(name, 60) for name in receivers.names],
            "before": [labels[number] for number in before],
            "probability": found.before.max(1).round(3),
            "after": [labels[number] for number in after],
            "probability after": found.after.max(1).round(3),
            f"of {labels[target]} before": found.before[:, target].round(3),
            f"of {labels[target]} after": found.after[:, target].round(3),
            "turned": found.turned,
        }
    )
    evidence.table_under(table, key=f"pasted-table-{run.id}")
