"""What may go wrong with the database: older ones, locked, read-only and unreachable ones, strange addresses."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mspc_core.errors import InputError
from mspc_core.reviews import ReviewStore, database
from mspc_core.reviews.address import parsed, without_password
from mspc_core.reviews.database import Database, opened

# As version 0.1 made it; `{serial}` is what the database calls a number that counts itself.
OLD_SCHEMA = (
    "CREATE TABLE decisions (id {serial}, run VARCHAR(160) NOT NULL, sample_id VARCHAR(40) NOT NULL, "
    "decision VARCHAR(10) NOT NULL, reviewer VARCHAR(80) NOT NULL, time VARCHAR(32) NOT NULL, step INTEGER NOT NULL, "
    "undoes INTEGER, PRIMARY KEY (id))",
    "CREATE INDEX ix_decisions_run ON decisions (run)",
    "CREATE INDEX ix_decisions_sample_id ON decisions (sample_id)",
    "INSERT INTO decisions (run, sample_id, decision, reviewer, time, step, undoes) VALUES "
    "('run', 'a', 'keep', 'ann', '2026-11-22T10:00:00+00:00', 1, NULL), "
    "('run', 'b', 'remove', 'ben', '2026-11-22T10:00:01+00:00', 2, NULL), "
    "('run', 'b', 'open', 'ben', '2026-11-22T10:00:02+00:00', 3, 2), "
    "('other', 'a', 'unsure', '', '2026-11-22T10:00:03+00:00', 4, NULL)",
)


def test_a_database_of_version_0_1_loses_no_row(address: str) -> None:
    url, arguments = parsed(address)
    engine = create_engine(url, connect_args=arguments)
    serial = "SERIAL" if engine.dialect.name == "postgresql" else "INTEGER NOT NULL"
    with engine.begin() as connection:
        for statement in OLD_SCHEMA:
            connection.execute(text(statement.format(serial=serial)))
        before = connection.execute(text("SELECT * FROM decisions ORDER BY id")).all()
    store = ReviewStore(address)
    assert store.current("run") == {"a": "keep"}
    assert store.current("other") == {"a": "unsure"}
    with engine.begin() as connection:
        after = connection.execute(text("SELECT * FROM decisions ORDER BY id")).all()
    engine.dispose()
    assert [tuple(row[:8]) for row in after] == [tuple(row) for row in before]
    assert [(entry.sample_id, entry.evidence, entry.detectors) for entry in store.history("other")] == [("a", "", "")]
    store.decide("run", ["c"], "remove", "ann", evidence=["{}"], detectors="x")
    assert store.history("run")[-1].step > 3
    assert store.undo("run", "ann") == ["c"]
    assert store.undo("run", "ann") == ["a"], "undo reaches back to actions of the older version"
    opened.cache_clear()
    assert len(ReviewStore(address).history("run")) == 6, "opened again, nothing changes"


def test_a_locked_file_can_be_read_and_a_writer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY", 0.2)
    address = f"sqlite:///{tmp_path / 'locked.sqlite'}"
    store = ReviewStore(address)
    store.decide("run", ["a"], "keep")
    other = sqlite3.connect(tmp_path / "locked.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert store.current("run") == {"a": "keep"}
    with pytest.raises(InputError, match=r"is busy .* nothing was changed; try again"):
        store.decide("run", ["a"], "remove")
    with pytest.raises(InputError, match="is busy"):
        store.undo("run")
    other.execute("ROLLBACK")
    other.close()
    store.decide("run", ["b"], "remove")
    assert store.current("run") == {"a": "keep", "b": "remove"}


def test_another_writer_on_postgresql_is_told_too(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY", 0.2)
    first, second = Database(postgres), Database(postgres)
    with first.writing("run"):
        with second.writing("another run"):
            pass
        with pytest.raises(InputError, match="is busy"), second.writing("run"):
            pass


def test_a_read_only_file_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "reviews.sqlite"
    ReviewStore(f"sqlite:///{path}").decide("run", ["a"], "keep")
    store = ReviewStore(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert store.current("run") == {"a": "keep"}
    with pytest.raises(InputError, match="is read-only: nothing was changed; give write permission"):
        store.decide("run", ["a"], "remove")
    assert store.current("run") == {"a": "keep"}


def test_a_file_that_is_deleted_or_replaced_while_the_app_runs(tmp_path: Path) -> None:
    """Nothing is written into a file that nobody can find any more."""
    path = tmp_path / "reviews.sqlite"
    address = f"sqlite:///{path}"
    ReviewStore(address).decide("run", ["a"], "keep")
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    kept = path.read_bytes()
    path.unlink()
    ReviewStore(address).decide("run", ["b"], "remove")
    assert sqlite3.connect(path).execute("SELECT sample_id FROM decisions").fetchall() == [("b",)]
    path.unlink()
    for left in tmp_path.glob("reviews.sqlite-*"):
        left.unlink()
    path.write_bytes(kept)
    assert ReviewStore(address).current("run") == {"a": "keep"}


def test_a_database_that_cannot_be_used(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="review database cannot be used"):
        ReviewStore(f"sqlite:///{tmp_path}/missing/folder/reviews.sqlite")
    broken = tmp_path / "broken.sqlite"
    broken.write_text("this is not a database, it only looks like a file of one " * 40)
    with pytest.raises(InputError, match="review database cannot be used"):
        ReviewStore(f"sqlite:///{broken}")


def test_a_server_that_does_not_answer(home: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(InputError, match="cannot be used") as caught:
        ReviewStore(f"postgresql://ann:s3cr%40t@127.0.0.1:{port}/reviews")
    assert "s3cr" not in str(caught.value)
    assert str(port) in str(caught.value), "where it was looked for is told"


def test_a_server_that_is_silent(home: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(InputError, match=r"cannot be used .*(does not answer|timed out)"):
            ReviewStore(f"postgresql://ann:s3cret@127.0.0.1:{port}/reviews?connect_timeout=1")


def test_a_server_that_refuses(postgres: str) -> None:
    head, _, tail = postgres.partition("?")
    # The driver may see the connection close before it has read the reason.
    with pytest.raises(InputError, match=r'database "nowhere" does not exist|does not answer') as caught:
        ReviewStore(f"{head.rpartition('/')[0]}/nowhere?{tail}".replace("postgres:@", "postgres:hunter2@"))
    assert "hunter2" not in str(caught.value)
    assert "{" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nonsense hunter2", "cannot be read: write it like postgresql://"),
        ("postgresql://ann:hunter2@host:port/db", "cannot be read"),
        ("postgresql://ann:p/hunter2@host/db", "cannot be"),
        ("mysql://ann:hunter2@host/db", "not in 'mysql'"),
        ("hunter2-%://x", "cannot be read"),
        ("postgresql+asyncpg://ann:hunter2@host/db", "driver 'asyncpg' that .* is not installed"),
        ("postgresql+psycopg2://ann:hunter2@host/db", "driver 'psycopg2' that .* is not installed"),
        ("sqlite+aiosqlite:///hunter2", "Python's own driver"),
        ("postgresql://ann:hunter2@host/db?nope=hunter2", "parameter 'nope' .* is not understood"),
    ],
)
def test_strange_addresses_are_one_sentence_without_the_password(
    home: Path, monkeypatch: pytest.MonkeyPatch, address: str, told: str
) -> None:
    monkeypatch.setattr("mspc_core.reviews.address.find_spec", lambda name: name if name == "pg8000" else None)
    monkeypatch.setenv("BACKDOOR_LENS_REVIEWS_URL", address)
    with pytest.raises(InputError, match=told) as caught:
        ReviewStore()
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_libpqs_parameters_are_understood() -> None:
    url, arguments = parsed("postgres://ann@/reviews?host=/run/pg&connect_timeout=3")
    assert url.drivername == "postgresql+pg8000"
    assert arguments == {"timeout": 3, "unix_sock": "/run/pg/.s.PGSQL.5432"}
    _, arguments = parsed("postgresql://ann:x@db.example/reviews?sslmode=require")
    assert arguments["ssl_context"].check_hostname is False
    _, arguments = parsed("postgresql://ann:x@db.example/reviews?sslmode=verify-full")
    assert arguments["ssl_context"].check_hostname is True


@pytest.mark.parametrize("query", ["port=a", "port=1&port=2", "port=0", "port=65536", "host=h&port=%C2%B2"])
def test_a_port_that_is_none_is_refused(query: str) -> None:
    with pytest.raises(InputError, match="one number from 1 to 65535"):
        parsed(f"postgresql://ann:hunter2@/reviews?{query}")


def test_a_wait_of_thousands_of_digits_is_not_taken() -> None:
    assert parsed(f"postgresql://ann@h/d?connect_timeout={'9' * 5000}")[1] == {"timeout": 15}


def test_passwords_are_blotted_out_however_they_are_written() -> None:
    url, _ = parsed("postgresql://ann:p%40ss%20word@host/db")
    assert without_password("no p@ss word, p%40ss%20word or p%40ss+word here", url) == "no ***, *** or *** here"
