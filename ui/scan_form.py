"""The form of a new scan: what to scan, with which model and which detectors. `ask` gives a ScanConfig or None."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from mspc_core import access, gpus
from mspc_core.data import store
from mspc_core.data.source import open_source
from mspc_core.errors import InputError
from mspc_core.runs import DEMO, ScanConfig
from ui import scan_estimate, state
from ui.detector_picker import ask_detectors
from ui.text import count, short

MODELS: dict[str, str] = {
    "small-cnn": "Train a small CNN: minutes without a GPU",
    "resnet18": "Train a ResNet-18: as published; wants a GPU",
    "tiny-vit": "Train a small vision transformer",
    "other": "Train another torchvision classifier …",
    "own": "Use my own weights …",
}
NORMALISATIONS: dict[str, str] = {
    "auto": "Find out by trying",
    "data": "Mean and deviation of this data set",
    "none": "None: pixels in 0 … 1",
    "half": "Mean 0.5, deviation 0.5",
    "imagenet": "ImageNet's",
    "cifar10": "CIFAR-10's",
}
_DEVICES = ["auto", "cpu", "cuda", "mps"]
_NO_FILE = "?"  # own weights are wanted, but no path was given: this must not turn into a training run
_STORED, _DEMO, _OTHER = "Stored data set", "Demo", "Path or name"


def ask(preselected: str | None) -> ScanConfig | None:
    """Draw the form; the configuration once Start is pressed, else None. Raises `InputError` for unusable input."""
    source = _ask_source(preselected)
    st.markdown("## Model")
    model = _ask_model()
    st.markdown("## Detectors")
    detectors = ask_detectors(str(source.get("dataset", "")), source["source"] == DEMO, str(model["arch"]))
    advanced = _ask_advanced()
    with st.container(horizontal=True):
        start = st.button("Start the scan", type="primary", icon=":material/play_arrow:", key="start")
        asked = st.button(
            "How long will it take?",
            type="tertiary",
            icon=":material/timer:",
            key="estimate",
            disabled=source["source"] in ("", DEMO),
            help="Measures this machine for some seconds and starts nothing. What is not stored yet is counted.",
        )
    if not start and not asked:
        return None
    config = ScanConfig(**{**source, **model, **detectors, **advanced})
    with st.spinner("Checking …"):
        check(config)
    if asked:
        scan_estimate.show(config)
        return None
    return config


def check(config: ScanConfig) -> None:
    """What can be seen to be wrong before a process starts, beyond `scan_checks.check`. Raises `InputError`."""
    if not config.dataset and config.source != DEMO:
        open_source(config.source)
    if not config.detectors:
        raise InputError("Choose at least one detector.")
    if config.checkpoint == _NO_FILE:
        raise InputError("Give the path of the file that holds your weights.")
    if config.checkpoint:
        access.check_readable(config.checkpoint)
    if config.checkpoint and Path(config.checkpoint).is_dir():
        raise InputError("The path of your weights is a folder: name the file inside it.")
    if config.arch not in MODELS:
        check_architecture(config.arch)


def check_architecture(name: str) -> None:
    """Raise `InputError` unless the model zoo knows the name. Loads torch."""
    import difflib

    from mspc_core.models.zoo import OWN, torchvision_names

    known = [*OWN, *torchvision_names()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else " For example resnet18 or mobilenet_v3_small."
        raise InputError(f"There is no architecture {short(name)!r}.{hint}")


def _ask_source(preselected: str | None) -> dict[str, Any]:
    stored = {info.name: info for info in store.list_datasets()}
    kinds = [_STORED, _DEMO, _OTHER] if stored else [_DEMO, _OTHER]
    if preselected in stored:
        st.session_state["scan_kind"], st.session_state["scan_dataset"] = _STORED, preselected
    elif preselected:
        state.say_not_stored(preselected)
    if st.session_state.get("scan_kind") not in kinds:
        st.session_state["scan_kind"] = kinds[0]
    if st.session_state.get("scan_dataset") not in stored:
        st.session_state.pop("scan_dataset", None)
    st.markdown("## Data")
    left, right = st.columns([2, 3], vertical_alignment="center")
    kind = left.segmented_control("Data", kinds, key="scan_kind", required=True, label_visibility="collapsed")
    if kind == _STORED:
        name = right.selectbox(
            "Data set",
            list(stored),
            key="scan_dataset",
            format_func=lambda key: _describe(stored[key]),
            label_visibility="collapsed",
        )
        return {"source": stored[name].source, "dataset": name, "size": stored[name].size}
    if kind == _DEMO:
        right.caption("Rendered traffic signs, 10 % of them poisoned with a sticker; built on this machine in seconds.")
        return {"source": DEMO}
    left, right = st.columns([3, 1])
    source = left.text_input(
        "Path on the machine that runs this app, or the name of a torchvision data set",
        placeholder="/data/vendor-images   or   cifar10",
        key="scan_source",
    ).strip()
    size = right.number_input("Image size in pixels", 16, 512, 32, step=8, key="scan_size")
    path = Path(source).expanduser() if source else None
    return {"source": str(path.absolute()) if path and _exists(path) else source, "size": int(size)}


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with characters that no path can have
        return False


def _describe(info: store.DatasetInfo) -> str:
    return f"{short(info.name, 40)} · {count(info.count)} images · {len(info.classes)} classes · {info.size} px"


def _ask_model() -> dict[str, Any]:
    left, right = st.columns([2, 3])
    chosen = left.selectbox(
        "Model", list(MODELS), format_func=MODELS.__getitem__, key="scan_model", label_visibility="collapsed"
    )
    if chosen == "other":
        name = right.text_input(
            "torchvision name", "mobilenet_v3_small", key="scan_arch", label_visibility="collapsed"
        ).strip()
        return {"arch": name}
    if chosen != "own":
        right.caption(
            "The model learns whatever is in the images, the backdoor too: that is what the detectors then look for. "
            "Class names, labels and pixels never leave this machine."
        )
        return {"arch": chosen}
    path = right.text_input(
        "File with the weights",
        placeholder="/models/vendor.safetensors",
        key="scan_checkpoint",
        help="safetensors, or a PyTorch state dict. Files that would run code when opened are refused.",
    ).strip()
    arch = left.text_input("Architecture it was trained with", "resnet18", key="scan_own_arch").strip()
    normalise = right.selectbox(
        "Normalisation it was trained with",
        list(NORMALISATIONS),
        format_func=NORMALISATIONS.__getitem__,
        key="scan_normalise",
    )
    checkpoint = str(Path(path).expanduser().absolute()) if path else _NO_FILE
    return {"arch": arch, "checkpoint": checkpoint, "normalise": normalise}


def _ask_advanced() -> dict[str, Any]:
    with st.expander("Advanced", icon=":material/tune:"):
        epochs, device, seed = st.columns(3)
        found = {
            "epochs": int(
                epochs.number_input(
                    "Epochs", 0, 1000, 0, key="scan_epochs", help="How often training sees every image; 0: automatic."
                )
            ),
            "device": device.selectbox(
                "Device", _DEVICES, key="scan_device", accept_new_options=True, help="For example cuda:1."
            )
            or "auto",
            "seed": int(seed.number_input("Seed", 0, 2**31 - 1, 0, key="scan_seed", help="Same seed, same result.")),
            "augment": st.checkbox(
                "Flip and shift images in training", key="scan_augment", help="The paper trains without."
            ),
        }
        found["processes"] = _ask_gpus(str(found["device"]))
    return found


def _ask_gpus(device: str) -> int:
    """How many GPUs work together; asked only where there are several."""
    count = gpus.visible()
    if count < 2 or device not in ("auto", "cuda"):
        return 1
    return int(
        st.select_slider(
            "GPUs",
            range(1, count + 1),
            key="scan_gpus",
            help="The images are divided among them, and the scores of a given model stay the same. Worth it for many "
            "or large images; small ones keep no GPU busy.",
        )
    )
