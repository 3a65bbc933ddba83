"""Controls of the Poison lab: the data set, the attack with its settings, labels, target, rate and name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from mspc_core.attacks import base
from mspc_core.attacks.labels import LABEL_MODES
from mspc_core.attacks.settings import LARGEST_SEED, Setting, settings_of
from mspc_core.data.store import DatasetInfo
from mspc_core.poisoning import PoisonConfig
from ui import lab_data
from ui.text import HELP, plain, plural, short

LOWEST_RATE, HIGHEST_RATE = 0.1, 90.0  # percent
_DEFAULTS = "defaults"


def follow_link(found: dict[str, DatasetInfo], wanted: str | None) -> None:
    """Choose the data set that a link names. Not for a fragment: it would choose it again at every rerun of itself."""
    if wanted in found:
        st.session_state["lab-data"] = wanted


def choose_data(found: dict[str, DatasetInfo]) -> DatasetInfo:
    """The clean data set to poison."""
    if st.session_state.get("lab-data") not in found:
        st.session_state.pop("lab-data", None)

    def described(name: str) -> str:
        info = found[name]
        return f"{short(name, 40)} · {plural(info.count, 'image')}"

    return found[st.selectbox("Clean data set", list(found), key="lab-data", format_func=described)]


def choose_attack() -> str:
    """The attack, with what is special about it."""
    labels = lab_data.attack_labels()
    return str(st.selectbox("Attack", list(labels), key="lab-attack", format_func=labels.__getitem__))


def about(name: str) -> None:
    """One sentence about an attack, and its source."""
    facts = lab_data.attack_facts(name)
    st.markdown(f":small[{plain(facts.explains, 300)}]  \n:small[:gray[{plain(facts.citation, 200)}]]")


def ask_settings(name: str, side: int) -> dict[str, Any]:
    """Controls for all settings of an attack; what they are set to. side: of the images, in pixels."""
    settings = settings_of(name, side)
    for setting in settings:
        key = _key(name, setting)
        st.session_state[key] = setting.value(st.session_state.get(key, setting.default))
    _presets(name, settings)
    return {setting.name: _control(name, setting) for setting in settings}


def _presets(name: str, settings: list[Setting]) -> None:
    presets = lab_data.attack_facts(name).presets
    if not presets:
        return
    key = f"lab-preset-{name}"

    def chosen() -> None:
        wanted = st.session_state.get(key)
        values = base.attack_class(name).presets[wanted].settings if wanted in presets else {}
        for setting in settings:
            st.session_state[_key(name, setting)] = setting.value(values.get(setting.name, setting.default))

    st.segmented_control(
        "Settings",
        [_DEFAULTS, *presets],
        default=_DEFAULTS,
        key=key,
        required=True,
        on_change=chosen,
        format_func=lambda word: str(word).replace("-", " ").capitalize(),
        help="Defaults are this project's choice for small images. Published: "
        + " ".join(f"{plain(text, 300)}." for text in presets.values()),
    )


def _control(name: str, setting: Setting) -> Any:
    key, words = _key(name, setting), f"`{setting.name}`: {plain(setting.help, 400)}" if setting.help else None
    if setting.kind == "switch":
        return st.toggle(setting.title, key=key, help=words)
    if setting.kind == "choice":
        return st.selectbox(setting.title, setting.choices, key=key, help=words)
    if setting.drags:
        given = st.slider(
            setting.title,
            _num(setting.low, setting),
            _num(setting.high, setting),
            key=key,
            step=_num(setting.step, setting),
            format="%d" if setting.kind == "whole" else "%g",
            help=words,
        )
    else:
        given = st.number_input(
            setting.title,
            None if setting.low is None else _num(setting.low, setting),
            None if setting.high is None else _num(setting.high, setting),
            key=key,
            step=_num(setting.step or 1, setting),
            help=words,
        )
    return setting.value(given)


def _num(value: float | None, setting: Setting) -> Any:
    return int(value or 0) if setting.kind == "whole" else float(value or 0)


def _key(name: str, setting: Setting) -> str:
    return f"lab-{name}-{setting.name}"


def ask_labels(info: DatasetInfo, name: str) -> dict[str, Any]:
    """Label mode, target class, rate and seed."""
    facts = lab_data.attack_facts(name)
    modes = ["clean"] if facts.clean_label else list(LABEL_MODES)
    if st.session_state.get("lab-mode") not in modes:
        st.session_state["lab-mode"] = modes[0]
    mode = st.selectbox(
        "Labels",
        modes,
        key="lab-mode",
        format_func=lab_data.LABEL_WORDS.__getitem__,
        disabled=len(modes) == 1,
        help=lab_data.LABEL_HELP,
    )
    target = _ask_target(info, needed=mode in ("all-to-one", "clean") or facts.learns)
    left, right = st.columns(2)
    rate = left.number_input(
        "Poison rate (%)", LOWEST_RATE, HIGHEST_RATE, 10.0, step=0.1, format="%.1f", key="lab-rate",
        help=HELP["poison rate"],
    )  # fmt: skip
    seed = right.number_input("Seed", 0, LARGEST_SEED, 0, key="lab-seed", help="Same seed, same data set.")
    own = False
    if mode == "all-to-one":
        own = st.checkbox(
            "Also from the target class",
            key="lab-from-target",
            help="Images of the target class that get the trigger keep their label. By default they are left out.",
        )
    return {
        "label_mode": str(mode),
        "target": target,
        "rate": round(float(rate) / 100, 6),
        "seed": int(seed),
        "from_target": own,
    }


def _ask_target(info: DatasetInfo, *, needed: bool) -> int:
    numbers, labels = list(range(len(info.classes))), lab_data.class_options(info.classes)
    key = f"lab-target-{info.name}"
    return int(
        st.selectbox(
            "Target class",
            numbers,
            key=key,
            format_func=labels.__getitem__,
            disabled=not needed,
            help=HELP["target class"] if needed else "With these labels there is no single target class.",
        )
        or 0
    )


def ask_name(config: PoisonConfig) -> PoisonConfig:
    """The name of the new data set, and whether it is scanned at once."""
    from mspc_core.poisoning import default_name

    name = st.text_input(
        "Name of the new data set", placeholder=default_name(config), key="lab-name", max_chars=80
    ).strip()
    scan = st.checkbox(
        "Train on it and scan it at once",
        key="lab-scan",
        value=True,
        help="Starts a scan with all defaults as soon as the data set is there. You can also scan it later, with your "
        "own choice of model and detectors, on the Scan page.",
    )
    return replace(config, out=name or default_name(config), scan=bool(scan))


def left_out(lab: list[str]) -> str:
    """Why some stored data sets are not offered."""
    verb = "is" if len(lab) == 1 else "are"
    return f"{plural(len(lab), 'data set')} made in the lab {verb} not listed: poison is put into clean data only."
