"""The tables of the review database, and how an older database gets what it lacks. No row is ever lost by it."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, Integer, MetaData, String, Table, Text, inspect, text

metadata = MetaData()

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", String(160), nullable=False),
    Column("sample_id", String(40), nullable=False),
    Column("decision", String(10), nullable=False),
    Column("reviewer", String(80), nullable=False),
    Column("time", String(32), nullable=False),  # ISO 8601, UTC
    Column("step", Integer, nullable=False),  # rows of one action share it, so that undo takes back all of them
    Column("undoes", Integer, nullable=True),  # the step that this row takes back
    # Version 0.1 did not have these: its rows hold nothing there.
    Column("evidence", Text, nullable=True),  # the scores and flags then: `mspc_core.reviews.evidence`
    Column("detectors", String(80), nullable=True),  # the version of the detectors that gave them
)

# The newest row of each sample without touching the table; what is new in a run; the last step; what was undone.
Index("ix_decisions_newest", decisions.c.run, decisions.c.sample_id, decisions.c.id, decisions.c.decision)
Index("ix_decisions_run_id", decisions.c.run, decisions.c.id)
Index("ix_decisions_run_step", decisions.c.run, decisions.c.step)
Index("ix_decisions_own", decisions.c.run, decisions.c.reviewer, decisions.c.step)
Index("ix_decisions_undoes", decisions.c.run, decisions.c.undoes)

audits = Table(
    "audits",
    metadata,
    Column("run", String(160), primary_key=True),
    Column("seed", Integer, nullable=False),
    Column("time", String(32), nullable=False),
)


def is_current(connection: Connection) -> bool:
    """Does the database have all tables, columns and indexes?"""
    found = inspect(connection)
    for table in metadata.sorted_tables:
        if not found.has_table(table.name):
            return False
        if {column.name for column in table.columns} - {column["name"] for column in found.get_columns(table.name)}:
            return False
        if {str(index.name) for index in table.indexes} - {str(i["name"]) for i in found.get_indexes(table.name)}:
            return False
    return True


def bring_up_to_date(connection: Connection) -> None:
    """Make what is missing. Columns that are added are empty in older rows."""
    metadata.create_all(connection)
    found = inspect(connection)
    quote = connection.dialect.identifier_preparer.quote
    for table in metadata.sorted_tables:
        there = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                kind = column.type.compile(dialect=connection.dialect)
                connection.execute(text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {quote(column.name)} {kind}"))
        indexed = {index["name"] for index in found.get_indexes(table.name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in indexed:
                index.create(connection)
