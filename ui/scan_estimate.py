"""How long a scan will take and what memory it needs, asked for before it is started."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from mspc_core.console import duration
from mspc_core.estimating.asking import ask
from mspc_core.runs import ScanConfig
from ui.text import count, plain, plural


def show(config: ScanConfig) -> None:
    """Measure this machine for some seconds, and say what the scan will take. Raises `InputError` as the scan would."""
    with st.spinner("Measuring this machine for some seconds …"):
        found = ask(config)
    st.markdown(f":material/timer: {sentence(found)}")
    st.dataframe(table(found), hide_index=True, width="stretch")
    for name, reason in found["not_run"].items():
        st.caption(f":material/info: {plain(name, 40)} cannot run: {plain(reason, 300)}")
    st.caption(
        "Measured with this model on this machine as it is now; other work makes it wrong. How much some detectors "
        "compute depends on what they find."
    )


def sentence(found: dict[str, Any]) -> str:
    """The sum of it: time and memory."""
    memory = found["memory_mib"]["anonymous"]
    words = f"About **{duration(found['seconds'])}** and **{count(memory)} MiB** of memory"
    if found["device_mib"] is not None:
        words += f" and {count(found['device_mib'])} MiB of the accelerator's"
    training = f", {plural(found['epochs'], 'epoch')} of training" if found["epochs"] else ""
    return f"{words} for {plural(found['images'], 'image')} on {plain(found['device'], 60)}{training}."


def table(found: dict[str, Any]) -> pd.DataFrame:
    """A row for each stage."""
    rows = []
    for stage in found["stages"]:
        low, expected, high = (each / max(1, found["images"]) for each in stage["forward_equivalents"])
        passes = "–" if not high else f"{expected:.1f}" if low == high else f"{expected:.1f} ({low:.0f} to {high:.0f})"
        rows.append(
            {
                "stage": stage["title"],
                "time": duration(stage["seconds"]),
                "passes an image": passes,
                "memory": f"{count(stage['memory_mib'])} MiB",
            }
        )
    return pd.DataFrame(rows)
