"""Which mask the sections of the Mask page lay on images: the mask of a class, or the shared one of some round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from mspc_core.runs import Run
from ui import cache, compute, evidence, images, mask_views
from ui.text import plain

DEFAULT_CUT = 0.2  # of the mask's maximum, as the transplant test cuts
_CLASS, _SHARED = "Class mask", "Shared mask"


@dataclass(frozen=True)
class ChosenMask:
    """weights: float [H, W] in [0, 1]; name: for reading, not yet safe for Markdown; part: a piece of a file name;
    number: the class, None of the shared mask; cut: where the transplant test cuts, as a share of the maximum."""

    weights: np.ndarray
    name: str
    part: str
    number: int | None
    cut: float

    @property
    def region(self) -> np.ndarray:
        """What the transplant test would cut out, bool [H, W]; nothing where the mask collapsed."""
        return images.region_of(self.weights, self.cut)


def class_key(run: Run) -> str:
    """Where the session keeps the class that was clicked in the gallery of class masks."""
    return f"chosen-class-{run.id}"


def show_class(run: Run, number: int) -> None:
    """Choose a class, and its mask if it kept anything."""
    st.session_state[class_key(run)] = number
    kept = float(cache.masks_of(run)["transplant"][number].max()) >= images.COLLAPSED
    st.session_state[_kind_key(run)] = _CLASS if kept or _SHARED not in kinds(run) else _SHARED


def _kind_key(run: Run) -> str:
    return f"mask-kind-{run.id}"


def kinds(run: Run) -> list[str]:
    """Which kinds of mask this run has: the class masks first, where there are any."""
    masks = cache.masks_of(run)
    found = [(_CLASS, masks.get("transplant")), (_SHARED, masks.get("mspc"))]
    return [name for name, stack in found if stack is not None and len(stack)]


def default_kind(run: Run, number: int | None) -> int:
    """The place in `kinds` to start with: the class mask, unless it let go of everything and there is a shared one."""
    masks, names = cache.masks_of(run), kinds(run)
    if len(names) == 2 and (number is None or float(masks["transplant"][number].max()) < images.COLLAPSED):
        return 1
    return 0


def of_class(run: Run, number: int) -> ChosenMask | None:
    """The mask of a class, cut where the transplant test cut it; None where the run has none."""
    masks = cache.masks_of(run).get("transplant")
    if masks is None or not 0 <= number < len(masks):
        return None
    name = evidence.name_of(evidence.class_names(run), number)
    cut = float(compute.settings_of(run, "transplant").get("cut", DEFAULT_CUT))
    return ChosenMask(masks[number], f"mask of {name}", f"class-{number}", number, cut)


def choose(run: Run, number: int | None) -> ChosenMask | None:
    """Draw the choice. number: the class chosen in the gallery above. None where the run has no masks."""
    names, masks = kinds(run), cache.masks_of(run)
    if not names or (names == [_CLASS] and number is None):
        return None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        kind = st.segmented_control(
            "Mask",
            names,
            default=names[default_kind(run, number)],
            required=True,
            key=_kind_key(run),
            help="The mask of the class chosen above, learned by the transplant test, or the one mask that MSPC "
            "learned for all images.",
        )
        if kind == _CLASS and number is not None:
            classes = evidence.class_names(run)
            name = evidence.name_of(classes, number)
            st.caption(f"learned for the class “{plain(name, 60)}”, chosen above", width="content")
            return of_class(run, number)
        rounds = masks["mspc"] if _SHARED in names else masks["transplant"]
        last = len(rounds) - 1
        chosen = int(
            st.select_slider(
                "Round",
                list(range(last + 1)),
                value=last,
                format_func=mask_views.round_name,
                key=f"mask-round-{run.id}",
                disabled=last == 0,
                width=320,
            )
        )
    if number is not None and _CLASS in names and float(masks["transplant"][number].max()) < images.COLLAPSED:
        name = plain(evidence.name_of(evidence.class_names(run), number), 60)
        st.caption(f"The mask of the class “{name}” let go of every pixel, so there is only the shared one to look at.")
    return ChosenMask(
        rounds[chosen], f"shared mask, {mask_views.round_name(chosen)}", f"shared-{chosen}", None, DEFAULT_CUT
    )
