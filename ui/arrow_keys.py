"""Left and right arrow keys that turn to the previous and the next thing, and are left to whatever needs them itself.

Streamlit's own shortcuts would also fire while a slider or a radio button has the focus.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

_JS = """
const OWN = 'input, textarea, select, [contenteditable="true"], [role=slider], [role=radio], [role=tab], '
  + '[role=combobox], [role=listbox], [role=grid], [role=dialog], .js-plotly-plot';
let shown = null;
export default function(component) {
  const { data, parentElement, setTriggerValue } = component;
  if (data.place !== null) {
    if (shown !== null && shown !== data.place) document.querySelector('[data-testid="stMain"]')?.scrollTo(0, 0);
    shown = data.place;
  }
  if (parentElement.listening) document.removeEventListener('keydown', parentElement.listening, true);
  parentElement.listening = (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const at = event.composedPath()[0];
    const turning = data.within && at instanceof Element && at.closest(data.within);
    if (at instanceof Element && at.closest(OWN) && !turning) return;
    if (turning) event.stopPropagation();  // or the focus would move in there as well
    setTriggerValue('moved', event.key === 'ArrowRight' ? 1 : -1);
  };
  document.addEventListener('keydown', parentElement.listening, true);
  return () => document.removeEventListener('keydown', parentElement.listening, true);
}
"""
_component = st.components.v2.component("backdoor_lens_arrow_keys", js=_JS)


def listen(on_move: Callable[[int], None], *, key: str, place: int | None = None, within: str = "") -> None:
    """Call `on_move(-1)` or `on_move(1)` before the page is drawn again when an arrow key is pressed.

    place: when it changes, the page is read from its top again. within: a CSS selector of something that would keep
    the arrow keys to itself, and does not.
    """

    def pressed() -> None:
        moved = st.session_state[key].get("moved")
        if moved in (1, -1):
            on_move(int(moved))

    _component(key=key, data={"place": place, "within": within}, on_moved_change=pressed)
