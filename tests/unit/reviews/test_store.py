"""Decisions, on SQLite and PostgreSQL: the newest counts, undo takes back whole actions, nothing is lost."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mspc_core.errors import InputError
from mspc_core.reviews import ReviewStore, Snapshot

ROOT = Path(__file__).resolve().parents[3]


def test_newest_decision_counts_and_survives(store: ReviewStore) -> None:
    store.decide("run", ["a", "b"], "remove", "ann")
    store.decide("run", ["b"], "keep", "ben")
    store.decide("other", ["a"], "unsure", "ann")
    assert ReviewStore(store.url).current("run") == {"a": "remove", "b": "keep"}
    assert [(entry.sample_id, entry.decision, entry.reviewer) for entry in store.history("run", "b")] == [
        ("b", "remove", "ann"),
        ("b", "keep", "ben"),
    ]


def test_without_an_address_it_is_a_file_in_the_home_folder(home: Path) -> None:
    ReviewStore().decide("run", ["a"], "keep", "ann")
    assert (home / "reviews.sqlite").is_file()
    assert ReviewStore().current("run") == {"a": "keep"}


def test_what_the_detectors_said_is_kept_with_the_decision(store: ReviewStore) -> None:
    store.decide("run", ["a", "b"], "remove", "ann", evidence=['{"scores":{}}', "{}"], detectors="0.1.0+abc")
    first, second = store.history("run")
    assert (first.evidence, second.evidence, first.detectors) == ('{"scores":{}}', "{}", "0.1.0+abc")
    assert first.time.endswith("+00:00")
    assert first.step == second.step
    store.undo("run", "ann")
    assert store.history("run")[-1].undoes == first.step
    with pytest.raises(ValueError, match="for each sample"):
        store.decide("run", ["a", "b"], "keep", evidence=["{}"])


def test_undo_takes_back_one_action_at_a_time(store: ReviewStore) -> None:
    store.decide("run", ["a"], "keep", "ann")
    store.decide("run", ["a", "b"], "remove", "ann")
    assert sorted(ReviewStore(store.url).undo("run", "ann")) == ["a", "b"], "another session may undo it, too"
    assert store.current("run") == {"a": "keep"}
    assert store.undo("run", "ann") == ["a"]
    assert store.current("run") == {}
    assert store.undo("run", "ann") == []
    assert len(store.history("run")) == 6, "undo is part of the history"


def test_undo_is_the_reviewers_own(store: ReviewStore) -> None:
    store.decide("run", ["a"], "keep", "ann")
    store.decide("run", ["b"], "remove", "ben")
    store.undo("run", "ann")
    assert store.current("run") == {"b": "remove"}
    store.decide("run", ["c"], "unsure", "ann")
    store.undo("run", "ann")
    assert store.current("run") == {"b": "remove"}


def test_undo_leaves_what_another_reviewer_decided_later(store: ReviewStore) -> None:
    store.decide("run", ["a", "b"], "remove", "ann")
    store.decide("run", ["a"], "keep", "ben")
    assert store.undo("run", "ann") == ["b"]
    assert store.current("run") == {"a": "keep"}
    assert store.undo("run", "ann") == []


def test_undo_finds_what_counted_before_through_other_peoples_undos(store: ReviewStore) -> None:
    store.decide("run", ["a"], "keep", "ann")
    store.decide("run", ["a"], "remove", "ben")
    store.decide("run", ["a"], "unsure", "eve")
    store.undo("run", "ben")  # changes nothing: eve's counts
    assert store.current("run") == {"a": "unsure"}
    store.undo("run", "eve")
    assert store.current("run") == {"a": "keep"}, "ben's decision was taken back, so ann's is next"


class SlowStore:
    """Actions in a list; what counts is worked out from all that were not taken back."""

    def __init__(self) -> None:
        self.actions: list[tuple[str, tuple[str, ...], str]] = []

    def decide(self, samples: Sequence[str], decision: str, reviewer: str) -> None:
        self.actions.append((reviewer, tuple(samples), decision))

    def undo(self, reviewer: str) -> None:
        own = [place for place, action in enumerate(self.actions) if action[0] == reviewer]
        if own:
            del self.actions[own[-1]]

    def current(self) -> dict[str, str]:
        return {sample: decision for _, samples, decision in self.actions for sample in samples}


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_gives_what_a_slow_store_gives(store: ReviewStore, seed: int) -> None:
    """Also when only what is new is read each time, and with another run in the same table."""
    draw, slow = random.Random(seed), SlowStore()
    snapshot: Snapshot | None = None
    for _ in range(60):
        who = draw.choice(["ann", "ben", ""])
        if draw.random() < 0.35:
            store.undo("run", who)
            slow.undo(who)
        else:
            samples = draw.sample("abcdefg", draw.randint(1, 4))
            decision = draw.choice(["keep", "remove", "unsure"])
            store.decide("run", samples, decision, who)  # type: ignore[arg-type]
            slow.decide(samples, decision, who)
            store.decide("noise", samples, "keep", who)
        snapshot = store.snapshot("run", snapshot if draw.random() < 0.8 else None)
        assert snapshot.decisions == store.current("run") == slow.current()


def test_a_snapshot_is_handed_back_while_nothing_is_new(store: ReviewStore) -> None:
    store.decide("run", ["a"], "keep")
    first = store.snapshot("run")
    store.decide("other", ["a"], "remove")
    assert store.snapshot("run", first) is first
    store.decide("run", ["b"], "unsure")
    second = store.snapshot("run", first)
    assert second.decisions == {"a": "keep", "b": "unsure"}
    assert first.decisions == {"a": "keep"}, "earlier snapshots stay as they were"


def test_who_decided_meanwhile_is_told(store: ReviewStore) -> None:
    """Two tabs on one sample: both decisions are in the history, the newest counts, the second tab is told."""
    seen = store.snapshot("run").newest
    assert store.decide("run", ["a"], "keep", "ann", seen=seen) == []
    store.decide("run", ["z"], "keep", "ann", seen=seen)
    told = store.decide("run", ["a", "b"], "remove", "ben", seen=seen)
    assert [(entry.sample_id, entry.decision, entry.reviewer) for entry in told] == [("a", "keep", "ann")]
    assert store.current("run") == {"a": "remove", "b": "remove", "z": "keep"}
    assert [entry.reviewer for entry in store.history("run", "a")] == ["ann", "ben"]
    assert store.decide("run", ["a"], "remove", "ben", seen=store.snapshot("run").newest) == []


def test_history_of_the_latest(store: ReviewStore) -> None:
    for number in range(5):
        store.decide("run", [f"s{number}"], "keep", "ann")
    assert [entry.sample_id for entry in store.history("run", latest=2)] == ["s4", "s3"]
    assert [entry.sample_id for entry in store.history("run")] == [f"s{number}" for number in range(5)]


def test_opinions_are_each_reviewers_latest(store: ReviewStore) -> None:
    store.decide("run", ["a", "b"], "keep", "ann")
    store.decide("run", ["a"], "remove", "ann")
    store.decide("run", ["a"], "unsure", "ben")
    store.decide("run", ["b"], "remove", "ben")
    store.undo("run", "ben")
    assert sorted(store.opinions("run")) == [("ann", "a", "remove"), ("ann", "b", "keep"), ("ben", "a", "unsure")]


def test_the_seed_of_an_audit_is_drawn_once(store: ReviewStore) -> None:
    first = store.audit_seed("run")
    assert ReviewStore(store.url).audit_seed("run") == first
    assert 0 <= first < 2**31
    assert len({store.audit_seed(f"run{number}") for number in range(5)}) > 1


PROCESS = """
import sys
from mspc_core.reviews import ReviewStore
store, name = ReviewStore(sys.argv[1]), sys.argv[2]
for number in range(25):
    store.decide("run", [f"{name}{number}", "shared"], "remove", name)
    if number % 5 == 4:
        store.undo("run", name)
