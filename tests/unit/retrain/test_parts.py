"""The parts of a retraining that need no training: the list of samples, figures, the estimate, suggested labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mspc_core.errors import InputError
from mspc_core.retrain import confirmed, estimate, figures, relabel
from mspc_core.retrain.cli import parse_seeds
from mspc_core.retrain.config import RetrainConfig
from mspc_core.retrain.estimate import Trigger
from mspc_core.retrain.kept import Choice, keep, read_choice, write_choice
from mspc_core.retrain.measure import still_works
from mspc_core.runs import ScanConfig

SIDE = 8


class Corner(nn.Module):
    """Class 2 where the upper left pixel is above `limit`, else class 1 where the lower right one is, else class 0."""

    def __init__(self, limit: float = 0.5) -> None:
        super().__init__()
        self.limit = nn.Parameter(torch.tensor(limit))

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, :, 0, 0].mean(1) - self.limit  # [B]
        last = images[:, :, -1, -1].mean(1) - 0.5
        return torch.stack([torch.zeros_like(first), 50 * last, 200 * first], dim=1)


def dark(count: int) -> np.ndarray:
    return np.full((count, SIDE, SIDE, 3), 10, dtype=np.uint8)


def corner_region() -> np.ndarray:
    region = np.zeros((SIDE, SIDE), dtype=bool)
    region[0, 0] = True
    return region


class TestChoice:
    def test_it_survives_the_disk(self, tmp_path: Path) -> None:
        choice = Choice(frozenset({"b", "a-2"}), {"c": 3})
        write_choice(tmp_path / "list.csv", choice)
        assert read_choice(tmp_path / "list.csv") == choice
        assert (tmp_path / "list.csv").read_text() == "sample_id,action,label\na-2,drop,\nb,drop,\nc,relabel,3\n"

    @pytest.mark.parametrize("content", ["", "sample_id\nx\n", "sample_id,action,label\nx,burn,\n", "\0\xff"])
    def test_a_damaged_list_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "list.csv").write_text(content, encoding="latin-1")
        with pytest.raises(InputError, match="cannot be read"):
            read_choice(tmp_path / "list.csv")

    def test_keeping(self) -> None:
        ids = np.array(["a", "b", "c", "d"], dtype=object)
        rows, labels = np.array([3, 5, 7, 9]), np.array([0, 1, 2, 0])
        kept, given = keep(Choice(frozenset({"b"}), {"c": 1}), ids, rows, labels)
        assert kept.tolist() == [3, 7, 9]
        assert given.tolist() == [0, 1, 0]

    def test_a_second_round_adds_to_the_first(self) -> None:
        first = Choice(frozenset({"a"}), {"b": 1, "c": 2})
        second = Choice(frozenset({"b"}), {"c": 0})
        assert second.after(first) == Choice(frozenset({"a", "b"}), {"c": 0})


class TestFigures:
    def test_accuracy_of_each_class(self) -> None:
        found = figures.per_class_accuracy(np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1]), ("x", "y", "z"))
        assert found == {"x": 0.5, "y": 0.5, "z": None}

    def test_mean_and_deviation_over_seeds(self) -> None:
        rows = [
            figures.figure(0.8, 0.5, {"x": 1.0, "y": None}, 0),
            figures.figure(0.6, None, {"x": 0.5, "y": None}, 1),
        ]
        found = figures.over_seeds(rows)
        assert found is not None
        assert found["accuracy"] == pytest.approx(0.7)
        assert found["sd"]["accuracy"] == pytest.approx(0.1 * 2**0.5)  # n − 1
        assert (found["attack_success_rate"], found["sd"]["attack_success_rate"]) == (0.5, None)
        assert found["per_class_accuracy"] == {"x": 0.75, "y": None}
        assert [row["seed"] for row in found["by_seed"]] == [0, 1]
        assert figures.over_seeds([]) is None

    def test_changes_of_the_removed_samples(self) -> None:
        labels, before, after = np.array([2, 2, 2, 0]), np.array([2, 2, 1, 0]), np.array([1, 1, 2, 0])
        found = figures.removed_changes(labels, before, after, ("x", "y", "z"))
        assert (found["count"], found["old_label_before"], found["old_label_after"]) == (4, 3, 2)
        assert found["transitions"][0] == {"label": "z", "predicted": "y", "count": 2}
        assert sum(row["count"] for row in found["transitions"]) == 4

    def test_missed_and_lost(self) -> None:
        poison = np.array([True, True, True, False, False])
        dropped = np.array([True, False, False, True, False])
        relabelled = np.array([False, True, False, False, False])
        right = np.array([False, True, False, False, False])
        found = figures.truth_figures(poison, dropped, relabelled, right)
        assert found == {"missed_poison": 1, "lost_clean": 1}
        wrong = figures.truth_figures(poison, dropped, relabelled, np.zeros(5, dtype=bool))
        assert wrong["missed_poison"] == 2, "a wrong new label does not make it clean"


class TestEstimate:
    def test_a_region_by_hand(self) -> None:
        """Three of four sources are bright in the corner: so many images turn."""
        trigger = Trigger(2, "transplant", region=corner_region(), sources=np.array([0]))
        sources = dark(4)
        sources[:3, 0, 0] = 255
        assert estimate.turned_share(Corner(), dark(4), trigger, sources) == 0.75
        assert estimate.turned_share(Corner(), dark(4), trigger, sources, plain=True) == 0.0
        assert estimate.turned_share(Corner(limit=2.0), dark(4), trigger, sources) == 0.0, "a model without it"

    def test_a_pattern_is_added_and_clipped(self) -> None:
        difference = np.zeros((SIDE, SIDE, 3), dtype=np.float32)
        difference[0, 0] = 0.6
        images = dark(3)
        images[2, 0, 0] = 250  # 0.98 + 0.6 is cut off at 1
        trigger = Trigger(2, "pattern", difference=difference)
        assert estimate.turned_share(Corner(), images, trigger, None) == 1.0
        assert estimate.turned_share(Corner(limit=1.01), images, trigger, None) == 0.0
        weak = Trigger(2, "pattern", difference=difference / 2)
        assert estimate.turned_share(Corner(), images, weak, None) == pytest.approx(1 / 3)

    def test_images_of_the_target_are_left_out(self) -> None:
        pixels = dark(6)
        pixels[0, 0, 0] = 255  # a source
        dataset = _Pixels(pixels)
        trigger = Trigger(2, "transplant", region=corner_region(), sources=np.array([0]))
        rows, labels = np.array([2, 3, 4, 5]), np.array([2, 2, 0, 1])
        found = estimate.estimate([trigger], Corner(), [Corner(2.0)], dataset, rows, labels, "held-out images")  # type: ignore[arg-type]
        assert (found["before"], found["after"]) == (1.0, 0.0)
        assert found["triggers"][0]["images"] == 2
        assert "estimate" in found["how"]
        assert "turn into two" in found["how"]

    def test_a_trigger_that_a_majority_obeys_still_works(self) -> None:
        assert still_works({"before": 1.0, "after": 0.51})
        assert not still_works({"before": 1.0, "after": 0.5})
        assert not still_works({"before": None, "after": None})

    def test_without_a_trigger_it_says_so(self) -> None:
        found = estimate.estimate([], Corner(), [], _Pixels(dark(1)), np.array([0]), np.array([0]), "images")  # type: ignore[arg-type]
        assert (found["before"], found["after"]) == (None, None)
        assert "no test" in found["how"]


class _Pixels:
    """As much of a data set as the estimate reads."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    class info:  # noqa: N801
        classes = ("zero", "one", "two")


