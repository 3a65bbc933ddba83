"""The recipe of a lab data set, read back; a damaged one is one sentence, whatever it holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset
from mspc_core.attacks.recipe import has_recipe, read_recipe
from mspc_core.data.store import Dataset
from mspc_core.errors import InputError
from tests.unit.attacks.test_poison import make_clean


@pytest.fixture
def lab(home: Path) -> Dataset:
    return poison_dataset(make_clean(), BadNets(size=3), rate=0.25, target=2, name="lab", seed=4, from_target=True)


def test_what_was_done_can_be_done_again(lab: Dataset) -> None:
    found = read_recipe(lab)
    assert (found.attack, found.rate, found.target, found.seed) == (BadNets(size=3), 0.25, 2, 4)
    assert (found.label_mode, found.source) == ("all-to-one", "clean")
    assert (lab.recipe() or {})["from_target"] is True


def test_data_without_a_recipe(home: Path) -> None:
    clean = make_clean()
    assert not has_recipe(clean)
    with pytest.raises(InputError, match="not recorded how 'clean' was poisoned"):
        read_recipe(clean)


def test_recipes_of_earlier_versions_are_read(lab: Dataset) -> None:
    raw = lab.recipe() or {}
    del raw["from_target"], raw["label_mode"], raw["source"]
    (lab.root / "recipe.json").write_text(json.dumps(raw))
    assert read_recipe(lab).label_mode == "all-to-one"


@pytest.mark.parametrize(
    "change",
    [
        {"attack": "no-such"},
        {"attack": ["badnets"]},
        {"attack": "badnets/../../x"},
        {"config": {"size": -1}},
        {"config": {"__class__": "x"}},
        {"config": None},
        {"config": {"size": "<b>"}},
        {"target_class": 99},
        {"target_class": -1},
        {"target_class": "two"},
        {"target_class": None},
        {"label_mode": "<script>"},
        {"rate": "much"},
        {"seed": []},
    ],
)
def test_damaged_recipes(lab: Dataset, change: dict[str, object]) -> None:
    (lab.root / "recipe.json").write_text(json.dumps({**(lab.recipe() or {}), **change}))
    with pytest.raises(InputError, match="The recipe of 'lab'"):
        read_recipe(lab)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"3"])
def test_files_that_are_no_recipe(lab: Dataset, content: bytes) -> None:
    (lab.root / "recipe.json").write_bytes(content)
    with pytest.raises(InputError):
        read_recipe(lab)


def test_a_damaged_recipe_leaves_the_attack_success_unknown_and_says_why(lab: Dataset) -> None:
    from mspc_core.evaluate import attack_success_rate
    from mspc_core.models.zoo import ModelSpec, build_model

    model = build_model(ModelSpec("small-cnn", len(lab.info.classes), lab.info.size)).eval()
    notes: list[str] = []
    assert attack_success_rate(model, lab, notes) is not None
    assert not notes
    (lab.root / "recipe.json").write_text("{}")
    assert attack_success_rate(model, lab, notes) is None
    assert len(notes) == 1
    assert notes[0].startswith("The attack success rate is unknown. The recipe of 'lab'")
