"""The consensus, on tables made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mspc_core.verdict import ANOMALY_LIMIT, MEMBERS, RULE, anomaly_indices, decide

CLASSES = ("bar", "cross", "ring", "corner")
BY_LABEL = ("second_opinion", "mixture")
TOTAL = 400  # a hundred of each class, in turn
STRONG = {"transplant": {"strength": 0.95, "transplant_rate": 0.5}, "pattern": {"turned": 0.9, "strength": 0.1}}
WEAK = {"transplant": {"strength": 0.75, "transplant_rate": 0.5}, "pattern": {"turned": 0.5, "strength": 0.1}}


def table(**flagged: list[int]) -> pd.DataFrame:
    """A run's table: predictions 0, 1, 2, 3, 0, …, and for each test the flagged rows. Scores are random otherwise."""
    generator = np.random.default_rng(0)
    predicted = np.arange(TOTAL) % 4
    columns: dict[str, np.ndarray] = {"label": predicted.copy(), "predicted": predicted.astype(np.int32)}
    for name, rows in flagged.items():
        marked = np.isin(np.arange(TOTAL), rows)
        columns[f"{name}_flagged"] = marked
        columns[f"{name}_score"] = 0.5 * generator.random(TOTAL) + 0.5 * marked
    return pd.DataFrame(columns)


def record(scores: pd.DataFrame, name: str, figures: dict[str, Any] | None = None) -> dict[str, Any]:
    """The stage record that goes with it. figures: of the classes that have flagged samples."""
    rows = []
    for number in range(4):
        own = (scores["predicted"] == number) if name not in BY_LABEL else (scores["label"] == number)
        count = int((own & scores[f"{name}_flagged"]).sum())
        size = {"samples" if name in BY_LABEL else "predicted": int(own.sum())}
        rows.append({"class": number, "flagged": count, **size, **((figures or {}) if count else {})})
        if name == "second_opinion":
            rows[-1].setdefault("contradicted_flagged", 0.95 if count else 0.0)
        if name == "mixture":
            rows[-1]["anomaly_index"] = 40.0 if count else 0.5
        if name not in BY_LABEL and not count:
            rows[-1].update({"strength": 0.0, "turned": 0.0})
    return {"tables": {"classes": rows}}


def of_class(number: int, count: int, skip: int = 0) -> list[int]:
    """The first `count` rows of a class, after `skip`."""
    return [4 * step + number for step in range(skip, skip + count)]


def test_nothing_to_judge_by() -> None:
    found = decide(table(), {}, CLASSES)
    assert found.level == "unknown"
    assert "no verdict yet" in found.text
    assert (found.detector, found.rule, found.by, found.target_classes) == (None, "", [], [])
    assert (found.scanned, found.flagged) == (TOTAL, 0)
    assert not found.suspects.any()
    assert found.scores.tolist() == [0.0] * TOTAL


def test_others_than_members_have_no_say() -> None:
    """Detectors that need clean data or a threshold of somebody's choice: SCAn, SPC, MSPC …"""
    rows = of_class(2, 60)
    scores = table(scan_cov=rows, mspc=rows, transplant=[])
    records = {name: {"tables": {"classes": []}} for name in ("scan_cov", "mspc")}
    assert decide(scores, records, CLASSES).level == "unknown"
    records["transplant"] = record(scores, "transplant")
    alone = decide(
        scores[["label", "predicted", "transplant_flagged", "transplant_score"]],
        {"transplant": records["transplant"]},
        CLASSES,
    )
    found = decide(scores, records, CLASSES)
    assert found.level == alone.level == "no_evidence"
    assert found.text == "no evidence found"
    assert (found.scores == alone.scores).all()


@pytest.mark.parametrize("name", MEMBERS)
def test_each_member_alone(name: str) -> None:
    rows = of_class(2, 40)
    scores = table(**{name: rows})
    found = decide(scores, {name: record(scores, name, STRONG.get(name))}, CLASSES)
    assert found.level == "poisoned"
    assert found.text == "likely poisoned: 40 of 400 samples, target class ring"
    assert np.flatnonzero(found.suspects).tolist() == rows
    assert (found.detector, found.by, found.rule, found.flagged) == (name, [name], RULE, 40)
    (target,) = found.target_classes
    assert (target["class"], target["name"], target["by"], target["flagged"]) == (2, "ring", [name], 40)
    above = STRONG[name]["turned"] if name == "pattern" else 0.4  # all others have 0
    expected = 40.0 if name == "mixture" else above / 0.01
    assert target["anomaly_index"] == pytest.approx(expected), "its own, or in steps of 1 %"
    assert target.get("strength") == STRONG.get(name, {}).get("strength")


