"""Exporting a run that scanned what an earlier cleaning had kept: what was left out then must not come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mspc_core.errors import InputError
from mspc_core.export.config import ExportConfig, check
from mspc_core.export.plan import make_plan
from mspc_core.export.work import export
from mspc_core.retrain import confirmed
from mspc_core.retrain.kept import FILE, Choice, write_choice
from mspc_core.runs import Run
from tests.unit.exporting import cats_and_dogs, files_of, run_export, scanned


@pytest.fixture
def cleaned(home: Path, tmp_path: Path) -> Run:
    """A scan of cats and dogs without the first two cats, and with the third one labelled dog; one suspect."""
    dataset, run = scanned(cats_and_dogs(tmp_path / "pictures", split=True), ["train/dog/5.png"])
    table = dataset.manifest.set_index("path")["sample_id"]
    dropped = frozenset(table[[f"train/cat/{number}.jpg" for number in (0, 1)]])
    relabelled = table["train/cat/2.jpg"]
    write_choice(run.folder / FILE, Choice(dropped, {relabelled: 1}))
    run.save_config(replace(run.config(), parent="first", exclude=FILE))
    scores = run.scores()
    scores = scores[~scores["sample_id"].isin(dropped)].reset_index(drop=True)
    scores.loc[scores["sample_id"] == relabelled, "label"] = 1
    run.save_scores(scores)
    return run


def test_left_out_images_stay_out_and_new_labels_count(cleaned: Run, tmp_path: Path) -> None:
    run_export(cleaned, "folder", tmp_path / "out")
    names = {name for name in files_of(tmp_path / "out") if name.endswith((".jpg", ".png"))}
    train = {name for name in names if "train/" in name}
    assert len(names) == len(train) + 4, "the test images are all there"
    assert len([name for name in train if "/dog/" in name]) == 6
    assert len([name for name in train if "/cat/" in name]) == 3


def test_positions_say_that_they_cannot_change_labels(cleaned: Run, tmp_path: Path) -> None:
    config = ExportConfig(run=cleaned.id, format="indices", out=str(tmp_path / "out.json"))
    assert any("1 confirmed labels" in warning for warning in make_plan(cleaned, config).warnings)


def test_confirmed_labels_are_kept_instead_of_dropped(home: Path, tmp_path: Path) -> None:
    """Two suspects, one of them with a confirmed label: it goes to that class, the other one goes away."""
    dataset, run = scanned(cats_and_dogs(tmp_path / "pictures"), ["cat/0.jpg", "cat/1.jpg"])
    table = dataset.manifest.set_index("path")["sample_id"]
    confirmed.confirm(run, {table["cat/0.jpg"]: 1, table["dog/5.png"]: 0})
    plain = make_plan(run, ExportConfig(run=run.id, format="folder", out=str(tmp_path / "out")))
    assert plain.samples == 10
    config = ExportConfig(run=run.id, format="folder", out=str(tmp_path / "out"), relabel="confirmed")
    planned = make_plan(run, config)
    assert planned.samples == 11
    assert any("1 samples that the rule drops are kept" in warning for warning in planned.warnings)
    export(config)
    names = [name for name in files_of(tmp_path / "out") if name.endswith((".jpg", ".png"))]
    moved = [name for name in names if name.endswith(".jpg") and "dog/" in name]
    assert len(moved) == 1
    source = (tmp_path / "pictures" / "cat" / "0.jpg").read_bytes()
    assert (tmp_path / "out" / moved[0]).read_bytes() == source
    assert len([name for name in names if "cat/" in name]) == 4
    assert len([name for name in names if name.endswith(".png")]) == 6, "a label confirmed for a kept image is not used"


@pytest.mark.parametrize(("format", "relabel", "said"), [("csv", "confirmed", "holds none"), ("zip", "all", "not")])
def test_labels_that_cannot_be_changed_are_refused(format: str, relabel: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check(ExportConfig(run="x", format=format, out="y", relabel=relabel))
