from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mspc_core import home
from mspc_core.data import torchvision_sets
from mspc_core.data.labels import Labels
from mspc_core.data.source import RawSample, Skipped, open_source, split_of
from mspc_core.errors import InputError
from tests.real_data import require

from .pictures import BLUE, GREEN, RED, fill, grey, png, read, two_classes, write_parquet

SPLIT_FILES = {
    "train/cat/1.png": png(RED),
    "train/dog/1.png": png(BLUE),
    "validation/dog/2.png": png(BLUE),
    "test/bird/3.png": png(GREEN),
}
SPLIT_ROWS = [
    ("test/bird/3.png", "bird", "test"),
    ("train/cat/1.png", "cat", "train"),
    ("train/dog/1.png", "dog", "train"),
    ("validation/dog/2.png", "dog", "val"),
]


MODULES = ["archive", "arrays", "decode", "folder", "importing", "labels", "parquet", "source", "store", "table"]


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:" + {".gz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, pkgutil, importlib, mspc_core.data\n"
        f"for name in {MODULES}: importlib.import_module('mspc_core.data.' + name)\n"
        "print([m for m in ('torch', 'torchvision', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Folders


def test_class_per_folder(tmp_path: Path) -> None:
    source = open_source(str(fill(tmp_path / "pets", two_classes())))
    assert (source.kind, source.classes, source.count) == ("folder", ("cat", "dog"), 3)
    assert read(source)[0] == [
        ("cat/1.png", "cat", "train"),
        ("cat/2.png", "cat", "train"),
        ("dog/1.png", "dog", "train"),
    ]


def test_split_folders_share_one_list_of_classes(tmp_path: Path) -> None:
    source = open_source(str(fill(tmp_path / "pets", SPLIT_FILES)))
    assert source.classes == ("bird", "cat", "dog")
    assert read(source)[0] == SPLIT_ROWS


def test_a_class_called_train_stays_a_class(tmp_path: Path) -> None:
    source = open_source(str(fill(tmp_path / "vehicles", {"train/a/1.png": png(), "plane/1.png": png()})))
    assert source.classes == ("plane", "train")


def test_unsorted_test_images_beside_a_sorted_train_folder_are_listed(tmp_path: Path) -> None:
    files = {"train/cat/1.png": png(), "train/dog/1.png": png(), "test/0001.png": png()}
    samples, skipped = read(open_source(str(fill(tmp_path / "kaggle", files))))
    assert [name for _, name, _ in samples] == ["cat", "dog"]
    assert skipped == {"test/0001.png": "not inside a class folder"}


def test_a_lone_split_is_training_data(tmp_path: Path) -> None:
    source = open_source(str(fill(tmp_path / "x", {f"test/{name}": data for name, data in two_classes().items()})))
    assert {split for _, _, split in read(source)[0]} == {"train"}


def test_everything_else_in_a_folder_is_listed_with_a_reason(tmp_path: Path) -> None:
    extra = {".DS_Store": b"x", "cat/Thumbs.db": b"x", "README.txt": b"x", "cat/.hidden.png": png(), "cover.png": png()}
    samples, skipped = read(open_source(str(fill(tmp_path / "pets", two_classes() | extra))))
    assert len(samples) == 3
    assert skipped.pop("cover.png") == "not inside a class folder"
    assert skipped == dict.fromkeys(
        [".DS_Store", "cat/Thumbs.db", "README.txt", "cat/.hidden.png"], "not an image file"
    )


@pytest.mark.parametrize("name", ['<b>bold & "quoted"</b>', "🐈 猫", "x" * 250, "new\nline", "' OR 1=1 --"])
def test_class_names_are_kept_exactly(tmp_path: Path, name: str) -> None:
    name = name.replace("/", "∕")  # a folder cannot have a slash in its name
    source = open_source(str(fill(tmp_path / "odd", {f"{name}/1.png": png(), "~/1.png": png()})))
    assert name in source.classes


