"""The store of decisions: write, take back, read what counts, read the history."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Select, exists, func, insert, select

from mspc_core import access, home
from mspc_core.errors import InputError
from mspc_core.reviews import database
from mspc_core.reviews.address import VARIABLE
from mspc_core.reviews.schema import audits, decisions

Decision = Literal["keep", "remove", "unsure", "open"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
_NAME = 80  # characters of a reviewer's name that are kept
_row = decisions.c


@dataclass(frozen=True)
class DecisionRecord:
    """One entry of the history. time: ISO 8601, UTC. number: grows with each row. undoes: the step that it takes back.
    evidence, detectors: scores and version of the detectors at that time; "" where they were not recorded."""

    sample_id: str
    decision: str
    reviewer: str
    time: str
    number: int = 0
    step: int = 0
    undoes: int | None = None
    evidence: str = ""
    detectors: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What counts at one moment: sample_id → keep, remove or unsure. newest: the number of the run's newest row."""

    newest: int
    decisions: dict[str, str]


class ReviewStore:
    """Decisions of all runs. Raises `InputError` with one sentence when the database cannot be used."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or os.environ.get(VARIABLE) or f"sqlite:///{home.home() / 'reviews.sqlite'}"
        self._database = database.at(self.url)

    def decide(
        self,
        run: str,
        sample_ids: Sequence[str],
        decision: Decision,
        reviewer: str = "",
        *,
        evidence: Sequence[str] | None = None,
        detectors: str = "",
        seen: int | None = None,
    ) -> list[DecisionRecord]:
        """Record one decision for some samples, as one action. It is on disk when this returns.

        evidence: of each sample, as `evidence.evidence_of` writes it. seen: the newest row that the reviewer knew of;
        returned are the entries on these samples that were made after it, newest first (somebody else was at work).
        """
        if decision not in DECISIONS:
            raise InputError(f"A decision is one of {', '.join(DECISIONS)}, not {decision!r}.")
        if not sample_ids:
            return []
        reviewer = access.current() or reviewer  # who has logged in decides under that name alone
        if evidence is not None and len(evidence) != len(sample_ids):
            raise ValueError("evidence is given for each sample or for none")
        texts = evidence if evidence is not None else [None] * len(sample_ids)
        rows = [
            {"sample_id": sample, "decision": decision, "evidence": found, "detectors": detectors or None}
            for sample, found in zip(sample_ids, texts, strict=True)
        ]
        with self._database.writing(run) as connection:
            meanwhile = [] if seen is None else _records(connection, _all(run).where(_row.id > seen))
            _append(connection, run, rows, reviewer)
        touched = set(sample_ids)
        return [entry for entry in reversed(meanwhile) if entry.sample_id in touched]

    def current(self, run: str) -> dict[str, str]:
        """The decision that counts for each decided sample of a run; samples set back to open are left out."""
        return self.snapshot(run).decisions

    def snapshot(self, run: str, before: Snapshot | None = None) -> Snapshot:
        """What counts now. With an earlier snapshot of the same run only what is new since is read."""
        with self._database.reading() as connection:
            newest = int(connection.scalar(select(func.max(_row.id)).where(_row.run == run)) or 0)
            if before is not None and newest == before.newest:
                return before
            if before is None or newest < before.newest:
                counts: dict[str, str] = {}
                new = connection.execute(_newest_of_each(run, newest)).all()
            else:
                since = select(_row.sample_id, _row.decision).where(_row.run == run, _row.id > before.newest)
                counts = before.decisions.copy()
                new = connection.execute(since.where(_row.id <= newest).order_by(_row.id)).all()
        for sample, decision in new:
            counts[sample] = decision
            if decision == "open":
                del counts[sample]
        return Snapshot(newest, counts)

    def history(self, run: str, sample_id: str | None = None, *, latest: int | None = None) -> list[DecisionRecord]:
        """Entries of a run or of one of its samples, oldest first; `latest`: only the last so many, newest first."""
        query = _all(run)
        if sample_id is not None:
            query = query.where(_row.sample_id == sample_id)
        if latest is not None:
            query = query.order_by(None).order_by(_row.id.desc()).limit(latest)
        with self._database.reading() as connection:
            return _records(connection, query)

    def undo(self, run: str, reviewer: str = "") -> list[str]:
        """Take back the reviewer's last action, of whatever session; returns the samples whose decision changed (empty
        if there is none).

        A sample that somebody decided anew since is left as that person decided. What counts after the undo is written
        as another row, so undo itself is in the history.
        """
        reviewer = access.current() or reviewer
        with self._database.writing(run) as connection:
            own = select(_row.step).where(_row.run == run, _row.reviewer == reviewer[:_NAME], *_standing(run))
            last = connection.scalar(own.order_by(_row.step.desc()).limit(1))
            if last is None:
                return []
            mine = select(_row.sample_id).where(_row.run == run, _row.step == last, _row.undoes.is_(None))
            about = (_row.run == run, _row.sample_id.in_(mine), *_standing(run))
            stack: dict[str, list[Any]] = {}
            for entry in connection.execute(
                select(_row.sample_id, _row.step, _row.decision).where(*about).order_by(_row.id)
            ):
                stack.setdefault(entry.sample_id, []).append(entry)
            changed, rows = [], []
            for sample, entries in stack.items():
                if entries[-1].step == last:
                    changed.append(sample)
                left = [entry.decision for entry in entries if entry.step != last]
                rows.append({"sample_id": sample, "decision": left[-1] if left else "open"})
            _append(connection, run, rows, reviewer, undoes=last)
            return changed

    def opinions(self, run: str) -> list[tuple[str, str, str]]:
        """(reviewer, sample_id, decision): each reviewer's latest decision on each sample, undone ones left out."""
        last = select(func.max(_row.id)).where(_row.run == run, *_standing(run)).group_by(_row.reviewer, _row.sample_id)
        query = select(_row.reviewer, _row.sample_id, _row.decision).where(_row.id.in_(last)).order_by(_row.id)
        with self._database.reading() as connection:
            return [(name, sample, found) for name, sample, found in connection.execute(query) if found != "open"]

    def audit_seed(self, run: str) -> int:
        """The seed of a run's random audit, drawn at the first call and recorded: the audit can be continued."""
        query = select(audits.c.seed).where(audits.c.run == run)
        with self._database.reading() as connection:
            found = connection.scalar(query)
        if found is None:
            with self._database.writing(run) as connection:
                found = connection.scalar(query)
                if found is None:
                    found = secrets.randbelow(2**31)
                    connection.execute(insert(audits).values(run=run, seed=found, time=_now()))
        return int(found)


