"""An estimate of what is not imported yet: counted as an import would, read a little, and nothing stored."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mspc_core import home as places
from mspc_core.cli import main
from mspc_core.data.importing import import_source
from mspc_core.data.source import CountsSplits, open_source
from mspc_core.errors import InputError
from mspc_core.estimating import estimate as estimating
from mspc_core.estimating import unread
from mspc_core.estimating.prices import Prices
from mspc_core.estimating.unread import UnreadDataset, look_at
from mspc_core.runs import ScanConfig
from tests.unit.data.pictures import fill, png, write_parquet


def pictures(splits: dict[str, int]) -> dict[str, bytes]:
    """Path → PNG: so many images in each split, of two classes, and a file that is none."""
    found = {
        f"{split}/{name}/{number}.png": png((number, 0, 9), (20, 24))
        for split, count in splits.items()
        for number in range(count)
        for name in [("cat", "dog")[number % 2]]
    }
    return {**found, "notes.txt": b"no image", "train/cat/notes.txt": b"no image"}


def folder_of(place: Path) -> Path:
    return fill(place / "folder", pictures({"train": 22, "test": 6}))


def zip_of(place: Path) -> Path:
    with zipfile.ZipFile(place / "all.zip", "w") as archive:
        for path, content in pictures({"train": 5, "val": 3}).items():
            archive.writestr(path, content)
    return place / "all.zip"


def parquet_of(place: Path) -> Path:
    (place / "shards").mkdir()
    for name, count in (("train-00000-of-00002", 4), ("train-00001-of-00002", 3), ("test-00000-of-00001", 2)):
        images = [png((number, 0, 9)) for number in range(count)]
        write_parquet(place / "shards" / f"{name}.parquet", images, [number % 2 for number in range(count)])
    return place / "shards"


def table_of(place: Path) -> Path:
    fill(place, {f"{number}.png": png((number, 0, 9)) for number in range(6)})
    lines = [f"{number}.png,{'ab'[number % 2]},{'test' if number > 3 else 'train'}" for number in range(6)]
    (place / "list.csv").write_text("\n".join(["path,label,split", *lines]))
    return place / "list.csv"


def arrays_of(place: Path) -> Path:
    images, labels = np.zeros((7, 16, 16, 3), np.uint8), np.arange(7) % 2
    np.savez(place / "all.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    return place / "all.npz"


@pytest.mark.parametrize("make", [folder_of, zip_of, parquet_of, table_of, arrays_of])
def test_splits_are_counted_as_an_import_finds_them(home: Path, tmp_path: Path, make: object) -> None:
    place = tmp_path / "source"
    place.mkdir()
    source = open_source(str(make(place)))  # type: ignore[operator]
    assert isinstance(source, CountsSplits)
    before = source.split_counts()
    assert before == import_source(source, size=16).dataset.info.split_counts
    assert len(before) == 2


def test_a_folder_is_counted_and_read_a_little(home: Path, tmp_path: Path) -> None:
    config = ScanConfig(source=str(folder_of(tmp_path)), size=16)
    found = look_at(config)
    assert isinstance(found, UnreadDataset)
    assert (found.info.classes, found.info.size, found.info.count) == (("cat", "dog"), 16, 28)
    assert found.info.split_counts == {"train": 22, "test": 6}
    assert len(found.indices("train")) == 22
    assert found.pixels.shape == (28, 16, 16, 3)
    assert found.pixels[np.array([27])].shape == (1, 16, 16, 3)
    assert found.import_seconds > 0
    assert list(places.datasets_folder().iterdir()) == []


def test_what_was_imported_before_is_found_again(home: Path, tmp_path: Path) -> None:
    source = str(folder_of(tmp_path))
    stored = import_source(source, size=16).dataset
    assert look_at(ScanConfig(source=source, size=16)).root == stored.root
    assert isinstance(look_at(ScanConfig(source=source, size=24)), UnreadDataset)


def test_the_estimate_adds_the_import(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = Prices(forward=1.0, scaled=1.0, gradient=1.0, training=1.0, small={}, flop=1.0)
    monkeypatch.setattr(estimating, "measure", lambda *_: prices)
    look = estimating.look_at

    def slowly(config: ScanConfig) -> UnreadDataset:
        found = look(config)
        assert isinstance(found, UnreadDataset)
        found.import_seconds = 12.5  # these few images take too short to be seen in a figure of hundredths
        return found

    monkeypatch.setattr(estimating, "look_at", slowly)
    command = ["scan", str(folder_of(tmp_path)), "--size", "16", "--detectors", "spc", "--epochs", "1"]
    assert main([*command, "--device", "cpu", "--estimate", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["image_size"], found["classes"]) == (22, 16, 2)
    assert found["stages"][0]["title"] == "Importing the data"
    assert found["stages"][0]["seconds"] == 5.0 + 12.5
    assert found["stages"][2]["seconds"] == 22 * 12
    assert found["stages"][2]["forward_equivalents"] == [22 * 12] * 3
    assert list(places.datasets_folder().iterdir()) == list(places.runs_folder().iterdir()) == []


def test_what_cannot_be_told_is_said(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="has to be downloaded"):
        look_at(ScanConfig(source="cifar10"))
    assert not (home / "torchvision").exists()
    with pytest.raises(InputError, match="no file, folder"):
        look_at(ScanConfig(source=str(tmp_path / "gone")))
    broken = fill(tmp_path / "broken", {"a/1.png": b"\x89PNG", "b/2.png": b"\x89PNG"})
    with pytest.raises(InputError, match="None of the first images"):
        look_at(ScanConfig(source=str(broken)))
    source = open_source(str(folder_of(tmp_path)))
    source.count = None  # type: ignore[misc]
    monkeypatch.setattr(unread, "open_source", lambda _: source)
    with pytest.raises(InputError, match="not known before all are read"):
        look_at(ScanConfig(source="any"))
