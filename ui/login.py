"""Who may see the app: nobody has to log in on one's own machine, everybody where it can be reached from others.

Two ways in, one at a time: a token that all share, with a name that each gives; or an identity provider (OIDC, by
Streamlit's `st.login`). What a user may then do is decided in `mspc_core.access` and `mspc_core.quotas`.

A log-in by token lives in the session of one browser tab and ends with it, also by a reload: Streamlit gives an app no
way to set a cookie that scripts cannot read, and a readable one could be taken by any script that gets into a page. A
log-in by OIDC is kept by Streamlit in a signed cookie that scripts cannot read.
"""

from __future__ import annotations

import hashlib
import logging
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit import config
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.secrets import secrets_singleton

from mspc_core import access, serving
from mspc_core.errors import InputError
from mspc_core.serving import Guard, Mode, Serving
from ui.errors import show_error
from ui.text import plain, short

HOURS = 12  # then one logs in again
_KEY = "login"
_guard = Guard()  # of the server: this module is loaded once
_log = logging.getLogger("backdoor_lens.login")


@dataclass(frozen=True)
class Login:
    """A log-in by token. at: seconds since the epoch. token: its digest, so that a new token ends the session."""

    name: str
    at: float
    token: str


def gate() -> bool:
    """May this visitor see the app? If not, says why or asks to log in. Called by the router before anything else."""
    try:
        found, mode = _mode()
        if mode == "local":
            serving.check_local_visit(dict(st.context.headers), _remote())
            return True
        name = _signed_in(found, mode)
    except InputError as error:
        _refuse(error)
        return False
    if name is not None:
        return True
    _, middle, _ = st.columns([1, 1.4, 1])
    with middle:
        st.title("Backdoor Lens")
        if mode == "token":
            _ask_token(found)
        else:
            _ask_provider()
    return False


def account() -> None:
    """Who is logged in, and the way out, at the end of the sidebar; nothing where nobody has to log in."""
    if (name := access.current()) is None:
        return
    with st.sidebar:
        st.caption(f":material/account_circle: {plain(name, 60)}")
        if st.button("Log out", icon=":material/logout:", type="tertiary", key="log-out"):
            if _mode()[1] == "oidc":
                st.logout()
            st.session_state.clear()
            st.rerun()


def user() -> str | None:
    """The identity of this session's user; None where nobody has to log in. Raises `InputError` for somebody who has to
    and has not. Asked whenever it matters, also by fragments and buttons, which do not pass the gate."""
    found, mode = _mode()
    if mode == "local":
        return access.from_environment() if get_script_run_ctx(suppress_warning=True) is None else None
    name = _signed_in(found, mode) if get_script_run_ctx(suppress_warning=True) is not None else None
    if name is None:
        raise InputError("You are not logged in any more: reload the page and log in again.")
    return name


def _mode() -> tuple[Serving, Mode]:
    found = serving.settings()
    address = config.get_option("server.address")
    return found, serving.mode_of(address, found, oidc=bool(_auth_section()))


def _signed_in(found: Serving, mode: Mode) -> str | None:
    if mode == "token":
        login = st.session_state.get(_KEY)
        if isinstance(login, Login) and login.token == serving.digest(found.token) and _fresh(login.at):
            return login.name
        return None
    claims = _claims()
    if claims.get("is_logged_in") is not True or not _fresh(claims.get("iat", time.time())):
        return None
    name = identity(claims)
    if not allowed(name, found.users):
        raise InputError(f"{short(name, 80)} may not use this server: whoever runs it can add you to {serving.USERS}.")
    return name


def _remote() -> str | None:
    """Where the browser is, None for this machine. Streamlit's test harness has a stand-in there."""
    found = st.context.ip_address
    return found if isinstance(found, str) else None


def _fresh(at: object) -> bool:
    return isinstance(at, int | float) and -300 <= time.time() - at <= HOURS * 3600


# --- by token -------------------------------------------------------------------------------------------------------


def _ask_token(found: Serving) -> None:
    with st.form("login-form", border=True):
        given = st.text_input("Your name", key="login-name", max_chars=access.NAME, autocomplete="username")
        token = st.text_input(
            "Token", key="login-token", type="password", max_chars=serving.LONGEST, autocomplete="current-password"
        )
        st.caption(
            "What you decide, scan and import is recorded under your name. The token is from whoever runs this server."
        )
        pressed = st.form_submit_button("Log in", type="primary", icon=":material/login:")
    if not pressed:
        return
    try:
        name = checked_name(given)
        right = _guard.admits(token.strip(), found.token)
    except InputError as error:
        show_error(error)
        return
    if not right:
        _log.warning("wrong token from %s", _remote() or "this machine or a proxy")
        show_error("That is not the token of this server.")
        return
    st.session_state.clear()  # nothing that was typed or made before counts
    st.session_state[_KEY] = Login(name, time.time(), serving.digest(found.token))
    st.rerun()


def checked_name(text: str) -> str:
    """A name as it is recorded: one line, no control characters, equal where it looks equal. Raises `InputError`."""
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    if not name or len(name) > access.NAME or not name.isprintable():
        raise InputError(f"Give your name: 1 to {access.NAME} letters, digits or signs.")
    return name


# --- by an identity provider ----------------------------------------------------------------------------------------


def _ask_provider() -> None:
    from streamlit.auth_util import is_authlib_installed

    if not is_authlib_installed():
        show_error("[auth] needs two more packages on the server: pip install 'Authlib>=1.3.2' 'httpx>=0.24.1'.")
        return
    section = _auth_section()
    named = [str(key) for key, value in section.items() if isinstance(value, Mapping)]
    for provider in named or [""]:
        label = f"Log in with {plain(provider, 40)}" if provider else "Log in"
        if st.button(label, type="primary", icon=":material/login:", key=f"login-{provider}"):
            st.login(provider or None)


def _auth_section() -> Mapping[str, Any]:
    """[auth] of secrets.toml; {} where there is none."""
    if not secrets_singleton.load_if_toml_exists():
        return {}
    found = secrets_singleton.get("auth")
    return found if isinstance(found, Mapping) else {}


def _claims() -> dict[str, Any]:
    """What the provider says of this visitor."""
    return dict(st.user.to_dict())


def identity(claims: Mapping[str, Any]) -> str:
    """The name under which a user's work is recorded: the address, if the provider has verified it, else
    `<provider's host>/<sub>`, which nobody can choose."""
    email, subject = claims.get("email"), claims.get("sub")
    if isinstance(email, str) and claims.get("email_verified") is True and "@" in email:
        name = email.strip().lower()
    elif isinstance(subject, str) and subject:
        name = f"{_host(str(claims.get('iss', ''))) or 'provider'}/{subject}"
    else:
        raise InputError("The identity provider says neither a verified address nor a subject: use another one.")
    name = "".join(letter for letter in name if letter.isprintable())
    if len(name) > access.NAME:  # reviews keep that many characters: two long names must stay two
        name = f"{name[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def allowed(name: str, users: tuple[str, ...]) -> bool:
    """Is the identity listed: itself, by its domain (`@example.org`), or by `*` for all whom the provider lets in?"""
    lowered = name.lower()
    domain = f"@{lowered.rpartition('@')[2]}" if "@" in lowered and "/" not in lowered else None
    return "*" in users or lowered in users or domain in users


def _refuse(error: InputError) -> None:
    _log.warning("refused a visit: %s", error)
    st.title("Backdoor Lens")
    show_error(error)
    if _auth_section() and st.button("Log out", key="log-out-refused"):
        st.logout()


access.ask_with(user)
