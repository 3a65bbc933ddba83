"""The one image that the Mask page's sections work on: the strongest suspect, a selected sample, or an upload.

The sample is the app's selected one, so it travels in the address and to other pages. An upload stays in the session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui import cache, evidence, filters, state
from ui.text import percent, plain, plural, short

if TYPE_CHECKING:
    import pandas as pd

MATCHES = 50  # of a search, in the list
UPLOAD_MIB = 10
_KINDS = ("png", "jpg", "jpeg")


@dataclass(frozen=True)
class Picked:
    """pixels: uint8 [H, W, 3] at the size of the data set; position: in the run's table, None of an upload; token:
    tells images apart (sample id, or a digest of the pixels); name: as it came, not safe to show or as a file name."""

    pixels: np.ndarray
    position: int | None
    token: str
    name: str


def search(scores: pd.DataFrame, text: str, most: int = MATCHES) -> tuple[np.ndarray, int]:
    """Positions whose file name or sample id holds the text, the first `most` of them, and how many there are."""
    found = filters.positions(scores, filters.SampleFilter(text=text)) if text.strip() else np.zeros(0, np.int64)
    return found[:most], len(found)


def decode_upload(data: bytes, size: int, name: str) -> Picked:
    """An uploaded file as an image of the data set. Raises `InputError` saying what is wrong with it."""
    from mspc_core.data.decode import UnreadableImage, decode_image

    if len(data) > UPLOAD_MIB * 2**20:
        raise InputError(f"“{short(name, 60)}” is larger than {UPLOAD_MIB} MiB: upload a smaller image.")
    if not data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        raise InputError(f"“{short(name, 60)}” is not a PNG or JPEG image.")
    try:
        pixels = decode_image(data, size).image
    except UnreadableImage as error:
        raise InputError(f"“{short(name, 60)}” cannot be used: {error.reason}.") from None
    return Picked(pixels, None, hashlib.sha256(pixels.tobytes()).hexdigest()[:16], name)


def decode_all(files: Sequence[Any], size: int) -> tuple[list[Picked], list[str]]:
    """Uploaded files that are images, and a sentence for each that is not."""
    good, bad = [], []
    for file in files:
        try:
            good.append(decode_upload(file.getvalue(), size, file.name))
        except InputError as error:
            bad.append(str(error))
    return good, bad


def choose(run: Run, queue: np.ndarray) -> Picked | None:
    """Draw the choice. queue: positions to step through, the first is the default. None where there is no image."""
    scores = cache.scores_of(run)
    place = f"mask-upload-{run.id}"
    uploaded: Picked | None = st.session_state.get(place)
    position = _current(run, scores, queue)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for step, words, icon in ((-1, "Previous image", "arrow_back"), (1, "Next image", "arrow_forward")):
            to = filters.neighbour(queue, position, step) if position is not None else None
            st.button(
                words,
                icon=f":material/{icon}:",
                key=f"mask-step-{step}",
                on_click=take,
                args=(run, to),
                disabled=to is None or (to == position and uploaded is None),
            )
        if len(queue) and position not in (None, int(queue[0])):
            st.button(
                "Strongest",
                icon=":material/first_page:",
                key="mask-strongest",
                on_click=take,
                args=(run, int(queue[0])),
            )
        with st.popover("Find an image", icon=":material/search:"):
            _search(run, scores)
        with st.popover("Upload an image", icon=":material/upload:"):
            uploaded = _upload(run, place) or uploaded
        if uploaded is not None:
            st.button(
                "Back to the data set", icon=":material/undo:", key="mask-drop-upload", on_click=_drop, args=(place,)
            )
    if uploaded is not None:
        st.caption(f"Your own image, {plain(uploaded.name, 60)}, stretched to the size the model sees.")
        return uploaded
    if position is None:
        st.caption("No image passes the filter. Remove a part of it, find an image, or upload one.")
        return None
    picked = stored(run, position)
    if picked is None:
        st.caption("The images cannot be shown: the data set of this run was deleted. You can still upload one.")
        return None
    st.caption(_words(scores.iloc[position], queue, position, evidence.class_names(run)))
    return picked


def stored(run: Run, position: int) -> Picked | None:
    """A sample of the run; None when the data set was deleted."""
    row = cache.scores_of(run).iloc[position]
    pixels = evidence.pictures_of(run, np.array([row["row"]], dtype=np.int64))
    return None if pixels is None else Picked(pixels[0], position, str(row["sample_id"]), str(row["path"]))


def take(run: Run, position: int | None) -> None:
    """Make a sample the image of the page (and the app's selected sample)."""
    _drop(f"mask-upload-{run.id}")
    if position is not None:
        state.select_sample(str(cache.scores_of(run)["sample_id"].iloc[position]))


def take_id(run: Run, identity: str) -> None:
    """The same by sample id."""
    _drop(f"mask-upload-{run.id}")
    state.select_sample(identity)


def _current(run: Run, scores: pd.DataFrame, queue: np.ndarray) -> int | None:
    chosen = cache.position_of(run, state.selected_sample(run))
    if chosen is not None:
        return chosen
    return int(queue[0]) if len(queue) else None


def _words(row: Any, queue: np.ndarray, position: int, classes: list[str]) -> str:
    here = np.flatnonzero(queue == position)
    where = f"Image {int(here[0]) + 1:,} of {len(queue):,}, strongest first" if len(here) else "Selected"
    label, said = (plain(evidence.name_of(classes, int(row[name])), 40) for name in ("label", "predicted"))
    sure = percent(float(row["confidence"]), 0)
    return f"{where} · label *{label}* · the model says *{said}* ({sure}) · {plain(row['path'], 60)}"


def _search(run: Run, scores: pd.DataFrame) -> None:
    text = st.text_input("Part of a file name, or a sample id", key=f"mask-search-{run.id}", max_chars=200)
    found, total = search(scores, text)
    if text.strip() and not total:
        st.caption("Nothing in this run has that in its name or id.")
    if total:
        ids, paths = scores["sample_id"].to_numpy(), scores["path"].to_numpy()
        st.caption(f"{plural(total, 'image')}{f', the first {MATCHES} listed' if total > MATCHES else ''}")
        chosen = st.selectbox(
            "Image",
            [int(number) for number in found],
            format_func=lambda number: f"{short(paths[number], 60)} · {short(ids[number], 12)}",
            key=f"mask-found-{run.id}",
        )
        st.button("Show it", type="primary", key="mask-take-found", on_click=take, args=(run, chosen))


def _upload(run: Run, place: str) -> Picked | None:
    """A file that was just uploaded, kept for the session."""
    key = f"mask-file-{st.session_state.get(f'{place}-turn', 0)}-{run.id}"
    file = st.file_uploader(
        "PNG or JPEG", type=list(_KINDS), key=key, max_upload_size=UPLOAD_MIB, help="It stays in this session only."
    )
    if file is None:
        return None
    known = st.session_state.get(f"{place}-file")
    if known != file.file_id:
        try:
            st.session_state[place] = decode_upload(file.getvalue(), run.config().size, file.name)
        except InputError as error:
            st.error(plain(error, 300), icon=":material/error:")
            return None
        st.session_state[f"{place}-file"] = file.file_id
    found: Picked | None = st.session_state.get(place)
    return found


def _drop(place: str) -> None:
    if st.session_state.pop(place, None) is None:
        return
    st.session_state[f"{place}-turn"] = st.session_state.get(f"{place}-turn", 0) + 1  # an emptied file field