def test_the_fingerprint_of_a_folder_follows_its_files(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pets", two_classes())
    first = open_source(str(folder)).fingerprint()
    assert open_source(str(folder)).fingerprint() == first
    (folder / "cat" / "3.png").write_bytes(png())
    second = open_source(str(folder)).fingerprint()
    (folder / "cat" / "3.png").write_bytes(png(BLUE, (9, 9)))
    assert len({first, second, open_source(str(folder)).fingerprint()}) == 3


# Archives


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("wrapping", ["", "my-set/", "./", "outer/inner/"])
def test_archives_read_like_folders(tmp_path: Path, name: str, wrapping: str) -> None:
    files = {wrapping + path: data for path, data in SPLIT_FILES.items()} | {wrapping + "notes.txt": b"x"}
    source = open_source(str((zip_of if name.endswith("zip") else tar_of)(tmp_path / name, files)))
    assert (source.kind, source.classes, source.count) == ("archive", ("bird", "cat", "dog"), 4)
    prefix = wrapping.removeprefix("./")
    samples, skipped = read(source)
    assert sorted(samples) == [(prefix + path, label, split) for path, label, split in SPLIT_ROWS]
    assert skipped == {prefix + "notes.txt": "not an image file"}
    data = {item.path: item.data for item in source.samples() if isinstance(item, RawSample)}
    assert data[prefix + "train/dog/1.png"] == png(BLUE)


def test_a_zip_written_by_old_windows_tools(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat\\1.png", "dog\\1.png"):
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            archive.writestr(info, png())
    assert open_source(str(path)).classes == ("cat", "dog")


# Parquet


def test_parquet_with_struct_images_and_named_classes(tmp_path: Path) -> None:
    images = [{"bytes": png(), "path": "a.png"}, {"bytes": png(), "path": None}, {"bytes": None, "path": "c.png"}, None]
    path = write_parquet(tmp_path / "set.parquet", images, [1, 0, 1, 0], ["cat", "dog"])
    source = open_source(str(path))
    assert (source.kind, source.classes, source.count) == ("parquet", ("cat", "dog"), 4)
    samples, skipped = read(source)
    assert samples == [("a.png", "dog", "train"), ("set.parquet[1]", "cat", "train")]
    assert skipped == dict.fromkeys(["c.png", "set.parquet[3]"], "the row holds no image bytes")


def test_parquet_with_plain_bytes_and_words(tmp_path: Path) -> None:
    table = pa.table({"img": [png(), png()], "category": pa.array(["<dog>", "cat"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "set.parquet")
    source = open_source(str(tmp_path / "set.parquet"))
    assert source.classes == ("<dog>", "cat")
    assert [label for _, label, _ in read(source)[0]] == ["<dog>", "cat"]


def test_the_class_label_of_the_metadata_wins_over_other_columns(tmp_path: Path) -> None:
    table = pa.table({"thumb": [b"x", b"x"], "photo": [png(), png()], "target": [5, 5], "animal": [1, 0]})
    features = {"photo": {"_type": "Image"}, "animal": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "set.parquet")
    source = open_source(str(tmp_path / "set.parquet"))
    assert [(item.data, item.label) for item in source.samples() if isinstance(item, RawSample)] == [
        (png(), 1),
        (png(), 0),
    ]


@pytest.mark.parametrize("below", ["", "data"])
def test_a_folder_of_shards(tmp_path: Path, below: str) -> None:
    folder = tmp_path / "hub" / below
    folder.mkdir(parents=True)
    for shard, label in [("train-00001-of-00002", 1), ("train-00000-of-00002", 0), ("test-0", 1), ("validation", 0)]:
        write_parquet(folder / f"{shard}.parquet", [{"bytes": png(), "path": shard}], [label], ["cat", "dog"])
    source = open_source(str(tmp_path / "hub"))
    assert source.count == 4
    assert read(source)[0] == [
        ("test-0", "dog", "test"),
        ("train-00000-of-00002", "cat", "train"),
        ("train-00001-of-00002", "dog", "train"),
        ("validation", "cat", "val"),
    ]


def test_shards_in_split_folders_and_files_beside_them(tmp_path: Path) -> None:
    hub = fill(tmp_path / "hub", {"README.md": b"x", "test/notes.txt": b"x"})
    (hub / "train").mkdir()
    write_parquet(hub / "train" / "0000.parquet", [png(), png()], [0, 1])
    write_parquet(hub / "test" / "0000.parquet", [png()], [1])
    samples, skipped = read(open_source(str(hub)))
    assert samples == [
        ("test/0000.parquet[0]", "1", "test"),
        ("train/0000.parquet[0]", "0", "train"),
        ("train/0000.parquet[1]", "1", "train"),
    ]
    assert skipped == dict.fromkeys(["README.md", "test/notes.txt"], "not a Parquet file")


def test_a_single_test_file_is_training_data(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "test.parquet", [png(), png()], [0, 1])
    assert {split for _, _, split in read(open_source(str(path)))[0]} == {"train"}


@pytest.mark.real_data
def test_real_clothing_photographs() -> None:
    source = open_source(str(require("clothing/test.parquet")))
    assert source.count == 372
    assert source.classes[:2] == ("dress", "hat")
    samples, skipped = read(source)
    assert len(samples) == 372
    assert not skipped
    # The path in the file names the class, so it proves that labels and names belong together.
    assert all(path.split("/")[1] == label for path, label, _ in samples)


@pytest.mark.real_data
def test_real_cifar10_shards() -> None:
    source = open_source(str(require("cifar10")))
    assert source.count == 60_000
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    assert source.classes == tuple(names.split())
    first = next(iter(source.samples()))
    assert isinstance(first, RawSample)
    assert (first.path, first.label, first.split) == ("test/truck/0770.jpg", 9, "test")


# Tables


def test_csv_with_splits(tmp_path: Path) -> None:
    fill(tmp_path, {"img/a.png": png(), "img/b.png": png(), "c, d.png": png()})
    (tmp_path / "m.csv").write_text('path,label,split\nimg/a.png,cat,train\nimg/b.png,dog,valid\n"c, d.png",cat,TEST\n')
    source = open_source(str(tmp_path / "m.csv"))
    assert (source.kind, source.classes, source.count) == ("table", ("cat", "dog"), 3)
    assert read(source)[0] == [("img/a.png", "cat", "train"), ("img/b.png", "dog", "val"), ("c, d.png", "cat", "test")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.tsv", "Label\tFilename\n10\ta.png\n2\tb.png\n"),
        ("m.csv", "\ufefffile;class\r\na.png;10\r\nb.png;2.0\r\n\r\n"),
    ],
)
def test_other_headers_and_separators_and_numbers_sorted_by_size(tmp_path: Path, name: str, text: str) -> None:
    fill(tmp_path, {"a.png": png(), "b.png": png()})
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    source = open_source(str(tmp_path / name))
    assert source.classes == ("2", "10")
    assert [label for _, label, _ in read(source)[0]] == ["10", "2"]


def test_the_fingerprint_of_a_table_follows_the_files_it_names(tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": png(), "b.png": png(), "m.csv": b"path,label\na.png,0\nb.png,1\n"})
    first = open_source(str(tmp_path / "m.csv")).fingerprint()
    assert open_source(str(tmp_path / "m.csv")).fingerprint() == first
    (tmp_path / "b.png").write_bytes(png(BLUE, (3, 3)))
    assert open_source(str(tmp_path / "m.csv")).fingerprint() != first


# Arrays


def gradient(count: int) -> np.ndarray:
    """uint8 [count, 4, 6, 3], every value different from its neighbours'."""
    return np.arange(count * 72, dtype=np.uint8).reshape(count, 4, 6, 3)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_npz_layouts(tmp_path: Path, layout: str, order: str) -> None:
    images = gradient(3)
    stored = images if layout == "NHWC" else images.transpose(0, 3, 1, 2)
    np.savez_compressed(tmp_path / "s.npz", images=stored.copy(order=order), labels=np.array([2, 0, 2]))
    source = open_source(str(tmp_path / "s.npz"))
    assert (source.kind, source.classes, source.count) == ("arrays", ("0", "2"), 3)
    samples = [item for item in source.samples() if isinstance(item, RawSample)]
    np.testing.assert_array_equal(np.stack([np.asarray(sample.data) for sample in samples]), images)
    assert [(s.path, s.label) for s in samples] == [("images[0]", 1), ("images[1]", 0), ("images[2]", 1)]


def test_npz_grey_with_test_part_and_column_labels(tmp_path: Path) -> None:
    arrays = {
        "X_train": grey(7, (2, 8, 8)),
        "y_train": np.array([[0], [1]]),
        "x_test": grey(9, (1, 8, 8)),
        "y_test": [1],
    }
    np.savez(tmp_path / "s.npz", **arrays, class_names=np.array(["cat", "dog"]))
    source = open_source(str(tmp_path / "s.npz"))
    assert read(source)[0] == [
        ("X_train[0]", "cat", "train"),
        ("X_train[1]", "dog", "train"),
        ("x_test[0]", "dog", "test"),
    ]


def test_npz_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = gradient(5)
    np.savez(tmp_path / "s.npz", x=images, y=np.arange(5))
    monkeypatch.setattr("mspc_core.data.arrays.BLOCK_BYTES", 150)  # two images
    data = [item.data for item in open_source(str(tmp_path / "s.npz")).samples() if isinstance(item, RawSample)]
    np.testing.assert_array_equal(np.stack(data), images)


# torchvision


class FakeSet:
    """Stands in for torchvision.datasets.CIFAR10 and writes what a download would."""

    downloads = 0
    fails = False
    classes = ("cat", "dog")

    def __init__(self, root: str, train: bool = True, transform: object = None, download: bool = False) -> None:
        part = Path(root) / f"part-{train}"
        if download and not part.exists():
            if FakeSet.fails and not train:
                raise RuntimeError("<urlopen error [Errno -3] Temporary failure in name resolution>")
            FakeSet.downloads += 1
            part.write_bytes(b"data")
        if not part.exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.train = train

    def __len__(self) -> int:
        return 2 if self.train else 1

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB" if self.train else "L", (32, 32), RED if self.train else 9), index


@pytest.fixture
def fake_cifar(monkeypatch: pytest.MonkeyPatch) -> type[FakeSet]:
    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeSet)
    monkeypatch.setattr(FakeSet, "downloads", 0)
    monkeypatch.setattr(FakeSet, "fails", False)
    return FakeSet


def test_torchvision_by_name_downloads_once(fake_cifar: type[FakeSet]) -> None:
    source = open_source("CIFAR-10")
    assert (source.kind, source.location) == ("torchvision", "cifar10")
    source.fingerprint()
    assert fake_cifar.downloads == 0
    assert (source.classes, source.count) == (("cat", "dog"), 3)
    assert read(source)[0] == [
        ("train/000000", "cat", "train"),
        ("train/000001", "dog", "train"),
        ("test/000000", "cat", "test"),
    ]
    assert read(open_source("cifar10"))[0]
    assert fake_cifar.downloads == 2


def test_a_failed_download_is_explained_and_leaves_nothing(fake_cifar: type[FakeSet]) -> None:
    fake_cifar.fails = True
    with pytest.raises(InputError, match=r"'cifar10' .*name resolution.*network") as caught:
        _ = open_source("cifar10").classes
    assert "\n" not in str(caught.value)
    assert list((home.home() / "torchvision").iterdir()) == []


def test_every_named_set_exists_in_torchvision_and_takes_the_arguments_given() -> None:
    import inspect

    from torchvision import datasets

    for entry in torchvision_sets._SETS.values():
        kind = getattr(datasets, entry.name)
        for _, arguments in entry.parts:
            inspect.signature(kind).bind("root", **entry.options, **arguments, download=False)


# Names and labels


def test_unknown_names_get_suggestions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'cifar10'"):
        open_source("cifar1O")
    fill(tmp_path / "my_photos", {})
    with pytest.raises(InputError, match="Did you mean 'my_photos'"):
        open_source(str(tmp_path / "my_fotos"))
    with pytest.raises(InputError, match="no file, folder, stored data set or torchvision data set 'qqqqqq'"):
        open_source("qqqqqq")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://example.org/cifar.zip", "an address: nothing is downloaded"),
        ("'/data/pictures'", "leave out the quotation marks"),
        ('"/data/pictures"', "leave out the quotation marks"),
    ],
)
def test_what_people_paste_gets_its_own_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_source(text)


def test_split_names() -> None:
    found = [split_of(name) for name in ("Train", "VALID", "validation", "val", "test", "class", "")]
    assert found == ["train", "val", "val", "val", "test", None, None]


def test_labels_without_names() -> None:
    labels = Labels.found([3, "-1", 10, None, float("nan"), 2.0])
    assert labels.classes == ("2", "3", "10")
    assert [labels.place("p", value) for value in (2, "3", 10.0, np.int64(2))] == [0, 1, 2, 0]
    assert labels.place("p", None) == Skipped("p", "it has no label")
    assert labels.place("p", float("nan")) == Skipped("p", "it has no label")
    assert labels.place("p", 2.5) == Skipped("p", "label 2.5 is not a class number")
    assert labels.place("p", -1) == Skipped("p", "label -1 is outside the 3 classes")


def test_words_that_look_like_padded_numbers_are_names() -> None:
    assert Labels.found(["007", "08", "10"]).classes == ("007", "08", "10")
    assert Labels.found(["None", "null", ""]).classes == ("None", "null")


def test_named_labels_may_be_numbers_or_names() -> None:
    labels = Labels.named(["cat", "dog"])
    assert [labels.place("p", value) for value in (1, "cat", b"dog")] == [1, 0, 1]
    assert labels.place("p", 2) == Skipped("p", "label 2 is outside the 2 classes")
    assert labels.place("p", "bird") == Skipped("p", "label 'bird' is outside the 2 classes")