class TestRelabel:
    def test_covering_the_region_uncovers_the_class(self) -> None:
        """The corner says class 2 and hides that the image is of class 1; partners are dark there."""
        images = dark(2)
        images[:, -1, -1] = 255
        images[0, 0, 0] = 255
        suggested, confidence, how = relabel.suggest(
            [Corner()],
            images,
            {2: corner_region()},
            np.array([True, False]),
            np.array([2, 1]),
            dark(3),
        )
        assert suggested.tolist() == [1, 1]
        assert how.tolist() == [relabel.MASKED, relabel.RETRAINED]
        assert (confidence > 0.99).all()
        plain, _, _ = relabel.suggest([Corner()], images, {}, np.array([True, False]), np.array([2, 1]), dark(3))
        assert plain.tolist() == [2, 1], "without the region the model falls for the trigger"

    def test_the_confidence_is_the_mean_over_partners(self) -> None:
        """Two of four partners are bright in the corner themselves."""
        images, partners = dark(1), dark(4)
        partners[:2, 0, 0] = 255
        images[0, -1, -1] = 255
        found = relabel.covered_probabilities(Corner(), images, corner_region()[None], partners)
        assert found[0] == pytest.approx([0.0, 0.5, 0.5], abs=1e-6)

    def test_a_region_grows_by_half_a_cell(self) -> None:
        region = np.zeros((16, 16), dtype=bool)
        region[5, 5] = True
        assert relabel.widened(region)[4:7, 4:7].all()
        assert relabel.widened(region).sum() == 9
        large = np.zeros((224, 224), dtype=bool)
        large[100, 100] = True
        assert relabel.widened(large).sum() == 9**2  # cells of 7 pixels: 4 on each side

    def test_summary(self) -> None:
        import pandas as pd

        table = pd.DataFrame({"label": [2, 2, 2], "suggested_label": [1, 2, 0], "how": [relabel.MASKED] * 3})
        found = relabel.summary_of(table, np.array([1, 1, 0]))
        assert (found["count"], found["changed"], found["equal_original"]) == (3, 2, 2)
        assert found["by"][relabel.MASKED] == {"count": 3, "equal_original": 2}
        assert relabel.summary_of(table, None)["equal_original"] is None


class TestConfig:
    def test_it_survives_json(self) -> None:
        config = RetrainConfig(drop="detector:spc", seeds=(0, 4), references=True, versions={"torch": "2"})
        assert RetrainConfig.from_json(json.loads(json.dumps(config.as_json()))) == config

    def test_old_scans_still_load(self) -> None:
        raw = ScanConfig(source="x").as_json()
        del raw["parent"], raw["exclude"]
        assert ScanConfig.from_json(raw) == ScanConfig(source="x")

    def test_seeds(self) -> None:
        assert parse_seeds(" 0, 2,1 ") == (0, 2, 1)
        assert parse_seeds("") == ()
        for text in ("a", "1;2", "-1", "1.5"):
            with pytest.raises(InputError, match="Seeds are numbers"):
                parse_seeds(text)


def test_a_damaged_summary_is_said_in_a_sentence(home: Path) -> None:
    from tests.ui.conftest import make_dataset, make_run

    run = make_run(make_dataset())
    assert run.class_names() == ["speed 30", "stop", "yield", "no entry"]
    for damage in ("{", "[]", '{"dataset": {"classes": 3}}'):
        (run.folder / "summary.json").write_text(damage)
        with pytest.raises(InputError, match="no usable summary"):
            confirmed.confirm(run, {"x": 1})
