"""The gate of the app in each mode: who gets in, as whom, and what a user sees of others' work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from mspc_core import access, jobs
from mspc_core.errors import InputError
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run
from mspc_core.serving import Guard, digest
from tests.ui.conftest import REPOSITORY
from ui import login

TOKEN = "correct-horse-battery"
AUTH = {"redirect_uri": "https://lens.example.org/oauth2callback", "client_id": "lens"}
CLAIMS = {
    "is_logged_in": True,
    "email": "Ann@Example.org",
    "email_verified": True,
    "sub": "17",
    "iss": "https://id.example",
}
Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The app as it is configured here, with no wrong token so far, whoever was logged in by the tests before."""
    monkeypatch.setattr(login, "_guard", Guard())
    monkeypatch.setattr(access, "_ask", login.user)
    yield
    config.set_option("server.address", "localhost")


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDOOR_LENS_TOKEN", TOKEN)


@pytest.fixture
def oidc(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A configured provider; holds what it says of the visitor: nothing at first."""
    claims: dict[str, Any] = {"is_logged_in": False}
    monkeypatch.setenv("BACKDOOR_LENS_USERS", "@example.org")
    monkeypatch.setattr(login, "_auth_section", lambda: AUTH)
    monkeypatch.setattr(login, "_claims", lambda: claims)
    return claims


def visit(name: str | None = None) -> AppTest:
    """The app as a visitor finds it; with a name, as somebody who has logged in with the token."""
    at = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
    if name is not None:
        at.session_state["login"] = login.Login(name, time.time(), digest(TOKEN))
    return at.run()


def gate_alone() -> AppTest:
    """The gate before one page. (The test harness forgets between two runs that the app has a router of its own.)"""

    def script() -> None:
        import streamlit as st

        from ui import login

        inside = login.gate()
        page = st.navigation([st.Page(lambda: st.button("Open the demo"), title="Home", url_path="home")])
        if inside:
            login.account()
            page.run()

    return AppTest.from_function(script).run()


def log_in(at: AppTest, name: str = "Ann", given: str = TOKEN) -> AppTest:
    at.text_input(key="login-name").set_value(name)
    at.text_input(key="login-token").set_value(given)
    return at.button(key="FormSubmitter:login-form-Log in").click().run()


def shows_app(at: AppTest) -> bool:
    """Home, with its button for the demo."""
    return any("demo" in button.label.lower() for button in at.button)


def errors(at: AppTest) -> str:
    assert not at.exception
    return " ".join(error.value for error in at.error).replace("\\", "")  # as it is read


def account(at: AppTest) -> str:
    """Who the sidebar says is logged in."""
    text = " ".join(caption.value for caption in at.sidebar.caption)
    return text.replace("\\", "").replace("\u2060", "")


def labels(at: AppTest) -> list[str]:
    return [element.label for element in at.text_input]


def test_on_ones_own_machine_nobody_logs_in() -> None:
    at = visit()
    assert shows_app(at)
    assert labels(at) == []
    assert access.from_environment() is None


@pytest.mark.parametrize("address", [None, "0.0.0.0", "192.168.1.4"])
def test_a_server_open_to_a_network_without_a_login_shows_nothing(tiny_run: Run, address: str | None) -> None:
    config.set_option("server.address", address)
    at = visit()
    assert "can be reached from other machines" in errors(at)
    assert not shows_app(at)
    assert not at.selectbox  # no run picker either
    assert not at.button


def test_behind_a_proxy_one_can_ask_for_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDOOR_LENS_REQUIRE_LOGIN", "1")
    assert "REQUIRE_LOGIN" in errors(visit())
    monkeypatch.setenv("BACKDOOR_LENS_TOKEN", TOKEN)
    at = visit()
    assert labels(at) == ["Your name", "Token"]
    assert not shows_app(at)


def test_a_wrong_setting_shuts_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDOOR_LENS_TOKEN", "short")
    at = visit()
    assert "16 to 1,024 characters" in errors(at)
    assert not shows_app(at)


@pytest.mark.usefixtures("token")
def test_the_right_token_opens_and_the_name_is_kept() -> None:
    config.set_option("server.address", None)
    at = gate_alone()
    assert not shows_app(at)
    log_in(at, "  Ann \t Lee ")
    assert shows_app(at)
    assert account(at).endswith(" Ann Lee")
    at.sidebar.button(key="log-out").click().run()
    assert not shows_app(at)
    assert labels(at) == ["Your name", "Token"]


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("Ann", "wrong-horse-battery", "not the token"),
        ("Ann", "", "not the token"),
        ("", TOKEN, "Give your name"),
        ("a\u202eb", TOKEN, "Give your name"),
    ],
)
def test_nobody_else_gets_in(name: str, given: str, words: str) -> None:
    at = log_in(gate_alone(), name, given)
    assert words in errors(at)
    assert not shows_app(at)


@pytest.mark.usefixtures("token")
def test_guessing_is_slowed_down_over_all_sessions() -> None:
    at = gate_alone()
    for _ in range(5):
        log_in(at, given="wrong-horse-battery")
    other = log_in(gate_alone())
    assert "too many wrong tokens" in errors(other)
    assert not shows_app(other)


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("what", ["time", "token", "forged"])
def test_a_login_ends(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    at = log_in(gate_alone())
    assert shows_app(at)
    if what == "time":
        late = time.time() + login.HOURS * 3600 + 1
        monkeypatch.setattr(login.time, "time", lambda: late)
    elif what == "token":
        monkeypatch.setenv("BACKDOOR_LENS_TOKEN", "another-horse-battery")
    else:
        at.session_state["login"] = {"name": "Ann", "at": time.time(), "token": TOKEN}
    at.run()
    assert not shows_app(at)


@pytest.mark.parametrize("page", sorted(path.stem for path in (REPOSITORY / "pages").glob("*.py")))
def test_no_page_shows_anything_without_the_router(tiny_run: Run, token: None, page: str) -> None:
    """Streamlit can be asked for a page itself, before the router has run once: it has to send the visitor there."""
    at = AppTest.from_file(str(REPOSITORY / "pages" / f"{page}.py"), default_timeout=60).run()
    assert not at.title
    assert not at.markdown
    assert not at.button
    assert not at.selectbox


def test_decisions_are_made_under_the_name_of_the_login(tiny_run: Run, token: None) -> None:
    at = visit("Ann")
    at.switch_page("pages/review.py").run()
    named = next(field for field in at.text_input if field.label == "Reviewer")
    assert (named.value, named.disabled) == ("Ann", True)
    next(button for button in at.button if button.label.startswith("Remove")).click().run()
    assert not at.exception
    assert [entry.reviewer for entry in ReviewStore().history(tiny_run.id)] == ["Ann"]


def test_others_jobs_cannot_be_cancelled_nor_their_runs_deleted(
    home: Path, tiny_run: Run, token: None, no_start: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as as_bob:
        as_bob.setattr(access, "_ask", lambda: "Bob")
        access.record(tiny_run.folder)
        queued = jobs.create(home / "runs", {**jobs.read_config(tiny_run.folder)}, "his")
    at = visit("Ann")
    at.query_params["run"] = queued.name
    at.switch_page("pages/scan.py").run()
    cancel = at.button(key=f"job-cancel-{queued.name}")
    assert cancel.disabled
    at.switch_page("pages/home.py").run()
    at.button(key=f"delete-{tiny_run.id}").click().run()
    at.button(key="delete-yes").click().run()
    assert "belongs to 'Bob'" in errors(at)
    assert tiny_run.folder.is_dir()


@pytest.mark.usefixtures("token")
def test_paths_of_the_server_are_closed(tmp_path: Path) -> None:
    at = visit("Ann")
    at.switch_page("pages/data.py").run()
    next(field for field in at.text_input if field.label.startswith("Path on")).set_value(str(tmp_path))
    at.button(key="FormSubmitter:import-Import").click().run()
    assert "opens none of its folders" in errors(at)


def test_code_without_a_session_does_nothing_for_a_user(token: None) -> None:
    with pytest.raises(InputError, match="log in again"):
        access.current()


# --- OIDC -----------------------------------------------------------------------------------------------------------


def test_without_authlib_oidc_says_what_is_missing(oidc: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.auth_util.is_authlib_installed", lambda: False)
    assert "Authlib" in errors(visit())


def test_oidc_asks_and_then_knows_who_it_is(oidc: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.auth_util.is_authlib_installed", lambda: True)
    asked: list[str | None] = []
    monkeypatch.setattr("streamlit.login", asked.append)
    at = gate_alone()
    assert not shows_app(at)
    at.button(key="login-").click().run()
    assert asked == [None]
    oidc.update(CLAIMS, iat=time.time())
    at.run()
    assert shows_app(at)
    assert "ann@example.org" in account(at)


@pytest.mark.parametrize(
    "changed",
    [
        {"email": "ann@example.com"},
        {"email": "ann@example.org", "email_verified": False},
        {"email": "ann@example.org", "email_verified": "true"},
        {"email": "ann@not-example.org"},
        {"email": "ann@example.org@evil.example"},
        {"email": None},
    ],
)
def test_oidc_lets_in_only_who_is_listed(oidc: dict[str, Any], changed: dict[str, Any]) -> None:
    oidc.update({**CLAIMS, **changed})
    at = visit()
    assert "may not use this server" in errors(at)
    assert not shows_app(at)


def test_an_old_oidc_login_ends(oidc: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.auth_util.is_authlib_installed", lambda: True)
    oidc.update(CLAIMS, iat=time.time() - login.HOURS * 3600 - 1)
    assert not shows_app(visit())


def test_identities_are_verified_addresses_or_the_providers_subject() -> None:
    assert login.identity(CLAIMS) == "ann@example.org"
    unverified = {**CLAIMS, "email_verified": False}
    assert login.identity(unverified) == "id.example/17"
    assert login.identity({"sub": "17", "iss": "https://other.example/x"}) == "other.example/17"
    first, second = (login.identity({"sub": "x" * 200 + end, "iss": "https://id.example"}) for end in "ab")
    assert first != second
    assert max(len(first), len(second)) <= access.NAME
    assert login.identity({"sub": "17", "iss": "https://[id.example"}) == "provider/17"
    with pytest.raises(InputError, match="neither"):
        login.identity({"is_logged_in": True})


@pytest.mark.parametrize(
    ("name", "listed", "expected"),
    [
        ("ann@example.org", ("ann@example.org",), True),
        ("ann@example.org", ("@example.org",), True),
        ("ann@sub.example.org", ("@example.org",), False),
        ("id.example/x@example.org", ("@example.org",), False),
        ("id.example/17", ("id.example/17",), True),
        ("id.example/17", ("*",), True),
        ("ann@example.org", ("bob@example.org",), False),
        ("id.example/17", (), False),
    ],
)
def test_who_is_listed(name: str, listed: tuple[str, ...], expected: bool) -> None:
    assert login.allowed(name, listed) is expected