"""


def test_two_processes_at_once(address: str) -> None:
    """Both open the empty database and write to it: each action has its own step, no row is lost, undo is one's own."""
    command = [sys.executable, "-c", PROCESS, address]
    workers = [subprocess.Popen([*command, name], cwd=ROOT, stderr=subprocess.PIPE) for name in ("ann", "ben")]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()
    store = ReviewStore(address)
    history = store.history("run")
    assert len(history) == 2 * (25 + 5) * 2
    steps: dict[int, set[str]] = {}
    for entry in history:
        steps.setdefault(entry.step, set()).add(entry.reviewer)
    assert len(steps) == 60
    assert all(len(reviewers) == 1 for reviewers in steps.values())
    assert [entry.step for entry in history] == sorted(entry.step for entry in history), "rows are in steps' order"
    undone = {entry.undoes for entry in history if entry.undoes is not None}
    assert len(undone) == 10
    counted = store.current("run")
    assert {name for name in counted if name != "shared"} == {
        f"{who}{number}" for who in ("ann", "ben") for number in range(25) if number % 5 != 4
    }
    assert store.undo("run", "ben")[0] in ("ben23", "shared")


def test_hostile_values_are_only_values(store: ReviewStore) -> None:
    run = "run'; DROP TABLE decisions;--"
    store.decide(run, ["x' OR 1=1"], "keep", "<script>" * 20, evidence=["{"], detectors="%s :x ?")
    assert store.current(run) == {"x' OR 1=1": "keep"}
    assert store.history(run)[0].reviewer == ("<script>" * 20)[:80]
    assert store.undo(run, "<script>" * 20) == ["x' OR 1=1"]
    with pytest.raises(InputError, match="A decision is one of"):
        store.decide("run", ["a"], "delete")  # type: ignore[arg-type]
    assert store.decide("run", [], "keep") == []