def test_flagged_samples_whose_label_is_confirmed_are_no_suspects() -> None:
    """They resemble poison of another class, but most of them are what their label says."""
    scores = table(second_opinion=[*of_class(1, 40), *of_class(3, 20)])
    made = record(scores, "second_opinion")
    made["tables"]["classes"][3]["contradicted_flagged"] = 0.16
    found = decide(scores, {"second_opinion": made}, CLASSES)
    assert np.flatnonzero(found.suspects).tolist() == of_class(1, 40)
    assert [target["class"] for target in found.target_classes] == [1]
    assert (found.scores[found.suspects] > 0.5).all()
    assert (found.scores[~found.suspects] <= 0.5).all()


def test_a_pattern_that_honest_classes_have_too_is_no_case() -> None:
    """Objects in one place turn other images as well: then the class that turns most does not stand out."""
    scores = table(pattern=of_class(1, 40))
    made = record(scores, "pattern", {"turned": 0.58})
    for row, turned in zip(made["tables"]["classes"], (0.38, 0.58, 0.2, 0.47), strict=True):
        row["turned"] = turned
    assert decide(scores, {"pattern": made}, CLASSES).level == "no_evidence"
    for row in made["tables"]["classes"]:
        row["turned"] = 0.58 if row["class"] == 1 else 0.05
    assert decide(scores, {"pattern": made}, CLASSES).level == "poisoned"


@pytest.mark.parametrize("name", ["transplant", "pattern"])
@pytest.mark.parametrize("figures", [STRONG, WEAK])
@pytest.mark.parametrize("count", [4, 5])
def test_what_a_class_has_to_show(name: str, figures: dict[str, dict[str, Any]], count: int) -> None:
    """At least 5 flagged samples, and more than 75 % (region) or half (pattern) of others turned."""
    scores = table(**{name: of_class(1, count)})
    found = decide(scores, {name: record(scores, name, figures[name])}, CLASSES)
    if count == 5 and figures is STRONG:
        assert (found.level, found.flagged) == ("poisoned", 5)
    else:
        assert found.level == "no_evidence"
        assert (
            found.text == f"no evidence found ({count} of 400 samples pass a test, but no class stands out as a target)"
        )
        assert not found.suspects.any()
        assert found.scores.max() <= 0.5
        assert found.detector == name


def test_a_thousandth_of_the_data_is_asked_for() -> None:
    """Of 10,000 samples, ten."""
    big = pd.concat([table(transplant=[])] * 25, ignore_index=True)
    for count, level in ((9, "no_evidence"), (10, "poisoned")):
        big["transplant_flagged"] = np.isin(np.arange(len(big)), of_class(1, count))
        rows = record(big, "transplant", STRONG["transplant"])
        rows["tables"]["classes"][1]["predicted"] = 100  # so that it stands out although it is so few
        assert decide(big, {"transplant": rows}, CLASSES).level == level


def test_flags_in_classes_that_do_not_stand_out_are_not_counted() -> None:
    scores = table(transplant=of_class(2, 40) + of_class(0, 2) + of_class(3, 1))
    found = decide(scores, {"transplant": record(scores, "transplant", STRONG["transplant"])}, CLASSES)
    assert [row["name"] for row in found.target_classes] == ["ring"]
    assert np.flatnonzero(found.suspects).tolist() == of_class(2, 40)
    assert found.scores[~found.suspects].max() <= 0.5, "also of flagged samples elsewhere"


def test_where_all_classes_are_alike_nobody_stands_out() -> None:
    scores = table(transplant=[row for number in range(4) for row in of_class(number, 30)])
    found = decide(scores, {"transplant": record(scores, "transplant", STRONG["transplant"])}, CLASSES)
    assert found.level == "no_evidence"
    assert "120 of 400" in found.text


@pytest.mark.parametrize("count", [4, 5])
def test_a_mixed_class_needs_five_samples(count: int) -> None:
    scores = table(mixture=of_class(1, count))
    found = decide(scores, {"mixture": record(scores, "mixture")}, CLASSES)
    assert (found.level, found.flagged) == (("poisoned", 5) if count == 5 else ("no_evidence", 0))


def test_members_add_up() -> None:
    """Two name the same class with different samples, the third nothing; its stray flags do not count."""
    scores = table(transplant=of_class(2, 20), pattern=of_class(1, 3), second_opinion=of_class(2, 30, skip=10))
    records = {
        "second_opinion": record(scores, "second_opinion"),
        "transplant": record(scores, "transplant", STRONG["transplant"]),
        "pattern": record(scores, "pattern", STRONG["pattern"]),
    }
    found = decide(scores, records, CLASSES)
    assert np.flatnonzero(found.suspects).tolist() == of_class(2, 40)
    assert found.flagged == 40
    assert found.by == ["transplant", "second_opinion"]
    assert found.detector == "second_opinion", "it flags most"
    (target,) = found.target_classes
    assert target["by"] == ["transplant", "second_opinion"]
    assert target["flagged"] == 30
    assert found.as_json()["by"] == found.by
    assert not {"suspects", "scores"} & set(found.as_json())


