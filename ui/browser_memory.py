"""A text that this browser remembers across reloads and days, such as the reviewer's name. It stays in the browser: the
server keeps nothing, and another person's browser offers their own."""

from __future__ import annotations

import streamlit as st

# The first drawing brings back what is remembered, unless something was entered already; later ones remember what is
# entered, and forget what is cleared. A browser that refuses to remember is left alone.
_JS = """
export default function(component) {
  const { data, parentElement, setTriggerValue } = component;
  const key = 'backdoor-lens:' + data.what;
  try {
    if (data.text) localStorage.setItem(key, data.text);
    else if (parentElement.asked) localStorage.removeItem(key);
    else if (localStorage.getItem(key)) setTriggerValue('found', localStorage.getItem(key).slice(0, data.most));
  } catch (error) { /* private windows may refuse */ }
  parentElement.asked = true;
}
"""
_component = st.components.v2.component("backdoor_lens_browser_memory", js=_JS)


def remember(state_key: str, most: int) -> None:
    """Keep a text field's value in the browser; where the session has none, fill it in before the page is drawn again.

    state_key: the field's key in the session. most: characters that are taken back at most.
    """
    key = f"remember-{state_key}"

    def found() -> None:
        text = st.session_state[key].get("found")
        if isinstance(text, str) and not st.session_state.get(state_key):
            st.session_state[state_key] = text[:most]

    data = {"what": state_key, "text": str(st.session_state.get(state_key) or ""), "most": most}
    _component(key=key, data=data, on_found_change=found)
