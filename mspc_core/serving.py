"""How the app is opened to others: settings from the environment, who has to log in, and the shared token.

    BACKDOOR_LENS_TOKEN, BACKDOOR_LENS_TOKEN_FILE   the shared token, or a file that holds it
    BACKDOOR_LENS_REQUIRE_LOGIN=1                   a log-in also where the server listens on this machine only
    BACKDOOR_LENS_USERS                             who may log in by OIDC: addresses and @domains, with commas
    BACKDOOR_LENS_ROOTS                             folders whose paths users may name, with colons between them
    BACKDOOR_LENS_QUOTA_…                           UPLOAD_MB, DATASETS_GB, RUNS, JOBS of each user; `none` lifts one

They are read by the app and by the jobs that it starts; the command line alone is not limited by them.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mspc_core.errors import InputError, explain_os_error

Mode = Literal["local", "token", "oidc"]
TOKEN, TOKEN_FILE = "BACKDOOR_LENS_TOKEN", "BACKDOOR_LENS_TOKEN_FILE"
REQUIRE, USERS, ROOTS = "BACKDOOR_LENS_REQUIRE_LOGIN", "BACKDOOR_LENS_USERS", "BACKDOOR_LENS_ROOTS"
QUOTA = "BACKDOOR_LENS_QUOTA_"
SECRETS = (TOKEN, TOKEN_FILE)  # not handed to jobs, which read files of strangers
SHORTEST, LONGEST = 16, 1024  # characters of a token
MOST = 1_000_000.0
_QUOTAS: dict[str, float] = {"UPLOAD_MB": 1024, "DATASETS_GB": 50, "RUNS": 200, "JOBS": 4}
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via")
HOW = (
    "stop it, and start it again with BACKDOOR_LENS_TOKEN_FILE or with [auth] in .streamlit/secrets.toml (see "
    "docs/serving.md)"
)


@dataclass(frozen=True)
class Serving:
    """roots: real paths. Quotas are of one user; None: no limit. token: "" where there is none."""

    token: str = field(default="", repr=False)
    require_login: bool = False
    users: tuple[str, ...] = ()
    roots: tuple[Path, ...] = ()
    upload_mb: float | None = _QUOTAS["UPLOAD_MB"]
    datasets_gb: float | None = _QUOTAS["DATASETS_GB"]
    runs: int | None = int(_QUOTAS["RUNS"])
    jobs: int | None = int(_QUOTAS["JOBS"])


def settings(environment: Mapping[str, str] = os.environ) -> Serving:
    """What the environment says. A token file is read each time, so that a new token counts at once. Raises
    `InputError` with the variable that has to be changed."""
    names = (TOKEN, REQUIRE, USERS, ROOTS, *(QUOTA + name for name in _QUOTAS))
    token_file = environment.get(TOKEN_FILE, "")
    text = _read_token(token_file) if token_file else ""
    return _parsed(tuple(environment.get(name, "").strip() for name in names), text)


@lru_cache(maxsize=16)
def _parsed(values: tuple[str, ...], from_file: str) -> Serving:
    token, require, users, roots, *quotas = values
    if token and from_file:
        raise InputError(f"{TOKEN} and {TOKEN_FILE} are both set: keep one of them.")
    if require not in ("", "0", "1"):
        raise InputError(f"{REQUIRE} is 1 or 0, not {require[:20]!r}.")
    upload, datasets, runs, jobs = (
        _quota(name, text, default) for (name, default), text in zip(_QUOTAS.items(), quotas, strict=True)
    )
    return Serving(
        token=_checked(token or from_file),
        require_login=require == "1",
        users=tuple(part.strip().lower() for part in users.split(",") if part.strip()),
        roots=tuple(_root(part) for part in roots.split(os.pathsep) if part.strip()),
        upload_mb=upload,
        datasets_gb=datasets,
        runs=None if runs is None else int(runs),
        jobs=None if jobs is None else int(jobs),
    )


def _read_token(name: str) -> str:
    try:
        text = Path(name).read_text(encoding="utf-8")[: LONGEST + 2].strip()
    except UnicodeDecodeError:
        raise InputError(f"The file that {TOKEN_FILE} names is not UTF-8 text.") from None
    except OSError as error:
        raise InputError(f"The file that {TOKEN_FILE} names cannot be read: {explain_os_error(error)}") from None
    if not text:
        raise InputError(f"The file that {TOKEN_FILE} names is empty: write a token of {SHORTEST} characters or more.")
    return text


def _checked(token: str) -> str:
    if token and not (SHORTEST <= len(token) <= LONGEST and token.isprintable() and " " not in token):
        raise InputError(
            f"The token has to have {SHORTEST} to {LONGEST:,} characters without spaces: make one with "
            '`python -c "import secrets; print(secrets.token_urlsafe(24))"`.'
        )
    return token


def _root(text: str) -> Path:
    path = Path(text.strip()).expanduser()
    if not path.is_absolute() or not path.is_dir():
        raise InputError(f"{ROOTS} names {text[:80]!r}, which is not a folder with its whole path: mend or remove it.")
    real = path.resolve()
    if real == Path(real.anchor):
        raise InputError(f"{ROOTS} names the whole disk: name the folders that hold data.")
    return real


def _quota(name: str, text: str, default: float) -> float | None:
    if not text:
        return default
    if text.lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    whole = name in ("RUNS", "JOBS")
    if not (0 < value <= MOST) or (whole and value != int(value)):
        kind = "whole number from 1" if whole else "number above 0"
        raise InputError(f"{QUOTA}{name} is a {kind} up to {MOST:,.0f}, or none; not {text[:20]!r}.")
    return value


# --- who has to log in ----------------------------------------------------------------------------------------------


def is_loopback(address: str | None) -> bool:
    """Does this address mean this machine only? None and "" mean all of its interfaces."""
    name = (address or "").strip().lower().strip("[]").rstrip(".")
    if name == "localhost":
        return True
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def mode_of(address: str | None, serving: Serving, *, oidc: bool) -> Mode:
    """How people get in. address: what the server is bound to. oidc: is a provider configured? Raises `InputError`
    where nobody may: open to a network, or told to ask for a log-in, without a way to log in."""
    if oidc and serving.token:
        raise InputError("Both [auth] in secrets.toml and a token are configured: keep one way to log in.")
    if oidc and not serving.users:
        raise InputError(
            f"Log-in by [auth] is configured without {USERS}: name who may log in, as ann@example.org,@example.com, or "
            "* for everybody whom the provider lets in."
        )
    if oidc:
        return "oidc"
    if serving.token:
        return "token"
    if serving.require_login:
        raise InputError(f"This server has to ask for a log-in ({REQUIRE}) and has none configured: {HOW}.")
    if not is_loopback(address):
        raise InputError(f"This server can be reached from other machines and has no log-in configured: {HOW}.")
    return "local"


def check_local_visit(headers: Mapping[str, str], remote: str | None) -> None:
    """Raises `InputError` unless this is a browser on this machine that asked for this machine, where no log-in is
    asked for. headers: of the request. remote: the address it came from, None for this machine.

    Three doors that binding to localhost leaves open: a reverse proxy on the same machine; a page elsewhere whose name
    was made to lead here (DNS rebinding), which shows in `Host`; another program's page on this machine (`Origin`).
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    if (remote is not None and not is_loopback(remote)) or any(name.lower() in lowered for name in FORWARDED):
        raise InputError(f"This request came through a network or a proxy, and no log-in is configured: {HOW}.")
    host, origin = lowered.get("host"), lowered.get("origin")
    if host is not None and not is_loopback(_hostname(f"//{host}")):
        raise InputError(
            "Without a log-in this app opens only under a name of this machine: use http://localhost and its port."
        )
    if host is not None and origin is not None and _place(origin) != host.lower():
        raise InputError("This request came from the page of another program: open the app by its own address.")


def _place(origin: str) -> str | None:
    """Host and port of an `Origin`; None for one that is no URL, which is nobody's."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


# --- the shared token -----------------------------------------------------------------------------------------------


def digest(token: str) -> str:
    """What a session remembers of the token, so that a new token ends the sessions of the old one."""
    return hashlib.sha256(b"backdoor-lens session\0" + token.encode("utf-8", "surrogatepass")).hexdigest()


def same(given: str, token: str) -> bool:
    """Compared in a time that says nothing about how much was right, nor about the length."""
    return hmac.compare_digest(digest(given), digest(token))


class Guard:
    """Slows guessing down, for the whole server: after `FREE` wrong tokens everybody waits before the next try is
    looked at, 2 s, then 4 s, up to `LONGEST_WAIT`. Forgotten after a right one, or after `FORGET` seconds."""

    FREE, LONGEST_WAIT, FORGET = 5, 60.0, 900.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._wrong, self._latest = 0, 0.0

    def admits(self, given: str, token: str) -> bool:
        """Is it the token? Raises `InputError` while one has to wait; then the try is not looked at, even if right."""
        with self._lock:
            now = self._clock()
            if now - self._latest > self.FORGET:
                self._wrong = 0
            wait = self._latest + self._delay() - now
            if wait > 0:
                raise InputError(f"There were too many wrong tokens: try again in {wait:.0f} s.")
            if token and same(given, token):
                self._wrong = 0
                return True
            self._wrong, self._latest = self._wrong + 1, now
            return False

    def _delay(self) -> float:
        extra = self._wrong - self.FREE
        return min(self.LONGEST_WAIT, 2.0 ** min(extra + 1, 30)) if extra >= 0 else 0.0
