"""Parts of the Review page without a page: decisions as codes, keys, words, tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from mspc_core.errors import InputError
from mspc_core.reviews import DecisionRecord
from mspc_core.reviews.agreement import agreement
from ui import filters, review_keys, review_queues
from ui.review_desk import meanwhile_words
from ui.review_people import counts_table, history_table, pairs_table

NAMES = some.lists(some.sampled_from("abcdefgh"), max_size=8)


@given(names=NAMES, decisions=some.dictionaries(some.sampled_from("abcxyz"), some.sampled_from(filters.CODES[1:])))
def test_codes_are_the_decisions(names: list[str], decisions: dict[str, str]) -> None:
    """Also with samples that the table lacks, and where a name stands twice."""
    table = pd.DataFrame({"sample_id": pd.array(names, dtype=object)})
    codes = filters.decision_codes(pd.Index(table["sample_id"].to_numpy(dtype=object)), decisions)
    assert [filters.CODES[code] for code in codes] == filters.decision_column(table, decisions).tolist()


def test_keys_are_checked() -> None:
    assert review_keys.check(review_keys.DEFAULTS) == review_keys.DEFAULTS
    assert review_keys.check({**review_keys.DEFAULTS, "keep": " j "})["keep"] == "J"
    for key, told in (
        ("C", "belongs to Streamlit"),
        ("r", "belongs to Streamlit"),
        ("x", "chosen for “keep the image” and for “remove it”"),
        ("/", "cannot be a key"),
        ("", "cannot be a key"),
        ("Ctrl+W", "cannot be a key"),
    ):
        with pytest.raises(InputError, match=told):
            review_keys.check({**review_keys.DEFAULTS, "keep": key})


def test_every_key_that_can_be_chosen_is_one_for_streamlit() -> None:
    from streamlit.elements.lib.shortcut_utils import normalize_shortcut

    assert len({normalize_shortcut(key) for key in review_keys.ALLOWED}) == len(review_keys.ALLOWED)


def test_keys_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(tmp_path))
    assert review_keys.load() == review_keys.DEFAULTS
    review_keys.save({**review_keys.DEFAULTS, "undo": "1"})
    assert review_keys.load()["undo"] == "1"
    with pytest.raises(InputError):
        review_keys.save({**review_keys.DEFAULTS, "undo": "C"})
    assert review_keys.load()["undo"] == "1"


def record(reviewer: str, decision: str, sample: str = "a") -> DecisionRecord:
    return DecisionRecord(sample, decision, reviewer, "2026-11-22T10:00:00+00:00")


def test_words_on_what_happened_meanwhile() -> None:
    assert meanwhile_words([record("ben", "keep")], "remove", 1, "ann").startswith("“ben” decided keep meanwhile (")
    assert meanwhile_words([record("", "open")], "keep", 1, "ann").startswith("A reviewer without a name undid this")
    assert meanwhile_words([record("ann", "keep")], "keep", 1, "ann").startswith("Your other window decided keep")
    found = [record("ben", "keep", "b"), record("eve", "keep", "a"), record("eve", "keep", "b")]
    assert meanwhile_words(found, "remove", 40, "") == (
        "“ben” decided on 2 of these meanwhile. Yours, remove, counts now."
    )


def test_an_audit_counts_up_to_the_first_gap() -> None:
    order = np.array([4, 2, 0, 1])  # of five samples; 3 was flagged
    keep, remove, unsure = (filters.CODES.index(name) for name in ("keep", "remove", "unsure"))
    codes = np.array([unsure, 0, remove, keep, keep], dtype=np.int8)
    found = review_queues.estimate(order, codes)
    assert (found.total, found.audited, found.missed, found.unsure) == (4, 3, 1, 1)
    codes[2] = 0
    found = review_queues.estimate(order, codes)
    assert (found.audited, found.missed, found.unsure) == (1, 0, 0)
    result, how = review_queues.audit_words(found, 77, behind=1)
    assert "Audited **1 of 4 unflagged images**" in result
    assert "seed 77" in how
    assert "1 decision after the first image that was skipped" in how
    empty, _ = review_queues.audit_words(review_queues.estimate(order, np.zeros(5, dtype=np.int8)), 77, 0)
    assert "the estimate appears with the first decision" in empty


def test_the_unflagged_are_what_the_verdict_leaves() -> None:
    table = pd.DataFrame({"spc_score": [1.0, 0.0, 1.0], "spc_flagged": [True, False, True]})
    assert review_queues.unflagged(table).tolist() == [1]
    assert review_queues.unflagged(table.assign(suspect=[True, False, False])).tolist() == [1, 2]


def test_history_as_a_table() -> None:
    new = DecisionRecord(
        "a", "remove", "<i>", "2026-11-22T10:00:00+00:00", 3, 2, None, '{"scores":{"spc":0.5},"flagged":["spc"]}', "v"
    )
    undone = DecisionRecord("a", "open", "", "2026-11-22T11:00:00+00:00", 4, 3, 2)
    table = history_table([undone, new], {"a": "stop/1.png"})
    assert table["decision"].tolist() == ["↶ back to undecided", "remove"]
    assert table["reviewer"].tolist() == ["(no name)", "<i>"]
    assert table["scores then"].tolist() == ["–", "SPC 0.50"]
    assert table["flagged then by"].tolist() == ["–", "SPC"]
    assert table["image"].tolist() == ["stop/1.png"] * 2
    assert "image" not in history_table([new])


def test_tables_of_reviewers() -> None:
    opinions = [("ann", "a", "keep"), ("ann", "b", "remove"), ("", "a", "keep"), ("", "b", "keep")]
    found = agreement(opinions)
    assert counts_table(found)["reviewer"].tolist() == ["(no name)", "ann"]
    assert pairs_table(found).iloc[0].to_dict() == {
        "reviewers": "(no name) and ann",
        "shared": 2,
        "agree": "50.0 %",
        "Cohen's κ": "0.00",
    }
    assert agreement([("ann", "a", "keep")]).counts == {"ann": Counter(keep=1)}
