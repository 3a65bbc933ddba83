"""A poisoned data set: the source untouched, truth and recipe kept, the trigger where the truth says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mspc_core import evaluate
from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset, trigger_from
from mspc_core.attacks.wanet import WaNet
from mspc_core.data.store import Dataset, open_dataset, sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError


def make_clean(count: int = 60, size: int = 16) -> Dataset:
    images = np.random.default_rng(0).integers(1, 250, (count, size, size, 3), dtype=np.uint8)
    with DatasetWriter("clean", size=size, classes=["a", "b", "c"], kind="test", source="test") as writer:
        for number, image in enumerate(images):
            path = f"{number}.png"
            split = "train" if number < count - 12 else "test"
            writer.add(image, identity=sample_id(path, image.tobytes()), path=path, label=number % 3, split=split)
        return writer.commit(source_key="test")


def test_poisoned_copy(home: Path) -> None:
    clean = make_clean()
    before = clean.pixels.tobytes()
    made = poison_dataset(clean, BadNets(size=3), rate=0.25, target=2, name="lab")
    truth = evaluate.load_truth(made)
    assert truth is not None
    hit = truth["is_backdoor"].to_numpy()
    labels, old = made.manifest["label"].to_numpy(), clean.manifest["label"].to_numpy()
    assert hit.sum() == 12
    assert (labels[hit] == 2).all()
    assert (labels[~hit] == old[~hit]).all()
    assert (truth["original_label"].to_numpy() == old).all()
    assert truth["source_path"].tolist() == clean.manifest["path"].tolist()
    assert not set(made.manifest["path"]) & set(clean.manifest["path"]), "a path must not give the old class away"
    assert (old[hit] != 2).all()
    assert not hit[48:].any(), "the test split stays clean"
    changed = (made.pixels != clean.pixels).any((1, 2, 3))
    assert (changed == hit).all()
    assert open_dataset("clean").pixels.tobytes() == before
    assert len(set(made.manifest["sample_id"])) == 60
    again = trigger_from(made.recipe() or {}).apply(np.array(clean.pixels[hit]), np.random.default_rng(0))
    assert (again == made.pixels[hit]).all()


def test_noise_mode_changes_covers_but_not_their_labels(home: Path) -> None:
    clean = make_clean()
    made = poison_dataset(clean, WaNet(), rate=0.1, target=0, name="lab")
    truth = evaluate.load_truth(made)
    assert truth is not None
    hit = truth["is_backdoor"].to_numpy()
    changed = (made.pixels != clean.pixels).any((1, 2, 3))
    assert hit.sum() == 5
    assert changed.sum() == 15
    covers = changed & ~hit
    assert (made.manifest["label"].to_numpy()[covers] == clean.manifest["label"].to_numpy()[covers]).all()


def test_poisoning_twice_or_over_a_name_is_refused(home: Path) -> None:
    clean = make_clean()
    lab = poison_dataset(clean, BadNets(size=3), rate=0.1, target=0, name="lab")
    with pytest.raises(InputError, match="poisoned data set already"):
        poison_dataset(lab, BadNets(size=3), rate=0.1, target=0, name="lab2")
    with pytest.raises(InputError, match="exists already"):
        poison_dataset(clean, BadNets(size=3), rate=0.1, target=0, name="lab")
    assert {folder.name for folder in (home / "datasets").iterdir()} == {"clean", "lab"}