def _all(run: str) -> Select[Any]:
    """All columns of a record, oldest first."""
    names = ("sample_id", "decision", "reviewer", "time", "id", "step", "undoes", "evidence", "detectors")
    return select(*(_row[name] for name in names)).where(_row.run == run).order_by(_row.id)


def _records(connection: Connection, query: Select[Any]) -> list[DecisionRecord]:
    return [
        DecisionRecord(sample, decision, reviewer, time, number, step, undoes, evidence or "", detectors or "")
        for sample, decision, reviewer, time, number, step, undoes, evidence, detectors in connection.execute(query)
    ]


def _newest_of_each(run: str, newest: int) -> Select[Any]:
    """(sample_id, decision) of the newest row of each sample, from the index alone."""
    last = select(_row.sample_id, func.max(_row.id).label("id")).where(_row.run == run, _row.id <= newest)
    last_of_each = last.group_by(_row.sample_id).subquery()
    same = (_row.run == run, _row.sample_id == last_of_each.c.sample_id, _row.id == last_of_each.c.id)
    return select(_row.sample_id, _row.decision).select_from(last_of_each).join(decisions, same[0] & same[1] & same[2])


def _standing(run: str) -> tuple[Any, ...]:
    """Conditions on a row: an action that nobody took back (and not itself an undo)."""
    later = decisions.alias()
    return _row.undoes.is_(None), ~exists().where(later.c.run == run, later.c.undoes == _row.step)


def _append(
    connection: Connection, run: str, rows: list[dict[str, Any]], reviewer: str, undoes: int | None = None
) -> None:
    """Write rows as one step."""
    step = 1 + int(connection.scalar(select(func.max(_row.step)).where(_row.run == run)) or 0)
    common = {"run": run, "reviewer": reviewer[:_NAME], "time": _now(), "step": step, "undoes": undoes}
    connection.execute(insert(decisions), [{**common, **row} for row in rows])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
