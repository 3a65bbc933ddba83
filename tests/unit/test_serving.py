"""Settings of a served app: what is refused, who has to log in, and how wrong tokens are slowed down."""

from __future__ import annotations

from pathlib import Path

import pytest

from mspc_core import serving
from mspc_core.errors import InputError
from mspc_core.serving import Guard, Serving, check_local_visit, is_loopback, mode_of, settings

GOOD = "correct-horse-battery"


def test_nothing_set_is_no_token_and_modest_quotas() -> None:
    found = settings({})
    assert found == Serving()
    assert (found.token, found.require_login, found.roots) == ("", False, ())
    assert (found.upload_mb, found.datasets_gb, found.runs, found.jobs) == (1024, 50, 200, 4)


def test_everything_set(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    found = settings(
        {
            "BACKDOOR_LENS_TOKEN": f" {GOOD}\n",
            "BACKDOOR_LENS_REQUIRE_LOGIN": "1",
            "BACKDOOR_LENS_USERS": "Ann@Example.org, @example.com,",
            "BACKDOOR_LENS_ROOTS": f"{tmp_path / 'link'}:",
            "BACKDOOR_LENS_QUOTA_UPLOAD_MB": "0.5",
            "BACKDOOR_LENS_QUOTA_DATASETS_GB": "none",
            "BACKDOOR_LENS_QUOTA_RUNS": "3",
            "BACKDOOR_LENS_QUOTA_JOBS": "1",
        }
    )
    assert found == Serving(GOOD, True, ("ann@example.org", "@example.com"), (tmp_path / "data",), 0.5, None, 3, 1)
    assert GOOD not in repr(found)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TOKEN", "short", "16 to 1,024 characters"),
        ("TOKEN", "with a space in the middle", "without spaces"),
        ("TOKEN", "x" * 1025, "16 to 1,024 characters"),
        ("TOKEN", "control\x07character-here", "16 to 1,024"),
        ("TOKEN_FILE", "/nowhere/token", "cannot be read"),
        ("REQUIRE_LOGIN", "yes", "is 1 or 0"),
        ("ROOTS", "data", "whole path"),
        ("ROOTS", "/nowhere-at-all", "not a folder"),
        ("ROOTS", "/", "whole disk"),
        ("QUOTA_RUNS", "0", "whole number from 1"),
        ("QUOTA_RUNS", "2.5", "whole number from 1"),
        ("QUOTA_JOBS", "many", "QUOTA_JOBS"),
        ("QUOTA_UPLOAD_MB", "-1", "above 0"),
        ("QUOTA_DATASETS_GB", "nan", "above 0"),
        ("QUOTA_DATASETS_GB", "inf", "1,000,000"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(variable: str, value: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        settings({f"BACKDOOR_LENS_{variable}": value})
    assert "\n" not in str(caught.value)


def test_a_bad_token_is_not_repeated_in_the_message() -> None:
    with pytest.raises(InputError) as caught:
        settings({"BACKDOOR_LENS_TOKEN": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_token_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    environment = {"BACKDOOR_LENS_TOKEN_FILE": str(file)}
    file.write_text(f"{GOOD}\n")
    assert settings(environment).token == GOOD
    file.write_text("another-long-enough-token")
    assert settings(environment).token == "another-long-enough-token"
    file.write_text("  \n")
    with pytest.raises(InputError, match="is empty"):
        settings(environment)
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(InputError, match="UTF-8"):
        settings(environment)
    file.write_text(GOOD)
    with pytest.raises(InputError, match="both set"):
        settings({**environment, "BACKDOOR_LENS_TOKEN": GOOD})


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("", False),
        (None, False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("unix://lens.sock", False),
    ],
)
def test_which_addresses_are_this_machine_only(address: str | None, local: bool) -> None:
    assert is_loopback(address) is local


def test_who_has_to_log_in() -> None:
    token, people = Serving(token=GOOD), Serving(users=("@example.org",))
    assert mode_of("localhost", Serving(), oidc=False) == "local"
    for address in ("localhost", "0.0.0.0", None):
        assert mode_of(address, token, oidc=False) == "token"
        assert mode_of(address, people, oidc=True) == "oidc"


@pytest.mark.parametrize(
    ("address", "found", "oidc", "words"),
    [
        (None, Serving(), False, "from other machines"),
        ("0.0.0.0", Serving(), False, "from other machines"),
        ("localhost", Serving(require_login=True), False, "REQUIRE_LOGIN"),
        ("localhost", Serving(token=GOOD, users=("*",)), True, "keep one way"),
        ("localhost", Serving(), True, "BACKDOOR_LENS_USERS"),
    ],
)
def test_a_server_that_is_not_safely_configured_lets_nobody_in(
    address: str | None, found: Serving, oidc: bool, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        mode_of(address, found, oidc=oidc)


HERE = {"Host": "localhost:8501", "Origin": "http://localhost:8501"}


@pytest.mark.parametrize(
    ("headers", "remote"),
    [
        (HERE, None),
        ({"host": "127.0.0.1:8501", "origin": "http://127.0.0.1:8501"}, "127.0.0.1"),
        ({"Host": "[::1]:8501"}, "::1"),
        ({}, None),
    ],
)
def test_a_browser_on_this_machine_needs_no_login(headers: dict[str, str], remote: str | None) -> None:
    check_local_visit(headers, remote)


@pytest.mark.parametrize(
    ("headers", "remote", "words"),
    [
        (HERE, "10.0.0.7", "through a network or a proxy"),
        ({**HERE, "X-Forwarded-For": "10.0.0.7"}, None, "through a network or a proxy"),
        ({**HERE, "via": "1.1 proxy"}, None, "through a network or a proxy"),
        ({"Host": "evil.example:8501", "Origin": "http://evil.example:8501"}, None, "name of this machine"),
        ({"Host": "localhost@evil.example"}, None, "name of this machine"),
        ({"Host": "[broken"}, None, "name of this machine"),
        ({**HERE, "Origin": "http://localhost:3000"}, None, "page of another program"),
        ({**HERE, "Origin": "null"}, None, "page of another program"),
        ({**HERE, "Origin": "http://[localhost:8501"}, None, "page of another program"),
    ],
)
def test_visits_that_only_look_local_are_refused(headers: dict[str, str], remote: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_local_visit(headers, remote)


@pytest.mark.parametrize("given", ["", "correct-horse-batter", f"{GOOD}x", f" {GOOD}", GOOD.upper(), "é\ud800", "\0"])
def test_tokens_are_the_same_only_if_they_are_equal(given: str) -> None:
    assert not serving.same(given, GOOD)
    assert serving.same(given, given)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def wait_after(guard: Guard) -> float:
    """Seconds until the next try is looked at, found by trying with the right token."""
    clock = guard._clock
    start = clock.now  # type: ignore[attr-defined]
    while True:
        try:
            guard.admits("", "")
        except InputError:
            clock.now += 0.5  # type: ignore[attr-defined]
        else:
            return clock.now - start  # type: ignore[attr-defined]


def test_wrong_tokens_are_slowed_down_more_and_more() -> None:
    guard = Guard(Clock())
    assert [guard.admits("wrong", GOOD) for _ in range(5)] == [False] * 5
    assert [wait_after(guard) for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]


def test_while_one_has_to_wait_even_the_right_token_is_not_looked_at() -> None:
    clock = Clock()
    guard = Guard(clock)
    for _ in range(5):
        guard.admits("wrong", GOOD)
    with pytest.raises(InputError, match="try again in 2 s"):
        guard.admits(GOOD, GOOD)
    clock.now += 2
    assert guard.admits(GOOD, GOOD)
    assert not guard.admits("wrong", GOOD)  # forgotten: no wait after one wrong token
    assert guard.admits(GOOD, GOOD)


def test_wrong_tokens_are_forgotten_in_time() -> None:
    clock = Clock()
    guard = Guard(clock)
    for _ in range(5):
        guard.admits("wrong", GOOD)
    clock.now += Guard.FORGET + 1
    assert [guard.admits("wrong", GOOD) for _ in range(5)] == [False] * 5


def test_no_token_admits_nobody() -> None:
    assert not Guard().admits("", "")
