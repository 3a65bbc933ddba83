"""Parts of the Review page: the queue and its filters, the image in focus with its evidence, the wall of thumbnails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.runs import Run
from ui import cache, compute, evidence, filters, images, shared_filter
from ui.filters import SampleFilter
from ui.inspect_views import score_table, truth_words
from ui.text import percent, plain, short

LARGE = 384


def choose_filter(run: Run, scores: pd.DataFrame) -> tuple[SampleFilter, str, bool]:
    """The filter bar. Returns the shared filter narrowed to the queue, the column to sort by, and whether from high to
    low."""
    wanted = shared_filter.bar(run).wanted
    names = filters.detector_names(scores.columns)
    has_suspects = bool(filters.suspects_of(scores).any())
    kinds = (["Suspects"] if has_suspects else []) + ["Flagged by any", "All"]
    default = "All" if wanted != SampleFilter() else kinds[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control("Queue", kinds, default=default, required=True, key=f"queue-{run.id}")
        verdict = ["suspect_score"] if "suspect_score" in scores else []
        options = [*verdict, *[f"{name}_score" for name in names], "confidence", "predicted", "label", "path"]
        by = st.selectbox(
            "Sort by",
            options,
            index=options.index(filters.default_sort(scores)),
            format_func=lambda name: filters.title_of(name.removesuffix("_score")) if name.endswith("_score") else name,
            key=f"sort-{run.id}",
            width=160,
        )
        order = st.selectbox("Order", ["high to low", "low to high"], key=f"order-{run.id}", width=140)
        st.text_input(
            "Reviewer",
            key="reviewer",
            max_chars=80,
            placeholder="your name",
            width=150,
            persist_state="session",
            help="Stored with each decision. Undo takes back your own actions only.",
        )
    suspects, flagged = wanted.suspects or kind == "Suspects", wanted.flagged or kind == "Flagged by any"
    return replace(wanted, suspects=suspects, flagged=flagged), by, order == "high to low"


def queue_for(run: Run, wanted: SampleFilter, by: str, descending: bool) -> np.ndarray:
    """Positions that pass the whole filter, in order."""
    return evidence.queue_in(run, shared_filter.view_of(run, wanted), by, descending)


def progress(decided: np.ndarray, queue: np.ndarray) -> None:
    """How far the review of this queue is."""
    words, counts = np.unique(decided[queue].astype(str), return_counts=True)
    found = dict(zip(words.tolist(), counts.tolist(), strict=True))
    done = len(queue) - found.get(filters.UNDECIDED, 0)
    parts = [f"{found[name]:,} {name}" for name in ("remove", "keep", "unsure") if found.get(name)]
    text = f"**{done:,} of {len(queue):,} decided**" + (f" · {', '.join(parts)}" if parts else "")
    st.progress(done / len(queue) if len(queue) else 0.0, text=text)


def focus_image(run: Run, scores: pd.DataFrame, position: int, overlay: bool) -> None:
    """The image in focus, large; with the region that its class's mask keeps outlined when `overlay` is on."""
    row = scores.iloc[position]
    pixels = evidence.pictures_of(run, np.array([int(row["row"])]))
    if pixels is None:
        st.info("The image cannot be shown: the data set of this run was deleted.", icon=":material/broken_image:")
        return
    region = region_for(run, int(row["predicted"]))
    if overlay and region is not None and region.shape == pixels.shape[1:3]:
        picture = images.outline(pixels[0], region, LARGE)
    else:
        picture = images.enlarge(pixels[0], LARGE)
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


def focus_facts(run: Run, scores: pd.DataFrame, position: int, reveal: bool) -> None:
    """The evidence beside the image."""
    row, classes = scores.iloc[position], evidence.class_names(run)
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
    st.dataframe(score_table(run, scores, position), hide_index=True, width="stretch")
