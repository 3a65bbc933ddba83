"""The address of the review database: what may stand in it, and what of it may be shown."""

from __future__ import annotations

import re
import ssl
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from mspc_core.errors import InputError

VARIABLE = "BACKDOOR_LENS_REVIEWS_URL"
EXAMPLE = "postgresql://user:password@host:5432/database"
_WAIT = 15  # seconds until an unreachable server is given up
_POSTGRES = ("postgresql", "postgres")
_DRIVERS = {"pg8000": "pg8000", "psycopg": "psycopg", "psycopg2": "psycopg2"}


def parsed(address: str) -> tuple[URL, dict[str, Any]]:
    """An address as SQLAlchemy's URL with the arguments its driver needs. `postgresql://` means the driver pg8000, and
    the usual parameters of libpq (`host` for a socket's folder, `sslmode`, `connect_timeout`) are understood.

    Raises `InputError`, which shows nothing of the address but the kind of database or driver.
    """
    try:
        url = make_url(address.strip())
    except (SQLAlchemyError, ValueError, TypeError):
        raise InputError(
            f"The address of the review database in {VARIABLE} cannot be read: write it like {EXAMPLE}, "
            "with @ as %40 and / as %2F inside the password."
        ) from None
    kind, _, driver = url.drivername.partition("+")
    if kind == "sqlite":
        if driver not in ("", "pysqlite"):
            raise InputError(f"SQLite is used through Python's own driver: write sqlite:///… in {VARIABLE}.")
        return url, {}
    if kind not in _POSTGRES:
        raise InputError(
            f"Review decisions are kept in SQLite (sqlite:///file) or PostgreSQL ({EXAMPLE}), "
            f"not in {_word(kind)}: change {VARIABLE}."
        )
    module = _DRIVERS.get(driver or "pg8000")
    if module is None or find_spec(module) is None:
        raise InputError(
            f"The driver {_word(driver or 'pg8000')} that {VARIABLE} names is not installed: write postgresql://… to "
            "use pg8000, which comes with Backdoor Lens."
        )
    url = url.set(drivername=f"postgresql+{module}")
    return _for_pg8000(url) if module == "pg8000" else (url, {})


def _for_pg8000(url: URL) -> tuple[URL, dict[str, Any]]:
    """libpq's parameters in pg8000's words."""
    query = dict(url.query)
    arguments: dict[str, Any] = {"timeout": _seconds(query.pop("connect_timeout", None))}
    folder = query.pop("host", None)
    port = _port(query.pop("port", url.port or 5432))
    if isinstance(folder, str) and folder.startswith("/"):
        arguments["unix_sock"] = f"{folder.rstrip('/')}/.s.PGSQL.{port}"
    elif folder:
        url = url.set(host=str(folder), port=port)
    mode = query.pop("sslmode", "prefer")
    if mode in ("verify-ca", "verify-full"):
        arguments["ssl_context"] = ssl.create_default_context()
    elif mode == "require":  # as libpq: encrypted, whoever answers
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        arguments["ssl_context"] = context
    unknown = sorted(set(query) - {"application_name"})
    if unknown:
        raise InputError(f"The parameter {_word(unknown[0])} in {VARIABLE} is not understood: leave it out.")
    return url.set(query=query), arguments


def _port(asked: object) -> int:
    if re.fullmatch(r"[0-9]{1,5}", str(asked)) and 0 < int(str(asked)) < 65_536:
        return int(str(asked))
    raise InputError(f"The port in {VARIABLE} has to be one number from 1 to 65535.")


def _seconds(asked: object) -> int:
    return int(asked) if isinstance(asked, str) and re.fullmatch(r"[0-9]{1,9}", asked) and int(asked) else _WAIT


def without_password(text: str, url: URL) -> str:
    """An error's text with the password, written in any way, blotted out."""
    password = url.password
    if password:
        for form in sorted({password, quote(password, safe=""), quote_plus(password)}, key=len, reverse=True):
            text = text.replace(form, "***")
    return text


def _word(text: str) -> str:
    """A name out of an address; anything that does not look like one is not repeated (it may be part of a password)."""
    return repr(text) if text.replace("_", "").isalnum() and len(text) <= 20 else "what is named there"
