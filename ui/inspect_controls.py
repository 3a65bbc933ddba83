"""What the reader does to an image on Inspect: n, mask, τ and own scales."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from mspc_core.runs import Run
from ui import cache, compute, inspect_state
from ui.compute_series import CLASS, SHARED, Treatment
from ui.text import HELP, percent

_TITLES = {SHARED: "Shared", CLASS: "Of the class"}


@dataclass(frozen=True)
class Settings:
    """n; what is done before scaling; own scales or None."""

    n: float
    treatment: Treatment
    own: tuple[float, ...] | None

    @property
    def formula(self) -> str:
        """What is done to the image, as a caption."""
        inner = f"(x − {self.treatment.tau:g})" if self.treatment.tau else "x"
        mask = {"": "", SHARED: " ⊙ m", CLASS: " ⊙ m of the class"}[self.treatment.mask]
        weak = f" at {percent(self.treatment.strength, 0)}" if mask and self.treatment.strength < 1 else ""
        return f"clip({self.n:g} · {inner}{mask}{weak})"


def default_tau(run: Run) -> float:
    """The scan's τ."""
    return float(compute.settings_of(run, "mspc").get("tau", 0.1))


def masks_there(run: Run, predicted: int) -> list[str]:
    """Which masks the run has for an image: the shared one of MSPC, that of its predicted class."""
    per_class = cache.masks_of(run).get("transplant")
    found = [SHARED] if compute.final_mask(run) is not None else []
    if per_class is not None and 0 <= predicted < len(per_class):
        found.append(CLASS)
    return found


def controls(run: Run, predicted: int) -> Settings:
    """Draw them; what cannot be used stands greyed out, with the reason."""
    n = st.slider("Multiply all pixels by n", 1.0, 12.0, 3.0, 0.1, key="inspect-n", help=HELP["scale"])
    there, usual = masks_there(run, predicted), default_tau(run)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        masked = st.toggle("Mask", key="inspect-mask", disabled=not there, help=HELP["mask"]) and bool(there)
        kind = st.segmented_control(
            "Which mask",
            there or [SHARED],
            default=(there or [SHARED])[0],
            format_func=lambda name: _TITLES[name],
            required=True,
            disabled=not masked,
            label_visibility="collapsed",
            key=f"inspect-mask-kind-{'-'.join(there)}",
        )
        hint = "100 % hides what the mask hides; 0 % hides nothing."
        strength = 100
        if masked:  # a switched-off slider would have a label too faint to read
            strength = st.slider(
                "Strength", 0, 100, 100, 5, format="%d %%", key="inspect-strength", width=150, help=hint
            )
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        shifted = st.toggle("Shift", key="inspect-tau", help=HELP["τ"])
        tau = st.slider(
            "τ", 0.0, max(0.5, usual), usual, 0.01, disabled=not shifted, key=f"inspect-tau-{usual:g}", width=150
        )
        with st.container(width=190):
            own = inspect_state.own_scales()
    names = {SHARED: "shared mask (MSPC)", CLASS: "mask of this class (transplant)"}
    if missing := [name for mask, name in names.items() if mask not in there]:
        st.caption(
            f":material/info: This run has no {' and no '.join(missing)}: the detector that learns it has not "
            "run or not finished."
        )
    mask = str(kind) if masked else ""
    return Settings(float(n), Treatment(mask, strength / 100 if mask else 1.0, float(tau) if shifted else 0.0), own)


def own_treatment(run: Run, settings: Settings) -> Treatment:
    """MSPC with the reader's settings: the mask that is chosen (else the shared one), and τ where it is switched on."""
    chosen = settings.treatment
    tau = chosen.tau or default_tau(run)
    return Treatment(chosen.mask or SHARED, chosen.strength, tau)
