"""Review decisions on disk: who decided what about which sample, when; nothing is overwritten.

A decision is a row; the newest one of a sample counts; undo writes another row. SQLite in the home folder by default,
or any database SQLAlchemy knows through `BACKDOOR_LENS_REVIEWS_URL`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, get_args

from sqlalchemy import Connection, Engine, Integer, String, create_engine, event, func, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mspc_core import home
from mspc_core.errors import InputError

Decision = Literal["keep", "remove", "unsure", "open"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)


class _Base(DeclarativeBase):
    pass


class _Row(_Base):
    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    run: Mapped[str] = mapped_column(String(160), index=True)
    sample_id: Mapped[str] = mapped_column(String(40), index=True)
    decision: Mapped[str] = mapped_column(String(10))
    reviewer: Mapped[str] = mapped_column(String(80))
    time: Mapped[str] = mapped_column(String(32))
    step: Mapped[int] = mapped_column(Integer)  # rows of one action share it, so that undo takes back all of them
    undoes: Mapped[int | None] = mapped_column(Integer, nullable=True)  # the step that this row takes back


@dataclass(frozen=True)
class DecisionRecord:
    """One entry of the history. time: ISO 8601, UTC."""

    sample_id: str
    decision: str
    reviewer: str
    time: str


class ReviewStore:
    """Decisions of all runs. Raises `InputError` with one sentence when the database cannot be used."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or os.environ.get("BACKDOOR_LENS_REVIEWS_URL") or f"sqlite:///{home.home() / 'reviews.sqlite'}"
        self._engine = _engine(self.url)

    def decide(self, run: str, sample_ids: Sequence[str], decision: Decision, reviewer: str = "") -> None:
        """Record one decision for some samples, as one action. It is on disk when this returns."""
        if decision not in DECISIONS:
            raise InputError(f"A decision is one of {', '.join(DECISIONS)}, not {decision!r}.")
        if not sample_ids:
            return
        with self._transaction() as connection:
            self._append(connection, run, [(sample, decision) for sample in sample_ids], reviewer)

    def current(self, run: str) -> dict[str, str]:
        """The decision that counts for each decided sample of a run; samples set back to open are left out."""
        newest = select(func.max(_Row.id)).where(_Row.run == run).group_by(_Row.sample_id)
        with self._transaction() as connection:
            rows = connection.execute(select(_Row.sample_id, _Row.decision).where(_Row.id.in_(newest)))
            return {sample: decision for sample, decision in rows if decision != "open"}

    def history(self, run: str, sample_id: str | None = None) -> list[DecisionRecord]:
        """All entries of a run or of one of its samples, oldest first."""
        query = select(_Row.sample_id, _Row.decision, _Row.reviewer, _Row.time).where(_Row.run == run).order_by(_Row.id)
        if sample_id is not None:
            query = query.where(_Row.sample_id == sample_id)
        with self._transaction() as connection:
            return [DecisionRecord(*row) for row in connection.execute(query)]

    def undo(self, run: str, reviewer: str = "") -> list[str]:
        """Take back the reviewer's last action; returns the samples whose decision changed (empty if there is none).

        A sample that somebody decided anew since is left as that person decided. What counts after the undo is written
        as another row, so undo itself is in the history.
        """
        mine = (_Row.run == run, _Row.reviewer == reviewer[:80])
        with self._transaction() as connection:
            undone = set(connection.scalars(select(_Row.undoes).where(_Row.run == run, _Row.undoes.is_not(None))))
            steps = connection.scalars(select(_Row.step).where(*mine, _Row.undoes.is_(None)).distinct())
            last = max(set(steps) - undone, default=None)
            if last is None:
                return []
            changed, rows = [], []
            for sample in connection.scalars(select(_Row.sample_id).where(*mine, _Row.step == last)).all():
                history = select(_Row.step, _Row.decision).where(
                    _Row.run == run, _Row.sample_id == sample, _Row.undoes.is_(None), _Row.step.not_in(undone)
                )
                standing = connection.execute(history.order_by(_Row.id.desc())).all()  # newest first, nothing undone
                if standing[0].step == last:
                    standing = standing[1:]
                    changed.append(sample)
                rows.append((sample, standing[0].decision if standing else "open"))
            self._append(connection, run, rows, reviewer, undoes=last)
            return changed

    @staticmethod
    def _append(
        connection: Connection, run: str, rows: list[tuple[str, str]], reviewer: str, undoes: int | None = None
    ) -> None:
        """Write (sample_id, decision) rows as one step."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        step = 1 + int(connection.scalar(select(func.coalesce(func.max(_Row.step), 0))) or 0)
        common = {"run": run, "reviewer": reviewer[:80], "time": now, "step": step, "undoes": undoes}
        connection.execute(insert(_Row), [{**common, "sample_id": s, "decision": d} for s, d in rows])

    def _transaction(self) -> _Translated:
        return _Translated(self._engine)


class _Translated:
    """A transaction whose database errors become one sentence."""

    def __init__(self, engine: Engine) -> None:
        self._context = engine.begin()

    def __enter__(self):  # type: ignore[no-untyped-def]
        try:
            return self._context.__enter__()
        except SQLAlchemyError as error:
            raise InputError(_sentence(error)) from None

    def __exit__(self, kind, error, traceback):  # type: ignore[no-untyped-def]
        try:
            self._context.__exit__(kind, error, traceback)
        except SQLAlchemyError as late:
            raise InputError(_sentence(late)) from None
        if isinstance(error, SQLAlchemyError):
            raise InputError(_sentence(error)) from None
        return False


def _sentence(error: Exception) -> str:
    reason = str(getattr(error, "orig", error)).splitlines()[0][:150]
    return f"The review database cannot be used ({reason}): nothing was changed; check its place and try again."


@lru_cache(maxsize=8)
def _engine(url: str) -> Engine:
    try:
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":

            @event.listens_for(engine, "connect")
            def _pragmas(connection, _):  # type: ignore[no-untyped-def]
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA busy_timeout=5000")
                connection.isolation_level = None  # transactions begin below, not at the first write

            @event.listens_for(engine, "begin")
            def _begin(connection):  # type: ignore[no-untyped-def]
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # two reviewers' steps cannot get the same number

        _Base.metadata.create_all(engine)
        return engine
    except (SQLAlchemyError, ImportError) as error:
        raise InputError(_sentence(error)) from None
