"""Connections to the review database: one writer at a time, errors as one sentence."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from mspc_core.errors import InputError
from mspc_core.reviews import schema
from mspc_core.reviews.address import parsed, without_password

BUSY = 5  # seconds a writer waits for another one
_ABANDONED: list[Database] = []
_BEGIN = "backdoor_lens_begin"


class Database:
    """An opened review database, its schema brought up to date. Raises `InputError` when it cannot be used."""

    def __init__(self, address: str) -> None:
        url, arguments = parsed(address)
        self._url = url
        try:
            self._engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgres(url, arguments)
        except (SQLAlchemyError, ImportError, ValueError, TypeError) as error:
            raise InputError(self._sentence(error)) from None
        with self._translated(), self._engine.connect() as connection:
            current = schema.is_current(connection)
        if not current:
            with self.writing("schema") as connection:
                schema.bring_up_to_date(connection)
        self._file = self._identity()

    def in_place(self) -> bool:
        """Is the file at the address still the one that was opened? Into one that was deleted or replaced decisions
        would be written without an error, and be lost."""
        return self._identity() == self._file

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that waits for nobody."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, what: str) -> Iterator[Connection]:
        """A transaction that holds the lock of `what` (a run) until its end, so that the numbers it gives to rows and
        steps are in the order in which they become visible. It is on disk when the block has ended."""
        with self._translated():
            engine = self._engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
            with engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY}s'"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_number(what)})
                yield connection

    def _identity(self) -> tuple[int, int] | None:
        name = self._url.database if self._url.get_backend_name() == "sqlite" else None
        if not name or name.startswith((":", "file:")):
            return None
        try:
            found = os.stat(name)
            return found.st_dev, found.st_ino
        except OSError:
            return (0, 0)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise InputError(self._sentence(error)) from None

    def _sentence(self, error: Exception) -> str:
        reason = without_password(_reason(error), self._url)
        low = reason.lower()
        if "database is locked" in low or "lock timeout" in low:
            return "The review database is busy (another program holds its lock): nothing was changed; try again."
        if "readonly" in low or "read-only" in low:
            return (
                "The review database is read-only: nothing was changed; give write permission to its file and folder, "
                "or choose another place with BACKDOOR_LENS_REVIEWS_URL."
            )
        if low in ("communication error", "network error"):  # pg8000 does not say with whom
            reason = f"the server at {self._url.host or 'its socket'} does not answer"
        return f"The review database cannot be used ({reason}): nothing was changed; check its place and try again."


@lru_cache(maxsize=8)
def opened(address: str) -> Database:
    """The database at an address, opened once in a process."""
    return Database(address)


def at(address: str) -> Database:
    """The database at an address; opened again when its file was deleted or replaced."""
    database = opened(address)
    if database.in_place():
        return database
    _ABANDONED.append(database)  # closing it would clear away what SQLite keeps beside the file that is there now
    opened.cache_clear()
    return opened(address)


def lock_number(what: str) -> int:
    """The number of PostgreSQL's advisory lock: 64 bits, signed."""
    digest = hashlib.sha256(f"backdoor-lens reviews {what}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _reason(error: Exception) -> str:
    """The database's own words, on one line. pg8000 hands over a dict with the message under M."""
    cause: Any = getattr(error, "orig", None) or error
    first = cause.args[0] if getattr(cause, "args", ()) else ""
    words = first.get("M", "the server refused") if isinstance(first, dict) else str(cause)
    words = words.split(" (timeout is")[0].strip().rstrip(".")  # pg8000 adds its arguments
    return (words.splitlines() or [type(cause).__name__])[0][:150] or type(cause).__name__


def _postgres(url: URL, arguments: dict[str, Any]) -> Engine:
    # A server that was restarted is noticed before a decision is lost on a dead connection.
    engine = create_engine(url, connect_args=arguments, pool_pre_ping=True)
    engine.dialect.use_insertmanyvalues_wo_returning = True  # many rows in one go; pg8000 would send them one by one
    return engine


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _pragmas(connection, _):  # type: ignore[no-untyped-def]
        connection.execute(f"PRAGMA busy_timeout={1000 * BUSY}")
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not wait for each other
        connection.execute("PRAGMA synchronous=FULL")
        connection.isolation_level = None  # transactions begin below, not at the first write

    @event.listens_for(engine, "begin")
    def _begin(connection):  # type: ignore[no-untyped-def]
        # Writers take the lock at once: two reviewers' steps cannot get the same number.
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine
