"""What goes wrong becomes one sentence in the browser and a full record in the server's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.errors import FragmentHandledException

from mspc_core.errors import MEMORY, Cancelled, InputError, explain_os_error, out_of_memory
from ui.text import plain

_log = logging.getLogger("backdoor_lens.ui")
_ICON = ":material/error:"


@contextmanager
def friendly() -> Iterator[None]:
    """Show an error raised inside the block (or the decorated function) as one sentence.

    Streamlit's own ways to end a run (`st.stop`, `st.rerun`, `st.switch_page`) pass through.
    """
    try:
        yield
    except (InputError, Cancelled) as error:
        show_error(error)
    except FragmentHandledException:
        raise
    except OSError as error:
        _log.exception("file operation failed")
        show_error(explain_os_error(error))
    except Exception as error:
        if out_of_memory(error):
            show_error(MEMORY)
            return
        _log.exception("unexpected error")
        show_error(
            f"Something unexpected went wrong ({type(error).__name__}). Details are in the terminal where the app "
            "runs; reload the page to try again."
        )


def show_error(message: object) -> None:
    """One sentence in a red box, shown as text whatever it holds."""
    st.error(plain(message, 600), icon=_ICON)
