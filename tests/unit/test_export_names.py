"""Names that come from data are never trusted, and what they become is read back as the same set."""

from __future__ import annotations

import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mspc_core.data.importing import import_source
from mspc_core.data.store import Dataset
from mspc_core.data.writer import DatasetWriter
from mspc_core.export.hf import harmless
from mspc_core.export.names import class_folders, reads_back, safe_part, suffix_of, tree_names, with_suffix
from tests.unit.exporting import SIZE, files_of, make_run, picture, run_export, scanned

NASTY = st.text(max_size=40) | st.sampled_from(["..", ".", "", "/", "a/../..", "CON", "con.png", "a" * 400, " ", "-rf"])


@given(NASTY)
def test_any_text_becomes_one_harmless_name(text: str) -> None:
    name = safe_part(text)
    assert name
    assert name not in (".", "..")
    assert not set(name) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(character)[0] == "C" for character in name)
    assert not name.startswith((".", " "))
    assert not name.endswith((".", " "))
    assert len(name.encode()) <= 200
    assert safe_part(name) == name


@pytest.mark.parametrize("name", ["cat", "0001.png", "a b.jpg", "été.png", "x[3].png", "-rf.png", "=1+1.png", "a.b.c"])
def test_harmless_names_stay(name: str) -> None:
    assert safe_part(name) == name


@pytest.mark.parametrize("name", ["CON", "nul.png", "Com1.jpg", "__MACOSX"])
def test_names_that_mean_something_to_a_system(name: str) -> None:
    assert safe_part(name) == f"_{name}"


@given(st.lists(NASTY, min_size=2, max_size=6))
def test_every_class_has_its_own_folder(classes: list[str]) -> None:
    folders = class_folders(classes)
    assert len({unicodedata.normalize("NFC", folder).casefold() for folder in folders}) == len(classes)


def stored(paths: list[str], labels: list[int], classes: tuple[str, ...], kind: str = "parquet") -> Dataset:
    with DatasetWriter("odd", size=SIZE, classes=classes, kind=kind, source="odd") as writer:
        for number, (path, label) in enumerate(zip(paths, labels, strict=True)):
            image = np.full((SIZE, SIZE, 3), number, np.uint8)
            writer.add(image, identity=f"{number:016x}", path=path, label=label)
        return writer.commit(source_key=str(paths))


