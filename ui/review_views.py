"""Parts of the Review page: the queue and its order, the image in focus with its evidence, the buttons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core import access
from mspc_core.runs import Run
from ui import (
    browser_memory,
    cache,
    compute,
    evidence,
    filter_query,
    filters,
    images,
    review_keys,
    review_queues,
    shared_filter,
    state,
)
from ui.filters import SampleFilter
from ui.inspect_views import score_table, truth_words
from ui.review_desk import Desk
from ui.text import count, percent, plain, short

BESIDE, ALONE = 384, 560  # pixels of the image in focus beside the wall, and in the large view
_NAME = 80  # characters of a reviewer's name
OVERLAY, LARGE = "review-overlay", "review-large"


def choose_queue(run: Run, scores: pd.DataFrame) -> tuple[str, SampleFilter, str, bool]:
    """The bar on top. Returns the queue's kind, the shared filter, the column to sort by, and whether from high to
    low. The kind is kept in the address."""
    wanted = shared_filter.bar(run).wanted
    kinds, key = review_queues.kinds_of(scores), f"queue-{run.id}"
    if opened := st.session_state.pop(review_queues.OPEN, None):
        st.session_state[key] = opened
    elif st.session_state.get(key) not in kinds:
        asked = st.query_params.get(review_queues.PARAMETER)
        st.session_state[key] = asked if asked in kinds else "all" if wanted != SampleFilter() else kinds[0]

    def chosen() -> None:
        state.select_sample(None)  # a queue begins at its first undecided image
        st.session_state.pop(f"review-page-{run.id}", None)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.selectbox(
            "Queue", kinds, format_func=review_queues.KINDS.__getitem__, key=key, width=235, on_change=chosen
        )
        fixed = kind == review_queues.AUDIT
        by = st.selectbox(
            "Sort by",
            options := _columns(scores),
            index=options.index(filters.default_sort(scores)),
            format_func=lambda name: filters.title_of(name.removesuffix("_score")) if name.endswith("_score") else name,
            key=f"sort-{run.id}",
            width=150,
            disabled=fixed,
        )
        order = st.selectbox("Order", ["high to low", "low to high"], key=f"order-{run.id}", width=130, disabled=fixed)
        _reviewer()
        keys = review_keys.load()
        review_keys.settings(keys)
    if access.current() is None:
        browser_memory.remember("reviewer", _NAME)
    if st.query_params.get(review_queues.PARAMETER) != kind:
        st.query_params[review_queues.PARAMETER] = kind
    return kind, wanted, by, order == "high to low"


def _reviewer() -> None:
    """Who decides: whoever has logged in, else the name that is typed here."""
    if (signed_in := access.current()) is not None:
        hint = "Who you logged in as; stored with each decision. Undo takes back your own actions only."
        st.text_input("Reviewer", short(signed_in, _NAME), disabled=True, width=150, help=hint)
        return
    st.text_input(
        "Reviewer",
        key="reviewer",
        max_chars=_NAME,
        placeholder="your name",
        width=150,
        persist_state="session",
        help="Stored with each decision, and remembered by this browser. Undo takes back your own actions only, of "
        "earlier sessions too. People without a name count as one reviewer.",
    )


def _columns(scores: pd.DataFrame) -> list[str]:
    names = filters.detector_names(scores.columns)
    verdict = ["suspect_score"] if "suspect_score" in scores else []
    return [*verdict, *[f"{name}_score" for name in names], "confidence", "predicted", "label", "path"]


def progress(desk: Desk, kind: str) -> None:
    """How far the review of this queue is; for the audit what it says so far."""
    found, total = desk.counts(), len(desk.queue)
    done = total - found[filters.UNDECIDED]
    if kind == review_queues.AUDIT:
        rate = review_queues.estimate(desk.queue, desk.codes)
        seed = review_queues.audit_of(desk.run).seed
        result, how = review_queues.audit_words(rate, seed, done - rate.audited)
        st.markdown(result, help=how)
        st.progress(done / total if total else 0.0)
        return
    parts = [f"{count(found[name])} {name}" for name in ("remove", "keep", "unsure") if found[name]]
    text = f"**{count(done)} of {count(total)} decided**" + (f" · {', '.join(parts)}" if parts else "")
    st.progress(done / total if total else 0.0, text=text)


def focus(desk: Desk, keys: dict[str, str], large: bool) -> None:
    """The image in focus, its place in the queue and decision, and the buttons with their keys."""
    if desk.position is None:
        return
    decision = desk.decision_of(desk.position)
    where = f"Image {desk.place + 1:,} of {len(desk.queue):,}" if desk.place is not None else "Not in this queue"
    if str(desk.ids[desk.position]) in desk.marks:
        where += " · selected"
    colour: Any = {"keep": "green", "remove": "orange", "unsure": "violet"}.get(decision, "gray")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{where}**", width="content")
        words = filter_query.DECISIONS.get(decision, "undecided")
        st.badge(words, icon=evidence.DECISION_ICONS.get(decision), color=colour)
    with st.container(key="review-large-image" if large else None):  # its height fits the window: `page.css`
        focus_image(desk.run, desk.scores, desk.position, ALONE if large else BESIDE)
    if not large:
        buttons(desk, keys)


def buttons(desk: Desk, keys: dict[str, str]) -> None:
    """What can be done with the image in focus; each button shows its key.

    The buttons that decide belong to their image: a key that was pressed before the next image came up cannot decide
    on that one, which nobody had seen.
    """
    if desk.position is None:
        return
    identity = str(desk.ids[desk.position])
    place, last = desk.place, len(desk.queue) - 1

    def flip(name: str, default: bool) -> None:
        st.session_state[name] = not st.session_state.get(name, default)

    calls: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "keep": (desk.decide, ("keep",)),
        "remove": (desk.decide, ("remove",)),
        "unsure": (desk.decide, ("unsure",)),
        "previous": (desk.move, (-1,)),
        "next": (desk.move, (1,)),
        "undo": (desk.undo, ()),
        "overlay": (flip, (OVERLAY, True)),
        "select": (desk.mark_focused, ()),
        "large": (flip, (LARGE, False)),
    }
    off = {"previous": place == 0, "next": place == last}
    with st.container(gap="xxsmall"):
        for names in (("keep", "remove", "unsure"), ("previous", "next", "undo"), ("overlay", "select", "large")):
            for column, name in zip(st.columns(3, gap="small"), names, strict=True):
                action = next(action for action in review_keys.ACTIONS if action.name == name)
                call, arguments = calls[name]
                kind: Any = "primary" if name == "remove" else "secondary" if names[0] == "keep" else "tertiary"
                column.button(
                    action.label,
                    shortcut=keys[name],
                    type=kind,
                    on_click=call,
                    args=arguments,
                    disabled=off.get(name, False),
                    help=action.hint or None,
                    width="stretch",
                    key=f"key-{name}-{identity}" if call == desk.decide else f"key-{name}",
                )


def focus_image(run: Run, scores: pd.DataFrame, position: int, size: int) -> None:
    """The image in focus, large; with the region that its class's mask keeps outlined when that is on."""
    row = scores.iloc[position]
    pixels = evidence.pictures_of(run, np.array([int(row["row"])]))
    if pixels is None:
        st.info("The image cannot be shown: the data set of this run was deleted.", icon=":material/broken_image:")
        return
    region = region_for(run, int(row["predicted"])) if st.session_state.get(OVERLAY, True) else None
    if region is not None and region.shape == pixels.shape[1:3]:
        picture = images.outline(pixels[0], region, size)
    else:
        picture = images.enlarge(pixels[0], size)
    st.image(picture, width="stretch", alt=f"The image in focus, {short(row['path'], 80)}")


