"""What tests over all pages ask of each of them."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def words(at: AppTest) -> str:
    """All that is said on the page."""
    kinds = ("error", "warning", "info", "markdown", "caption", "title", "header", "subheader", "text", "success")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def check(at: AppTest) -> AppTest:
    """No exception, none hidden behind a sentence, and something to read."""
    assert not at.exception, at.exception
    said = words(at)
    assert "unexpected" not in said, said
    assert said
    return at
