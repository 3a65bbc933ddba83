"""Decisions: the newest counts, undo takes back whole actions, nothing is lost between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mspc_core.errors import InputError
from mspc_core.reviews import ReviewStore


def test_newest_decision_counts_and_survives(home: Path) -> None:
    store = ReviewStore()
    store.decide("run", ["a", "b"], "remove", "ann")
    store.decide("run", ["b"], "keep", "ben")
    store.decide("other", ["a"], "unsure", "ann")
    assert ReviewStore(store.url).current("run") == {"a": "remove", "b": "keep"}
    assert [(entry.sample_id, entry.decision, entry.reviewer) for entry in store.history("run", "b")] == [
        ("b", "remove", "ann"),
        ("b", "keep", "ben"),
    ]


def test_undo_takes_back_one_action_at_a_time(home: Path) -> None:
    store = ReviewStore()
    store.decide("run", ["a"], "keep", "ann")
    store.decide("run", ["a", "b"], "remove", "ann")
    assert sorted(store.undo("run", "ann")) == ["a", "b"]
    assert store.current("run") == {"a": "keep"}
    assert store.undo("run", "ann") == ["a"]
    assert store.current("run") == {}
    assert store.undo("run", "ann") == []
    assert len(store.history("run")) == 6, "undo is part of the history"


def test_undo_is_the_reviewers_own(home: Path) -> None:
    store = ReviewStore()
    store.decide("run", ["a"], "keep", "ann")
    store.decide("run", ["b"], "remove", "ben")
    store.undo("run", "ann")
    assert store.current("run") == {"b": "remove"}
    store.decide("run", ["c"], "unsure", "ann")
    store.undo("run", "ann")
    assert store.current("run") == {"b": "remove"}


def test_undo_leaves_what_another_reviewer_decided_later(home: Path) -> None:
    store = ReviewStore()
    store.decide("run", ["a", "b"], "remove", "ann")
    store.decide("run", ["a"], "keep", "ben")
    assert store.undo("run", "ann") == ["b"]
    assert store.current("run") == {"a": "keep"}
    assert store.undo("run", "ann") == []


def test_steps_of_two_processes_do_not_mix(home: Path) -> None:
    """Many decisions at once from several connections: each action keeps its own step."""
    from concurrent.futures import ThreadPoolExecutor

    def review(name: str) -> None:
        for number in range(15):
            ReviewStore().decide("run", [f"{name}{number}"], "remove", name)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(review, ["ann", "ben", "eve"]))
    store = ReviewStore()
    assert len(store.current("run")) == 45
    assert store.undo("run", "ben") == ["ben14"]
    assert len(store.current("run")) == 44


def test_hostile_values_are_only_values(home: Path) -> None:
    store = ReviewStore()
    store.decide("run'; DROP TABLE decisions;--", ["x' OR 1=1"], "keep", "<script>")
    assert store.current("run'; DROP TABLE decisions;--") == {"x' OR 1=1": "keep"}
    with pytest.raises(InputError, match="A decision is one of"):
        store.decide("run", ["a"], "delete")  # type: ignore[arg-type]


def test_a_database_that_cannot_be_used(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="review database cannot be used"):
        ReviewStore(f"sqlite:///{tmp_path}/missing/folder/reviews.sqlite")
    broken = tmp_path / "broken.sqlite"
    broken.write_text("this is not a database, it only looks like a file of one " * 40)
    with pytest.raises(InputError, match="review database cannot be used"):
        ReviewStore(f"sqlite:///{broken}")