def region_for(run: Run, predicted: int) -> np.ndarray | None:
    """The region that the transplant test cuts for a class, else what the shared mask keeps; None without masks."""
    masks = cache.masks_of(run)
    if "transplant" in masks and predicted < len(masks["transplant"]):
        cut = float(compute.settings_of(run, "transplant").get("cut", 0.2))
        region = images.region_of(masks["transplant"][predicted], cut)
        return region if region.any() else None
    shared = compute.final_mask(run)
    return images.region_of(shared, 0.5) if shared is not None and float(np.ptp(shared)) > 0 else None


def focus_facts(desk: Desk, reveal: bool) -> None:
    """The evidence beside the image."""
    if desk.position is None:
        return
    run, position = desk.run, desk.position
    row, classes = desk.scores.iloc[position], evidence.class_names(run)
    label, predicted = (plain(evidence.name_of(classes, int(row[name])), 50) for name in ("label", "predicted"))
    lines = [f"Label **{label}** · model says **{predicted}** ({percent(float(row['confidence']), 0)} sure)"]
    rate = float(row["transplant_score"]) if "transplant_score" in row else float("nan")
    if np.isfinite(rate):
        partners = int(compute.settings_of(run, "transplant").get("partners", 16))
        lines.append(
            f"Its region would turn **{round(rate * partners)} of {partners}** other images into *{predicted}*."
        )
    if reveal:
        lines.append(truth_words(row, classes) or "Truth: unknown")
    st.markdown("  \n".join(lines))
    st.dataframe(score_table(run, desk.scores, position), hide_index=True, width="stretch")
    st.caption(f"{plain(row['path'], 100)}  \nsample {plain(row['sample_id'], 40)}")
    if st.button("Inspect this image", icon=":material/search:", key="to-inspect"):
        state.go("inspect", sample=str(row["sample_id"]))