def test_several_targets() -> None:
    """Two of four classes are named; the one that more tests name comes first, not the one with more samples."""
    scores = table(transplant=of_class(3, 10), pattern=of_class(1, 40), second_opinion=of_class(3, 12), mixture=[])
    records = {name: record(scores, name, STRONG.get(name)) for name in MEMBERS}
    found = decide(scores, records, CLASSES)
    assert [(row["name"], row["by"]) for row in found.target_classes] == [
        ("corner", ["transplant", "second_opinion"]),
        ("cross", ["pattern"]),
    ]
    assert found.text == "likely poisoned: 52 of 400 samples, target classes corner, cross"


def test_all_to_all_has_no_single_target() -> None:
    scores = table(second_opinion=[row for number in range(4) for row in of_class(number, 25 + number % 2)])
    found = decide(scores, {"second_opinion": record(scores, "second_opinion")}, CLASSES)
    assert found.level == "poisoned"
    assert found.text == "likely poisoned: 102 of 400 samples, labels of 4 of 4 classes (no single target)"
    assert [row["class"] for row in found.target_classes] == [1, 3, 0, 2], "most flagged first"
    assert found.suspects.sum() == 102


def test_a_second_opinion_spread_too_thin_to_name_a_class() -> None:
    scores = table(second_opinion=[row for number in range(4) for row in of_class(number, 4)])
    found = decide(scores, {"second_opinion": record(scores, "second_opinion")}, CLASSES)
    assert found.text == "likely poisoned: 16 of 400 samples, no class stands out"
    assert found.target_classes == []


def test_scores_rank_within_each_side() -> None:
    """Suspects above 0.5 and the others at most 0.5, in the order of the test's own scores; equal stays equal."""
    scores = table(transplant=of_class(2, 40))
    scores.loc[[0, 1, 5], "transplant_score"] = 0.123  # ties
    found = decide(scores, {"transplant": record(scores, "transplant", STRONG["transplant"])}, CLASSES)
    own = scores["transplant_score"].to_numpy()
    assert np.isfinite(found.scores).all()
    assert found.scores.min() >= 0
    assert found.scores.max() == 1.0
    assert (found.scores[found.suspects] > 0.5).all()
    assert (found.scores[~found.suspects] <= 0.5).all()
    assert len({found.scores[row] for row in (0, 1, 5)}) == 1
    for side in (found.suspects, ~found.suspects):
        for row in np.flatnonzero(side):
            below = np.mean(own[side] <= own[row])
            assert found.scores[row] == pytest.approx((0.5 if found.suspects[row] else 0.0) + 0.5 * below)


def test_scores_of_different_tests_meet_on_one_scale() -> None:
    """Units do not matter, and the highest of a sample's scores counts."""
    scores = table(transplant=of_class(2, 20), second_opinion=of_class(2, 20, skip=20))
    records = {name: record(scores, name, STRONG.get(name)) for name in ("transplant", "second_opinion")}
    before = decide(scores, records, CLASSES)
    scores["second_opinion_score"] = 1000 * scores["second_opinion_score"] - 7
    after = decide(scores, records, CLASSES)
    assert (before.scores == after.scores).all()
    assert (before.scores[before.suspects] > 0.5).all()
    assert (before.scores[~before.suspects] <= 0.5).all()
    assert before.suspects.sum() == 40


def test_everything_or_nothing_flagged() -> None:
    """The scale has no empty side to fall over."""
    scores = table(second_opinion=list(range(TOTAL)))
    found = decide(scores, {"second_opinion": record(scores, "second_opinion")}, CLASSES)
    assert found.flagged == TOTAL
    assert (found.scores > 0.5).all()
    scores = table(second_opinion=[])
    scores["second_opinion_score"] = 1.0  # all the same
    found = decide(scores, {"second_opinion": record(scores, "second_opinion")}, CLASSES)
    assert found.level == "no_evidence"
    assert (found.scores <= 0.5).all()


def test_anomaly_indices_by_hand() -> None:
    """Rates 0.5, 0.1, 0.2, 0.3: the first lies 0.3 above the median of the others, MAD 0.1. Not predicted: 0."""
    rows = [{"flagged": f, "predicted": 10} for f in (5, 1, 2, 3)] + [{"flagged": 0, "predicted": 0}]
    found = anomaly_indices(rows)
    assert found[0] == pytest.approx(0.3 / 0.14826)
    assert found[0] > ANOMALY_LIMIT
    assert found[1] == pytest.approx((0.1 - 0.3) / 0.14826), "others 0.5, 0.2, 0.3: median 0.3, MAD 0.1"
    assert found[4] == 0.0
    assert anomaly_indices(rows[:1]) == [0.0], "one class has no others"
