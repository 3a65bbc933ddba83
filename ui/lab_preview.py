"""The live preview of a trigger: clean, triggered, difference and frequencies of the images that are picked."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from mspc_core import home, poisoning
from mspc_core.attacks import base, preview
from mspc_core.attacks.base import State
from mspc_core.attacks.preview import Change, Form, Transform
from mspc_core.poisoning import PoisonConfig, Prepared
from ui import cache, evidence, images, lab_data, lab_pick
from ui.text import percent, short

EACH, TILE, GAP = 6, 96, 8
_FACTORS = [1, 2, 4, 8, 16, 32, 64]
HELP_PSNR = (
    "Peak signal-to-noise ratio, 20 · log10(255 / root of the mean squared change), in decibels. Above about 35 dB a "
    "change is hard to see."
)
_TRANSFORMS: tuple[Transform, ...] = ("FFT", "DCT")
_HELP_FREQUENCIES = (
    "log(1 + magnitude) of the brightness. Triggers that are hard to see in the image often show here. The FFT has "
    "frequency 0 in the middle; the DCT, which JPEG uses, in the upper left corner."
)


def show(prepared: Prepared) -> bool:
    """Draw the preview. False where the chosen form can be drawn only after the attack has learned."""
    form = _choose_form(prepared)
    rows = lab_pick.pick(prepared.dataset, "lab-pick", EACH, split="train")
    if not len(rows):
        st.info("This class has no images in this split.", icon=":material/image_not_supported:")
        return True
    clean = lab_data.pixels_of(prepared.dataset, rows)
    if preview.needs_learning(prepared.attack, form) and learned(prepared) is None:
        _row("Clean", clean)
        return False
    changed = drawn(prepared, rows, form)
    _pictures(clean, changed)
    _numbers(prepared, rows, clean, changed)
    _frequencies(clean, changed)
    return True


def learned(prepared: Prepared) -> State | None:
    """What the attack learned earlier with these settings; None while it has not (cached)."""
    if not prepared.attack.learns:
        return base.NOTHING
    path = home.home() / "triggers" / f"{prepared.key}.npz"
    changed = cache.stamp(path)
    return _learned(prepared.key, changed, prepared) if changed else None


def drawn(prepared: Prepared, rows: np.ndarray, form: Form) -> np.ndarray:
    """The picked images in one form of the trigger, uint8 [N, H, W, 3] (cached)."""
    config, info = prepared.config, prepared.dataset.info
    settings = json.dumps(base.as_json(prepared.attack), sort_keys=True)
    trigger = cache.stamp(home.home() / "triggers" / f"{prepared.key}.npz") if prepared.attack.learns else 0
    what = (info.name, info.content_key, prepared.attack.name, settings, prepared.target, config.seed, trigger)
    return _drawn(what, tuple(rows.tolist()), form, prepared)


def _choose_form(prepared: Prepared) -> Form:
    forms = preview.forms_of(prepared.attack)
    key = f"lab-form-{prepared.attack.name}"
    if st.session_state.get(key) not in forms:
        st.session_state[key] = forms[0]
    if len(forms) == 1:
        return forms[0]
    chosen = st.segmented_control(
        "Form of the trigger",
        forms,
        key=key,
        required=True,
        format_func=lab_data.FORM_WORDS.__getitem__,
        help=lab_data.FORM_HELP,
    )
    return chosen or forms[0]


def _pictures(clean: np.ndarray, changed: np.ndarray) -> None:
    _row("Clean", clean)
    _row("With the trigger", changed)
    factor = st.select_slider(
        "Difference, amplified",
        _FACTORS,
        8,
        key="lab-factor",
        format_func=lambda number: f"× {number}",
        width=400,
        help="Grey is no change; brighter was raised, darker was lowered. Values beyond black and white are cut off.",
    )
    _row(f"Difference × {factor}", preview.amplified(clean, changed, factor), said=False)


def _frequencies(clean: np.ndarray, changed: np.ndarray) -> None:
    transform: Transform = (
        st.segmented_control(
            "Frequencies", _TRANSFORMS, default="FFT", key="lab-transform", required=True, help=_HELP_FREQUENCIES
        )
        or "FFT"
    )
    first, second = preview.spectrum(clean, transform), preview.spectrum(changed, transform)
    top = float(max(first.max(initial=0.0), second.max(initial=0.0)))
    change = np.abs(second - first)
    _row("Clean", images.heat(first, top))
    _row("With the trigger", images.heat(second, top))
    _row("Change, at full contrast", images.heat(change, max(float(change.max(initial=0.0)), 0.1)))


def _row(title: str, pictures: np.ndarray, said: bool = True) -> None:
    small = images.thumbnails(pictures, TILE)
    tiles = np.stack([images.framed(images.enlarge(picture, TILE)) for picture in small])
    strip = images.sprite(tiles, len(tiles), GAP)
    seen = images.sprite(np.full_like(tiles, 255), len(tiles), GAP, background=0)[..., :1]
    with st.container(gap=None):
        if said:
            st.caption(title)
        st.image(np.concatenate([strip, seen], axis=2), width="content", alt=f"{title}: {len(tiles)} images")


def _numbers(prepared: Prepared, rows: np.ndarray, clean: np.ndarray, changed: np.ndarray) -> None:
    whole = preview.change_of(clean, changed)
    columns = st.columns(4)
    columns[0].metric("Largest change", str(whole.largest), help="Of a channel value, in 0 … 255.")
    columns[1].metric("Mean change", f"{whole.mean:.2f}", help="Of all channel values, in 0 … 255.")
    columns[2].metric("PSNR", _decibels(whole.psnr), help=HELP_PSNR)
    columns[3].metric("Pixels changed", percent(whole.share), help="Pixels of which any channel changed.")
    table = _table(prepared, rows, [preview.change_of(*pair) for pair in zip(clean, changed, strict=True)])
    evidence.table_under(table, "These images as a table", key="lab-table")


def _decibels(psnr: float) -> str:
    return f"{psnr:.1f} dB" if np.isfinite(psnr) else "∞"


def _table(prepared: Prepared, rows: np.ndarray, changes: list[Change]) -> pd.DataFrame:
    manifest, names = prepared.dataset.manifest.iloc[rows], prepared.dataset.info.classes
    table = pd.DataFrame(preview.as_rows(changes))
    table.insert(0, "path", [short(path, 80) for path in manifest["path"]])
    table.insert(1, "class", [short(names[label], 60) for label in manifest["label"]])
    return table


@st.cache_resource(max_entries=4, show_spinner=False)
def _learned(key: str, changed: int, _prepared: Prepared) -> State | None:
    return poisoning.kept_trigger(_prepared)


@st.cache_data(max_entries=64, show_spinner=False)
def _drawn(what: tuple[Any, ...], rows: tuple[int, ...], form: Form, _prepared: Prepared) -> np.ndarray:
    chosen = np.array(rows, dtype=np.int64)
    labels = _prepared.dataset.manifest["label"].to_numpy()[chosen].astype(np.int64)
    pixels = lab_data.pixels_of(_prepared.dataset, chosen)
    state = learned(_prepared)
    return preview.draw(
        _prepared.attack,
        pixels,
        labels,
        form,
        seed=_prepared.config.seed,
        state=base.NOTHING if state is None else state,
    )


def config_of(dataset: str, attack: str, settings: dict[str, Any], labels: dict[str, Any]) -> PoisonConfig:
    """The form's values as a configuration."""
    return PoisonConfig(dataset=dataset, attack=attack, settings=settings, **labels)
