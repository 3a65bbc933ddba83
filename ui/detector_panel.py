"""How a detector works, as a panel that opens from the picker and from the Scores page."""

from __future__ import annotations

from typing import Any

import streamlit as st

from mspc_core.detectors.catalog import CATALOG
from ui.detector_facts import FAMILIES, needs_words, ordered_names, title_of
from ui.text import HELP, plain, plural


def how_it_works(detector: str, *, label: str = "How it works", record: dict[str, Any] | None = None, key: str) -> None:
    """A button that opens the panel. record: of a finished run, whose own threshold is then named.

    The catalogue's texts are this project's own Markdown; what comes from a run is shown as text.
    """
    icon = ":material/menu_book:" if label else ":material/info:"
    with st.popover(label, icon=icon, type="secondary" if label else "tertiary", key=key):
        facts = CATALOG.get(detector)
        if facts is None:
            st.markdown(f"**{plain(detector, 40)}**")
            st.caption("This detector is not part of this version, so that nothing more is known of it.")
            return
        st.markdown(f"**{facts.title}** · :gray[{FAMILIES[facts.family]}]")
        st.markdown(facts.explains)
        st.markdown(facts.how)
        st.markdown("\n".join(f"- {line}" for line in _lines(detector, record)))
        st.caption(f"Source: {facts.citation}")


def _lines(detector: str, record: dict[str, Any] | None) -> list[str]:
    facts = CATALOG[detector]
    lines = [
        f"**Flags an image when** {facts.rule}",
        f"**Needs** {needs_words(facts.needs)}",
        f"**Costs** {facts.cost}",
        f"**Known to miss:** {facts.limits}",
    ]
    rule = (record or {}).get("threshold")
    if rule:
        above = f"scores above {float(rule['value']):.4g} were flagged"
        lines.insert(1, f"**In this run** {above} ({threshold_words(rule)})")
    return lines


def threshold_words(rule: dict[str, Any]) -> str:
    """Where a threshold comes from, as Markdown that is safe to show."""
    kinds = {
        "natural": "follows from what the score means",
        "quantile": "a fixed share of the images is flagged, poisoned or not",
        "manual": "set by hand",
    }
    return kinds.get(str(rule.get("rule")), plain(rule.get("rule"), 40))


def threshold_help(rule: dict[str, Any]) -> str:
    """Help for the way back to the scan's own threshold."""
    if rule.get("rule") in (None, "natural"):
        return HELP["natural threshold"]
    return f"The scan's own threshold: {threshold_words(rule)}."


def show_not_run(not_run: dict[str, str] | None, *, compact: bool = False) -> None:
    """Which detectors of a run have no scores, and why; nothing where all ran. compact: behind a button."""
    if not not_run:
        return
    words = f"{plural(len(not_run), 'detector')} could not run here"
    lines = [f"- **{plain(title_of(name), 40)}**: {plain(not_run[name], 300)}" for name in ordered_names(not_run)]
    if compact:
        with st.popover(words, icon=":material/block:", type="tertiary"):
            st.markdown("\n".join(lines))
        return
    with st.container(border=True):
        st.markdown(f":material/block: **{words}; the others did**\n" + "\n".join(lines))
