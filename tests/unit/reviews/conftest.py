"""Each test of the store runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mspc_core.reviews import ReviewStore
from mspc_core.reviews.database import opened
from tests.unit.reviews.databases import new_database, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    yield from postgres_server()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{home.parent / 'reviews.sqlite'}"
    else:
        yield new_database(request.getfixturevalue("postgres"))
    opened.cache_clear()


@pytest.fixture
def store(address: str) -> ReviewStore:
    return ReviewStore(address)
