"""Targets for short texts that come from elsewhere: addresses, headers of requests, times, names, lists of samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

LISTS = ("ids.txt", "ids.json", "ids.csv", "ids.tsv", "suggestions.csv", "choice.csv")


def text(folder: Path, options: dict[str, Any]) -> None:
    """options: what, a key of `TEXTS`; text."""
    TEXTS[options["what"]](options["text"])


def _database(given: str) -> None:
    from mspc_core.reviews import address

    url, arguments = address.parsed(given)
    assert arguments.get("timeout", 1) > 0
    assert not url.password or len(url.password) < 9 or url.password not in address.without_password(given, url)


def _visit(given: str) -> None:
    """Lines: Host, Origin, the address the request came from."""
    from mspc_core import serving

    host, origin, remote = [*given.split("\n"), "", ""][:3]
    headers = {"Host": host, **({"Origin": origin} if origin else {})}
    serving.check_local_visit(headers, remote or None)
    assert serving.is_loopback(serving._hostname(f"//{host}"))


def _identity(given: str) -> None:
    """Lines: what the provider says of itself, of the visitor's number and address."""
    from mspc_core import access
    from ui import login

    issuer, subject, email = [*given.split("\n"), "", ""][:3]
    name = login.identity({"iss": issuer, "sub": subject, "email": email, "email_verified": True})
    assert len(name) <= access.NAME
    assert name.isprintable()
    login.allowed(name, ("@example.org", "a@b"))


def _page(given: str) -> None:
    from ui import state

    assert state._page_of(given) in state.PAGES


def _time(given: str) -> None:
    from mspc_core import words

    assert "\n" not in words.utc(given)


def _name(given: str) -> None:
    from mspc_core import home

    home.check_name(home.name_from(given))
    home.check_name(given)
    assert (Path("/x") / given).resolve().parent == Path("/x")


def _setting(given: str) -> None:
    from mspc_core import cli_data

    cli_data._settings([given])


def _evidence(given: str) -> None:
    from mspc_core.reviews import evidence

    scores, flagged = evidence.read_evidence(given)
    assert all(isinstance(name, str) for name in (*scores, *flagged))


TEXTS: dict[str, Callable[[str], None]] = {
    "database": _database,
    "visit": _visit,
    "identity": _identity,
    "page": _page,
    "time": _time,
    "name": _name,
    "setting": _setting,
    "evidence": _evidence,
}


def listed(folder: Path, options: dict[str, Any]) -> None:
    """A list of samples that a user was given: entry, one of `LISTS`."""
    from mspc_core import home, selection
    from mspc_core.retrain import confirmed, kept

    path = folder / options["entry"]
    if options["entry"] == "suggestions.csv":
        labels = confirmed.read_table(str(path))
        assert all(isinstance(key, str) and type(label) is int for key, label in labels.items())
    elif options["entry"] == "choice.csv":
        choice = kept.read_choice(path)
        kept.write_choice(home.home() / "again.csv", choice)
        assert kept.read_choice(home.home() / "again.csv") == choice
    else:
        ids = selection.read_ids(path)
        assert ids
        assert all(isinstance(key, str) for key in ids)