def test_paths_that_lead_out_stay_inside(home: Path, tmp_path: Path) -> None:
    paths = ["../../../evil.png", "/etc/passwd", "C:\\windows\\x.png", "a/\x1b[2J.png", "..", "", "a\0b", "\u202egnp.a"]
    dataset = stored(paths, [0, 1] * 4, ("../up", "/"), kind="lab")
    run = make_run(dataset)
    for format in ("folder", "hf", "fiftyone"):
        run_export(run, format, tmp_path / format)
    run_export(run, "zip", tmp_path / "out.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"home", "folder", "hf", "fiftyone", "out.zip"}
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        names = archive.namelist()
    assert set(names) == set(files_of(tmp_path / "folder"))
    assert not [name for name in names if name.startswith("/") or ".." in name.split("/") or "\\" in name]
    again = import_source(str(tmp_path / "folder"), size=SIZE).dataset
    want = {dataset.pixels[row].tobytes(): label for row, label in enumerate(dataset.manifest["label"])}
    read = {again.pixels[row].tobytes(): label for row, label in enumerate(again.manifest["label"])}
    assert len(read) == 8
    assert {(want[key], label) for key, label in read.items()} in ({(0, 0), (1, 1)}, {(0, 1), (1, 0)})


def test_equal_names_and_names_that_differ_in_case(home: Path) -> None:
    dataset = stored(["x/a.png", "y/a.png", "x/A.PNG", "z/a.jpg", "b"], [0] * 5, ("cat", "dog"))
    names = tree_names(dataset, np.arange(5), png=False)
    assert names[0] == "cat/a.png"
    assert len({name.casefold().rpartition(".")[0] or name for name in names}) == 5


def test_classes_that_differ_in_case(home: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
        for number, name in enumerate(("Cat/a.png", "cat/b.png", "Cat/c.png")):
            archive.writestr(name, picture(number))
    _, run = scanned(tmp_path / "source.zip")
    run_export(run, "folder", tmp_path / "out")
    folders = [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len({folder.casefold() for folder in folders}) == 2
    again = import_source(str(tmp_path / "out"), size=SIZE).dataset
    assert sorted(again.manifest["label"]) in ([0, 0, 1], [0, 1, 1])


def test_a_file_and_a_folder_of_the_same_name(home: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
        for number, name in enumerate(("cat/a.png", "cat/a.png/b.png", "dog/c.png")):
            archive.writestr(name, picture(number))
    _, run = scanned(tmp_path / "source.zip")
    assert run_export(run, "folder", tmp_path / "out").samples == 3
    assert import_source(str(tmp_path / "out"), size=SIZE).dataset.info.count == 3


@pytest.mark.parametrize("classes", [("train", "test"), ("train", "car"), ("val", "test"), ("manifest.csv", "data")])
def test_classes_that_are_called_like_splits_or_our_own_files(
    home: Path, tmp_path: Path, classes: tuple[str, ...]
) -> None:
    dataset = stored([f"{n}.png" for n in range(6)], [0, 1] * 3, classes, kind="lab")
    run_export(make_run(dataset), "folder", tmp_path / "out")
    again = import_source(str(tmp_path / "out"), size=SIZE).dataset
    assert set(again.manifest["split"]) == {"train"}
    groups = {frozenset(again.manifest.loc[again.manifest["label"] == n, "path"].str[-5:]) for n in (0, 1)}
    assert groups == {frozenset(("0.png", "2.png", "4.png")), frozenset(("1.png", "3.png", "5.png"))}


def test_a_layout_that_would_be_read_otherwise_is_not_used(home: Path, tmp_path: Path) -> None:
    """With class b gone, a/x and a/y would look like the classes x and y in a wrapping folder."""
    from tests.unit.exporting import write_tree

    files = {"a/x/1.png": picture(1), "a/y/2.png": picture(2), "b/3.png": picture(3), "c/4.png": picture(4)}
    _, run = scanned(write_tree(tmp_path / "source", files), ("b/3.png", "c/4.png"))
    result = run_export(run, "folder", tmp_path / "out")
    names = set(files_of(tmp_path / "out")) - {"manifest.csv", "export.json", "checksums.sha256"}
    assert names == {"a/1.png", "a/2.png"}
    assert result.samples == 2


def test_reads_back_by_hand() -> None:
    assert reads_back(["a/1.png", "b/1.png"], [5, 3], ["train", "train"])
    assert not reads_back(["a/1.png", "a/2.png"], [0, 1], ["train", "train"])
    assert not reads_back(["a/1.png", "b/1.png"], [0, 0], ["train", "train"])
    assert not reads_back(["train/1.png", "test/1.png", "train/x/1.png"], [0, 1, 0], ["train"] * 3)
    assert not reads_back(["1.png"], [0], ["train"])


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        *(("PNG", ".png"), ("JPEG", ".jpg"), ("GIF", ".gif"), ("BMP", ".bmp"), ("TIFF", ".tif")),
        *(("WEBP", ".webp"), ("AVIF", ".avif"), ("JPEG2000", ".jp2"), ("PPM", ".ppm")),
    ],
)
def test_a_suffix_from_the_content(kind: str, suffix: str) -> None:
    assert suffix_of(picture(0, kind)) == suffix
    assert with_suffix("a.b", picture(0, kind)) == f"a.b{suffix}"
    assert with_suffix("a.JPG", picture(0, kind)) == "a.JPG"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("cat/1.png", "cat/1.png"),
        ("train-0.parquet[3]", "train-0.parquet[3]"),
        ("../x.png", "x.png"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\x\\y.png", "C_/x/y.png"),
        ("a/../../b", "a/b"),
        ("", "_"),
        ("..", "_"),
        ("a\nb.png", "a_b.png"),
    ],
)
def test_paths_inside_parquet(path: str, expected: str) -> None:
    assert harmless(path) == expected
