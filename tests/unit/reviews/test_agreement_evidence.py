"""Agreement between reviewers by hand; what of a sample's scores is kept with a decision."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mspc_core.reviews.agreement import agreement, kappa
from mspc_core.reviews.evidence import detector_version, evidence_of, read_evidence


def test_kappa_by_hand() -> None:
    """10 shared: both remove 4, both keep 3, three differ. Observed 0.7; by chance 0.6 × 0.5 + 0.4 × 0.5 = 0.5."""
    first = ["remove"] * 6 + ["keep"] * 4
    second = ["remove"] * 4 + ["keep"] * 2 + ["remove"] + ["keep"] * 3
    assert kappa(first, second) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert kappa(["keep", "remove"], ["keep", "remove"]) == 1.0
    assert kappa(["unsure"] * 3, ["unsure"] * 3) is None
    assert kappa([], []) is None


def test_counts_pairs_and_conflicts() -> None:
    opinions = [
        *[("ann", f"s{number}", "remove") for number in range(3)],
        ("ann", "s3", "keep"),
        ("ben", "s0", "remove"),
        ("ben", "s1", "keep"),
        ("ben", "s3", "unsure"),
        ("eve", "s9", "keep"),
        ("", "s1", "keep"),
    ]
    found = agreement(opinions)
    assert found.counts["ann"] == {"remove": 3, "keep": 1}
    assert found.shared == 3
    assert found.conflicts == ("s1", "s3")
    assert [(pair.first, pair.second, pair.shared, pair.same) for pair in found.pairs] == [
        ("ann", "ben", 3, 1),
        ("", "ann", 1, 0),
        ("", "ben", 1, 1),
    ]
    assert found.pairs[0].raw == pytest.approx(1 / 3)
    assert agreement([]).pairs == ()


def test_pairs_are_limited() -> None:
    opinions = [(f"r{number}", "s", "keep") for number in range(12)]
    assert len(agreement(opinions).pairs) == 30


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": ["a", "b"],
            "spc_score": [10 / 11, np.nan],
            "spc_flagged": [True, False],
            "mspc_score": np.array([0.5, -0.25], dtype=np.float32),
            "mspc_flagged": pd.array([None, True], dtype="boolean"),
            "suspect": [True, False],
        }
    )


def test_evidence_is_scores_and_flags() -> None:
    first, second = evidence_of(table(), [1, 0])
    assert json.loads(second) == {"scores": {"spc": 0.909091, "mspc": 0.5}, "flagged": ["spc"], "suspect": True}
    assert first == '{"scores":{"spc":null,"mspc":-0.25},"flagged":["mspc"],"suspect":false}'
    assert read_evidence(first) == ({"spc": None, "mspc": -0.25}, ("mspc",))
    assert evidence_of(table(), []) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"scores":1,"flagged":[]}', '{"scores":{"a":"x"}}', "3"])
def test_other_text_is_no_evidence(text: str) -> None:
    assert read_evidence(text) == ({}, ())


def test_the_version_changes_with_settings_and_thresholds() -> None:
    def version(scales: list[int], threshold: float) -> str:
        record = {"config": {"scales": scales}, "threshold": {"value": threshold}, "seconds": 3.0}
        return detector_version({"backdoor-lens": "0.1.0"}, {"detectors": {"spc": record}})

    assert version([2, 3], 0.5) == version([2, 3], 0.5)
    assert version([2, 3], 0.5).startswith("0.1.0+")
    assert len({version([2, 3], 0.5), version([2, 4], 0.5), version([2, 3], 0.6)}) == 3
    assert detector_version({}, {}).startswith("unknown+")
