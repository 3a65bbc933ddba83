"""Feature mixture on features made by hand, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mspc_core.detectors import groups
from mspc_core.detectors.classwise import EXP_2, UNIMODAL, anomaly_index
from mspc_core.detectors.groups import explained, kinds, split_classes, two_groups, unit_length
from mspc_core.detectors.mixture import Mixture, MixtureConfig
from mspc_core.errors import Cancelled

CLASSES, EACH, WIDE, ZERO = 6, 150, 12, 60


def features(
    planted: int | None = None, share: float = 0.4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian classes [N, D] with labels [N]; a share of one class lies elsewhere (bool [N])."""
    generator = np.random.default_rng(seed)
    labels = np.arange(CLASSES * EACH) % CLASSES
    values = generator.normal(size=(len(labels), WIDE)) + 6 * np.eye(WIDE)[labels]
    moved = np.zeros(len(labels), bool)
    if planted is not None:
        moved[np.flatnonzero(labels == planted)[: round(share * EACH)]] = True
        values[moved] += 8 * np.eye(WIDE)[WIDE - 1]
    return values, labels, moved


def test_unit_length_keeps_directions_and_zeros() -> None:
    found = unit_length(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert found.tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_two_groups_worked_out_by_hand() -> None:
    # {-3, -3, -3} and {9} around 0: squares 9 + 9 + 9 + 81 = 108, none left within the groups, so J = 108/4.
    found = two_groups(np.array([[-3.0], [-3.0], [-3.0], [9.0]]), 0)
    assert found is not None
    assert found.statistic == pytest.approx(27.0)
    assert found.second.tolist() == [False, False, False, True], "the smaller group"
    assert found.margin.tolist() == pytest.approx([-72.0, -72.0, -72.0, 72.0])  # (0 - 12²)/2 and back
    assert found.turned_over().second.tolist() == [True, True, True, False]


@pytest.mark.parametrize(("draw", "expected"), [("normal", 2 / np.pi), ("uniform", UNIMODAL)])
def test_how_much_a_single_mode_explains(draw: str, expected: float) -> None:
    values = getattr(np.random.default_rng(0), draw)(size=(20_000, 1))
    assert explained(values - values.mean(0), 0) == pytest.approx(expected, abs=0.01)


def test_chance_among_many_dimensions_is_not_taken_for_two_groups() -> None:
    """2-means of 60 points in 200 dimensions splits them nearly perfectly along its own line."""
    values = np.random.default_rng(0).normal(size=(60, 200))
    found = two_groups(values - values.mean(0), 0)
    assert found is not None
    line = values[found.second].mean(0) - values[~found.second].mean(0)
    along = values @ line
    left = sum(((along[side] - along[side].mean()) ** 2).sum() for side in (found.second, ~found.second))
    assert 1 - left / ((along - along.mean()) ** 2).sum() > UNIMODAL, "along the line that it chose itself"
    assert found.explained < UNIMODAL


def test_the_same_features_are_not_two_groups() -> None:
    assert two_groups(np.zeros((30, 4)), 0) is None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_planted_group_stands_out_in_its_class_only(share: float) -> None:
    values, labels, moved = features(planted=2, share=share)
    members = {label: np.flatnonzero(labels == label) for label in range(CLASSES)}
    found = split_classes(values, members, 0)
    index = anomaly_index(np.array([split.statistic for split in found.values()]))
    assert index.argmax() == 2
    assert index[2] > EXP_2 > np.delete(index, 2).max()
    assert found[2].explained > UNIMODAL > max(found[k].explained for k in found if k != 2)
    agree = found[2].second == moved[members[2]]
    assert agree.all() or not agree.any(), "the groups are the two that were made"


def test_what_is_planted_in_a_class_does_not_widen_its_own_measure() -> None:
    """S_e comes from the other classes: that of all classes would hold the planted distance itself."""
    values, labels, _ = features(planted=2, share=0.5)
    members = {label: np.flatnonzero(labels == label) for label in range(CLASSES)}
    apart = split_classes(values, members, 0)[2].statistic
    many = {100 + label: rows for label, rows in members.items()} | members
    assert apart > 2 * split_classes(values, {2: members[2]} | {k: members[2] for k in (7, 8)}, 0)[2].statistic
    assert len(split_classes(values, many, 0)) == len(many)


def test_kinds_worked_out_by_hand() -> None:
    # Next after class 0 come 1 and 2 equally often: ln 2, and (2 - 1)/(2·4) for the size of the group.
    logits = np.array([[9.0, 5, 1, 0], [9, 1, 5, 0], [2, 5, 1, 0], [9, 1, 5, 0]])
    assert kinds(logits, 0) == pytest.approx(np.log(2) + 1 / 8)
    assert kinds(logits[[0, 2]], 0) == 0.0


class Reads(nn.Module):
    """A model whose features are the image's first row, each colour a number: what is put in comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDE)
        self.head = nn.Linear(WIDE, CLASSES)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(WIDE)[:CLASSES] * 4)
            self.head.bias.zero_()
            self.head.weight[2, WIDE - 1], self.head.bias[2] = 4, -4 * ZERO  # the trigger works

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(images[:, 0, 0, :WIDE] * 255))
        return found


def as_images(values: np.ndarray) -> np.ndarray:
    images = np.zeros((len(values), 16, 16, 3), np.uint8)
    images[:, 0, :WIDE, 0] = np.clip(8 * values + ZERO, 0, 255).round()
    return images


def fitted(values: np.ndarray, labels: np.ndarray, config: MixtureConfig | None = None) -> Mixture:
    return Mixture(config).fit(Reads().eval(), as_images(values), labels=labels)


@pytest.mark.parametrize("share", [0.2, 0.75])
def test_the_group_of_mixed_content_is_flagged(share: float) -> None:
    values, labels, moved = features(planted=2, share=share)
    # Under the trigger the planted samples show other classes, each its own, and the others of class 2 look like 3.
    generator = np.random.default_rng(1)
    values[moved] += 3 * np.eye(WIDE)[generator.choice([0, 1, 4, 5], moved.sum())] - 3 * np.eye(WIDE)[2]
    values[(labels == 2) & ~moved] += 2 * np.eye(WIDE)[3]
    found = fitted(values, labels)
    assert found.labels_[moved].mean() > 0.95
    assert found.labels_[~moved].mean() < 0.01
    assert (found.labels_ == (found.decision_scores_ > found.threshold_.value)).all()
    (row,) = (row for row in found.artifacts_.tables["classes"] if row["flagged"])
    assert row["class"] == 2
    assert EACH - 2 <= row["samples"] <= EACH, "nearly all are recognised"
    assert row["flagged"] == found.labels_.sum()
    assert row["kinds_second"] > row["kinds_first"]
    assert found.artifacts_.forward_equivalents == len(labels) + row["samples"], "the mixed class is read once more"


def test_clean_features_flag_nothing() -> None:
    found = fitted(*features()[:2])
    assert not found.labels_.any()
    assert 0 < found.decision_scores_.max() <= 0.5
    assert found.artifacts_.forward_equivalents == CLASSES * EACH


def test_without_refinement_the_groups_stay_as_drawn() -> None:
    values, labels, moved = features(planted=2)
    found = fitted(values, labels, MixtureConfig(refinements=0))
    row = found.artifacts_.tables["classes"][2]
    assert row["flagged"] == round(row["second"] * EACH)
    assert found.labels_[labels != 2].sum() == 0
    own = found.labels_[labels == 2]
    agree = (own == moved[labels == 2]).mean()
    assert agree > 0.95 or agree < 0.05, "one of the two groups that were made"


def test_two_classes_cannot_be_compared() -> None:
    values, labels, _ = features(planted=1)
    here = labels < 2
    found = fitted(values[here], labels[here])
    assert not found.labels_.any()
    assert any("Fewer than three classes" in note for note in found.artifacts_.notes)


def test_small_and_constant_classes_are_named() -> None:
    values, labels, _ = features()
    values[labels == 0] = 4 * np.eye(WIDE)[0]
    here = (labels != 5) | (np.cumsum(labels == 5) <= 4)
    found = fitted(values[here], labels[here])
    assert any("class 5" in note for note in found.artifacts_.notes)
    assert any("class 0 have the same features" in note for note in found.artifacts_.notes)
    assert (found.decision_scores_[labels[here] == 0] == 0).all()


def test_it_can_be_stopped() -> None:
    values, labels, _ = features()
    with pytest.raises(Cancelled):
        Mixture().fit(Reads().eval(), as_images(values), labels=labels, should_stop=lambda: True)


def test_the_shrinkage_of_many_samples_is_worked_out_from_some(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels, _ = features()
    values = values * np.arange(1, WIDE + 1) ** 2  # far from a sphere, to which it would shrink all the way
    members = {label: np.flatnonzero(labels == label) for label in range(CLASSES)}
    whole = groups._shrinkage(values, members, len(labels))
    monkeypatch.setattr(groups, "_MOST_READ", 300)
    assert groups._shrinkage(values, members, len(labels)) == pytest.approx(whole, rel=0.35)
    assert 0 < whole < 0.2


def test_what_the_model_has_not_learned_is_no_second_group() -> None:
    """A third of class 2 is not recognised: it lies elsewhere, and is left out with score 0."""
    values, labels, _ = features()
    values[:, :CLASSES] *= 2
    lost = np.flatnonzero(labels == 2)[: EACH // 3]
    values[lost] += 20 * (np.eye(WIDE)[4] - np.eye(WIDE)[2])
    found = fitted(values, labels)
    assert (found.decision_scores_[lost] == 0).all()
    assert not found.labels_.any()
    assert found.artifacts_.tables["classes"][2]["samples"] == EACH - len(lost)


def test_few_classes_are_said_to_be_few() -> None:
    values, labels, _ = features(planted=2)
    here = labels < 5
    found = fitted(values[here], labels[here])
    assert not found.labels_.any()
    assert any("Fewer than 6 classes" in note for note in found.artifacts_.notes)
