"""The Mask page's second witness: attributions of the image beside the learned mask, and how far they agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core.attribution import METHODS, Attribution
from mspc_core.errors import InputError
from mspc_core.overlap import Overlap, overlap_of
from mspc_core.runs import Run
from ui import compute_attribution, evidence, images, mask_files
from ui.errors import friendly
from ui.image_choice import Picked
from ui.mask_choice import ChosenMask
from ui.text import HELP, percent, plain, short

PANEL = 256
_BRIGHTEST = 0.995  # of the positive pixels: one outlier must not leave the rest of a heat map dark


@st.fragment
def show(run: Run, mask: ChosenMask, picked: Picked) -> None:
    """A switch; behind it three attributions of one image, their overlap with the mask, and files to take home."""
    with friendly():
        st.header("Does the model look there? Attributions beside the mask", help=HELP["attribution"])
        st.caption(
            "A second witness that knows nothing of the mask: which pixels of this one image speak for its class? "
            "It takes a few seconds of computing, so it runs when you ask for it."
        )
        if not st.toggle("Compute attributions of this image", key=f"attribute-{run.id}"):
            return
        try:
            with st.spinner("Asking the model …", show_time=False):
                target = _target(run, picked)
        except InputError as error:
            st.info(plain(error, 300), icon=":material/block:")
            return
        found: dict[str, Attribution] = {}
        missing: dict[str, str] = {}
        for method, about in METHODS.items():
            try:
                with st.spinner(f"{about.title} …"):
                    found[method] = compute_attribution.attribution_of(run, picked, target, method)
            except InputError as error:
                missing[method] = str(error)
        _panels(mask, picked, found, missing)
        overlaps = {method: overlap_of(one.values, mask.region) for method, one in found.items()}
        st.dataframe(table(found, overlaps), hide_index=True, width="stretch", key=f"overlap-{run.id}")
        st.caption(reading(overlaps) + f" {HELP['overlap']}")
        _downloads(run, mask, picked, target, found)


def _target(run: Run, picked: Picked) -> int:
    """The class to explain: what the model says, or another one."""
    said = compute_attribution.prediction_of(run, picked)
    labels = evidence.class_labels(run)
    order = [int(number) for number in np.argsort(-said, kind="stable")]
    return int(
        st.selectbox(
            "Explain the class",
            order,
            format_func=lambda n: f"{labels[n]} · {percent(float(said[n]), 0)}",
            key=f"explain-{run.id}-{picked.token}",
            width=360,
            help="The model's own answer first.",
        )
    )


def heat_of(values: np.ndarray) -> np.ndarray:
    """An attribution as a heat map of what speaks for the class. float [H, W] → uint8 [H, W, 3]."""
    positive = np.clip(values, 0.0, None)
    some = positive[positive > 0]
    return images.heat(positive, float(np.quantile(some, _BRIGHTEST)) if len(some) else 1.0)


def panels(mask: ChosenMask, picked: Picked, found: dict[str, Attribution]) -> list[np.ndarray]:
    """Image, mask and attributions at one size, the region outlined in each: uint8 [H, W, 3] each."""
    top = max(float(mask.weights.max(initial=0.0)), 1e-9)
    plain_ones = [picked.pixels, images.heat(mask.weights, top), *(heat_of(one.values) for one in found.values())]
    return [images.outline(one, mask.region, PANEL) for one in plain_ones]


def _panels(mask: ChosenMask, picked: Picked, found: dict[str, Attribution], missing: dict[str, str]) -> None:
    pictures = panels(mask, picked, found)
    shown = iter(pictures[2:])
    columns = st.columns(2 + len(METHODS), gap="small")
    columns[0].image(pictures[0], caption="The image", width="stretch", alt=f"The image: {short(picked.name, 60)}")
    columns[1].image(pictures[1], caption="The learned mask", width="stretch", alt=f"Heat map: {short(mask.name, 60)}")
    for column, (method, about) in zip(columns[2:], METHODS.items(), strict=True):
        with column:
            if method in found:
                st.image(next(shown), caption=about.title, width="stretch", alt=f"Heat map: {about.title}")
            else:
                st.info(f"{about.title}: {plain(missing[method], 200)}", icon=":material/block:")
    st.caption("Bright speaks for the class. The outline is the region that the transplant test cuts out.")


def table(found: dict[str, Attribution], overlaps: dict[str, Overlap]) -> pd.DataFrame:
    """One row an attribution: its overlap with the mask, and what chance would reach."""
    return pd.DataFrame(
        {
            "attribution": [METHODS[method].title for method in found],
            "IoU with the mask": [_number(overlaps[method].iou) for method in found],
            "IoU by chance": [_number(overlaps[method].iou_by_chance) for method in found],
            "share inside the mask": [_share(overlaps[method].mass) for method in found],
            "share by chance": [_share(overlaps[method].mass_by_chance) for method in found],
            "resolution": ["{} × {}".format(*found[method].cells) for method in found],
            "source": [METHODS[method].citation for method in found],
        }
    )


def reading(overlaps: dict[str, Overlap]) -> str:
    """The table in one sentence."""
    known = {
        method: one.mass / one.mass_by_chance for method, one in overlaps.items() if one.mass and one.mass_by_chance
    }
    if not any(one.pixels for one in overlaps.values()):
        return "The mask let go of every pixel, so there is nothing to compare with."
    if not known:
        return "No attribution speaks for this class inside the mask."
    best = max(known, key=lambda method: known[method])
    times = known[best]
    if times < 2:
        return "No attribution looks at the masked region more than chance would: mask and attributions disagree here."
    return f"{METHODS[best].title} puts {times:.1f} times as much into the masked region as chance would."


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value, 1)


def _downloads(run: Run, mask: ChosenMask, picked: Picked, target: int, found: dict[str, Attribution]) -> None:
    def strip() -> bytes:
        pictures = panels(mask, picked, found)
        return mask_files.png(images.sprite(np.stack(pictures), len(pictures), gap=8))

    def arrays() -> bytes:
        return mask_files.npz(
            image=picked.pixels,
            mask=mask.weights,
            region=mask.region,
            explained_class=np.array(target),
            **{method: one.values for method, one in found.items()},
        )

    parts = (run.id, "attributions", picked.token)
    with st.container(horizontal=True):
        for label, make, suffix, mime in (
            ("Attributions (PNG)", strip, ".png", "image/png"),
            ("Attributions (NPZ)", arrays, ".npz", "application/octet-stream"),
        ):
            st.download_button(
                label,
                data=make,
                file_name=mask_files.file_name(*parts, suffix=suffix),
                mime=mime,
                icon=":material/download:",
                key=f"download-attributions{suffix}",
                on_click="ignore",
                disabled=not found,
            )
