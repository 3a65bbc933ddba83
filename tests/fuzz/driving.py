"""Hypothesis over the targets: the same for the tests (few cases) and for `benchmarks.fuzz` (thousands)."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.guard import Case, Defect, Guard


@dataclass(frozen=True)
class Group:
    """What is fuzzed. target: in `targets.TARGETS`. share: of all cases of a long run. few: cases in a test."""

    target: str
    cases: Callable[[], st.SearchStrategy[Case]]
    share: float
    few: int


def groups() -> dict[str, Group]:
    """By name; strategies are imported only when they are asked for."""
    from tests.fuzz.making import archives, arrays, checkpoints, folders, images, links, reports, tables

    return {
        "images": Group("image", images.cases, 0.26, 100),
        "archives": Group("source", archives.cases, 0.17, 50),
        "parquet": Group("source", tables.parquets, 0.10, 30),
        "csv": Group("source", tables.csvs, 0.06, 30),
        "folders": Group("source", tables.folders, 0.04, 15),
        "npz": Group("source", arrays.cases, 0.09, 40),
        "checkpoints": Group("checkpoint", checkpoints.cases, 0.10, 40),
        "run folders": Group("run", folders.cases, 0.07, 8),
        "reports": Group("report", reports.cases, 0.04, 8),
        "links": Group("link", links.cases, 0.05, 60),
        "pages": Group("page", folders.page_cases, 0.02, 5),
    }


def drive(name: str, guard: Guard, cases: int, number: int = 0, *, keep_going: bool = False) -> list[str]:
    """Run `cases` cases of a group. number: seed. Raises `Defect` (shrunk) at the first defect, or collects all of
    them with `keep_going`."""
    group = groups()[name]
    found: list[str] = []

    def one(case: Case) -> None:
        try:
            guard.run(group.target, case, name)
        except Defect as error:
            if not keep_going:
                raise
            found.append(str(error))

    # Nothing depends on time: a busy machine must not change what is tried.
    options: dict[str, Any] = {
        "max_examples": cases,
        "deadline": None,
        "database": None,
        "phases": (Phase.generate,) if keep_going else (Phase.generate, Phase.shrink),
        "suppress_health_check": list(HealthCheck),
    }
    seed(number)(settings(**options)(given(group.cases())(one)))()
    return found


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and extremes of one group's cases."""
    seconds = [record["cpu_seconds"] for record in records]
    return {
        "cases": len(records),
        "accepted": sum(record["outcome"] == "accepted" for record in records),
        "refused": sum(record["outcome"] == "refused" for record in records),
        "defects": sum(record["outcome"] == "defect" for record in records),
        "cpu_seconds": round(sum(seconds), 1),
        "median_cpu_milliseconds": round(1000 * statistics.median(seconds), 2),
        "slowest_cpu_seconds": round(max(seconds), 3),
        "slowest_wall_seconds": round(max(record["wall_seconds"] for record in records), 3),
        "most_memory_mib": round(max(record["memory_bytes"] for record in records) / 2**20, 1),
    }
