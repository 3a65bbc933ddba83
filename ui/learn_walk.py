"""Where the reader is: the step in the URL, previous and next (also by the arrow keys), and the printed lesson."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from ui import arrow_keys
from ui.text import plain

STEP, VIEW, PRINT = "step", "view", "print"
_KEPT = "learn-step"
PRINT_STYLE = Path(__file__).with_name("print.css")

_PRINT_JS = """
export default function(component) {
  const { parentElement } = component;
  let button = parentElement.querySelector('button');
  if (button) return;
  button = document.createElement('button');
  button.textContent = 'Print';
  button.addEventListener('click', () => window.print());
  parentElement.appendChild(button);
}
"""
_PRINT_CSS = """
button { font: inherit; font-family: var(--st-font); color: #fff; background: var(--st-primary-color); border: 0;
  border-radius: var(--st-button-radius, .4rem); padding: .4rem 1.1rem; cursor: pointer; min-height: 2.5rem; }
button:focus-visible { outline: 2px solid var(--st-text-color); outline-offset: 2px; }
"""
_print = st.components.v2.component("backdoor_lens_print", js=_PRINT_JS, css=_PRINT_CSS)


def number_of(text: str | None, steps: int) -> tuple[int, str]:
    """The step that a URL names, from 1, and what was wrong with it in words (Markdown; empty if nothing was)."""
    if text is None:
        return 1, ""
    stripped = text.strip()
    if not re.fullmatch(r"-?[0-9]{1,9}", stripped):
        return 1, f"There is no step “{plain(text, 20)}”: this is the first one."
    wanted = int(stripped)  # `int` itself strips fewer characters than `strip`
    if wanted < 1:
        return 1, f"There is no step {wanted}: this is the first one."
    if wanted > steps:
        return steps, f"There is no step {wanted}: this is the last one."
    return wanted, ""


def current(steps: int) -> int:
    """The step to show, from 1: the URL's, else the one this session was at. It is written to the URL."""
    wanted = st.query_params.get(STEP)
    number, problem = number_of(wanted if wanted is not None else st.session_state.get(_KEPT), steps)
    if problem:
        st.warning(problem, icon=":material/signpost:")
    _go_to(number)
    return number


def printing() -> bool:
    """Does the URL ask for the printed form?"""
    return st.query_params.get(VIEW) == PRINT


def _go_to(number: int) -> None:
    st.session_state[_KEPT] = str(number)
    if st.query_params.get(STEP) != str(number):
        st.query_params[STEP] = str(number)


def contents(number: int, titles: list[str], done: list[bool]) -> None:
    """All steps as a row of buttons: where the reader is, and which questions were answered."""
    key = "learn-contents"
    st.session_state[key] = number

    def picked() -> None:
        if st.session_state[key]:
            _go_to(int(st.session_state[key]))

    st.segmented_control(
        "Steps",
        range(1, len(titles) + 1),
        format_func=lambda place: f"{place} ✓" if done[place - 1] else str(place),
        key=key,
        on_change=picked,
        label_visibility="collapsed",
        help="✓: its question was answered.",
    )


def moves(number: int, titles: list[str]) -> None:
    """Previous and next, as buttons and by the arrow keys. A new step is read from its top."""
    steps = len(titles)

    def step_by(by: int) -> None:
        _go_to(min(max(number + by, 1), steps))

    with st.container(horizontal=True, horizontal_alignment="distribute", key="learn-moves"):
        st.button(
            "Previous",
            icon=":material/arrow_back:",
            on_click=step_by,
            args=(-1,),
            disabled=number == 1,
            key="learn-back",
        )
        following = f"Next: {titles[number]}" if number < steps else "This was the last step"
        st.button(
            following,
            icon=":material/arrow_forward:",
            icon_position="right",
            type="primary",
            on_click=step_by,
            args=(1,),
            disabled=number == steps,
            key="learn-next",
        )

    arrow_keys.listen(step_by, key="learn-keys", place=number, within=".st-key-learn-contents")


def print_button(key: str) -> None:
    """Opens the browser's print dialog."""
    _print(key=key)
