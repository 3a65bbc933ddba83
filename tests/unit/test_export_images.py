"""Cleaned copies: the kept files byte by byte, and read back as the same set."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mspc_core.data.importing import import_source
from mspc_core.data.store import Dataset, sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError
from mspc_core.export import hf
from mspc_core.reviews import ReviewStore
from tests.unit.exporting import (
    SIZE,
    cats_and_dogs,
    files_of,
    leftovers,
    make_run,
    picture,
    run_export,
    scanned,
    write_tree,
)

SUSPECTS = ("cat/1.jpg", "dog/4.png")
BESIDE = {"checksums.sha256", "manifest.csv", "export.json"}


def samples(dataset: Dataset) -> set[tuple[str, str, str]]:
    """(sample id, class, split) of a stored set: what must survive the way out and back in."""
    table = dataset.manifest
    names = [dataset.info.classes[number] for number in table["label"]]
    return set(zip(table["sample_id"], names, table["split"], strict=True))


def kept(dataset: Dataset, suspects: tuple[str, ...]) -> set[tuple[str, str, str]]:
    gone = set(dataset.manifest.loc[dataset.manifest["path"].isin(suspects), "sample_id"])
    return {sample for sample in samples(dataset) if sample[0] not in gone}


def test_a_clean_folder_is_the_source_without_the_suspects(home: Path, tmp_path: Path) -> None:
    source = cats_and_dogs(tmp_path / "source")
    before = files_of(source)
    dataset, run = scanned(source, SUSPECTS)
    result = run_export(run, "folder", tmp_path / "clean")
    written = files_of(tmp_path / "clean")
    assert {name: written[name] for name in written if name not in BESIDE} == {
        name: content for name, content in before.items() if name not in SUSPECTS
    }
    assert files_of(source) == before
    assert (result.samples, result.dropped, result.linked, result.byte_identical) == (10, 2, 0, True)
    assert result.sha256 == hashlib.sha256(written["checksums.sha256"]).hexdigest()
    assert not leftovers(tmp_path)
    again = import_source(str(tmp_path / "clean"), size=SIZE).dataset
    assert samples(again) == kept(dataset, SUSPECTS)


def test_checksums_are_what_sha256sum_checks(home: Path, tmp_path: Path) -> None:
    _, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    run_export(run, "folder", tmp_path / "clean")
    check = ["sha256sum", "--check", "--strict", "--quiet", "checksums.sha256"]
    assert subprocess.run(check, cwd=tmp_path / "clean", capture_output=True, check=False).returncode == 0
    (tmp_path / "clean" / "cat" / "0.jpg").write_bytes(b"other")
    assert subprocess.run(check, cwd=tmp_path / "clean", capture_output=True, check=False).returncode == 1


def test_torchvision_reads_the_folder(home: Path, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    _, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    run_export(run, "folder", tmp_path / "clean")
    assert len(ImageFolder(str(tmp_path / "clean"))) == 10


def test_splits_that_were_not_scanned_are_part_of_a_clean_copy(home: Path, tmp_path: Path) -> None:
    dataset, run = scanned(cats_and_dogs(tmp_path / "source", split=True), ("train/cat/1.jpg",))
    assert run_export(run, "folder", tmp_path / "clean").samples == 15
    again = import_source(str(tmp_path / "clean"), size=SIZE).dataset
    assert samples(again) == kept(dataset, ("train/cat/1.jpg",))
    assert run_export(run, "folder", tmp_path / "scanned", scanned_only=True).samples == 11
    assert run_export(run, "folder", tmp_path / "flagged", keep="flagged").samples == 1
    assert set(files_of(tmp_path / "flagged")) == BESIDE | {"train/cat/1.jpg"}


def test_people_have_the_last_word(home: Path, tmp_path: Path) -> None:
    dataset, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    ids = dict(zip(dataset.manifest["path"], dataset.manifest["sample_id"], strict=True))
    ReviewStore().decide(run.id, [ids["cat/1.jpg"]], "keep")
    ReviewStore().decide(run.id, [ids["cat/2.jpg"]], "remove")
    run_export(run, "folder", tmp_path / "clean")
    names = set(files_of(tmp_path / "clean"))
    assert "cat/1.jpg" in names
    assert not {"cat/2.jpg", "dog/4.png"} & names


@pytest.mark.parametrize("split", [False, True])
def test_a_zip_holds_the_same_and_is_read_back(home: Path, tmp_path: Path, split: bool) -> None:
    suspects = ("train/cat/1.jpg",) if split else SUSPECTS
    dataset, run = scanned(cats_and_dogs(tmp_path / "source", split=split), suspects)
    result = run_export(run, "zip", tmp_path / "clean.zip")
    assert result.sha256 == hashlib.sha256((tmp_path / "clean.zip").read_bytes()).hexdigest()
    with zipfile.ZipFile(tmp_path / "clean.zip") as archive:
        assert archive.testzip() is None
        lines = archive.read("checksums.sha256").decode().splitlines()
        for line in lines:
            digest, name = line.split("  ", 1)
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest
        assert len(lines) == result.samples + 2
    assert samples(import_source(str(tmp_path / "clean.zip"), size=SIZE).dataset) == kept(dataset, suspects)


def test_hugging_face_parquet_is_read_back_with_the_same_ids(home: Path, tmp_path: Path) -> None:
    dataset, run = scanned(cats_and_dogs(tmp_path / "source", split=True), ("train/dog/0.png",))
    run_export(run, "hf", tmp_path / "hub")
    again = import_source(str(tmp_path / "hub"), size=SIZE).dataset
    assert samples(again) == kept(dataset, ("train/dog/0.png",))
    assert again.info.classes == dataset.info.classes
    shard = tmp_path / "hub" / "data" / "train-00000-of-00001.parquet"
    schema = pq.read_schema(shard)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features == {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    }
    assert [str(field.type) for field in schema] == ["struct<bytes: binary, path: string>", "int64"]
    names = {line.split("  ")[1] for line in (tmp_path / "hub" / "checksums.sha256").read_text().splitlines()}
    assert "data/train-00000-of-00001.parquet" in names


def test_shards_are_numbered_over_all(home: Path, tmp_path: Path) -> None:
    dataset, _ = scanned(cats_and_dogs(tmp_path / "source"))
    (tmp_path / "hub").mkdir()
    writer = hf.HubWriter(tmp_path / "hub", dataset, shard_bytes=1)
    for number in range(3):
        writer.add("train", b"abc", f"{number}.png", 0)
    assert writer.finish() == [f"data/train-{number:05d}-of-00003.parquet" for number in range(3)]


def test_fiftyone_layout_as_documented(home: Path, tmp_path: Path) -> None:
    """data/<name>.<ext> and labels.json with classes and, for each name, the index of its class."""
    dataset, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    run_export(run, "fiftyone", tmp_path / "fo")
    found = json.loads((tmp_path / "fo" / "labels.json").read_text())
    assert set(found) == {"classes", "labels"}
    files = {path.stem: path for path in (tmp_path / "fo" / "data").iterdir()}
    assert files.keys() == found["labels"].keys()
    read = {
        (sample_id(path, files[identity].read_bytes()), found["classes"][number], "train")
        for identity, number in found["labels"].items()
        for path in dataset.manifest.loc[dataset.manifest["sample_id"] == identity, "path"]
    }
    assert read == kept(dataset, SUSPECTS)


def test_fiftyone_has_a_folder_for_each_split(home: Path, tmp_path: Path) -> None:
    _, run = scanned(cats_and_dogs(tmp_path / "source", split=True))
    run_export(run, "fiftyone", tmp_path / "fo")
    for part, count in (("train", 12), ("test", 4)):
        assert len(json.loads((tmp_path / "fo" / part / "labels.json").read_text())["labels"]) == count
        assert len(list((tmp_path / "fo" / part / "data").iterdir())) == count


@pytest.mark.parametrize("format", ["folder", "zip", "hf", "fiftyone"])
@pytest.mark.parametrize("kind", ["zip", "tar", "parquet", "table"])
def test_every_kind_of_source_gives_its_own_bytes(home: Path, tmp_path: Path, kind: str, format: str) -> None:
    tree = cats_and_dogs(tmp_path / "tree")
    original = {hashlib.sha256(content).hexdigest(): name for name, content in files_of(tree).items()}
    source = _packed(tree, kind, tmp_path)
    dataset, _ = scanned(source)
    cats = dataset.manifest[dataset.manifest["label"] == dataset.info.classes.index("cat")]
    run = make_run(dataset, [str(cats["path"].iloc[0])])
    out = tmp_path / ("out.zip" if format == "zip" else "out")
    result = run_export(run, format, out)
    assert (result.samples, result.byte_identical) == (11, True)
    rows = _manifest_of(out)
    assert len({row["sha256"] for row in rows}) == 11
    assert {row["sha256"] for row in rows} <= original.keys()
    if format != "fiftyone":
        again = import_source(str(out), size=SIZE).dataset
        assert again.info.count == 11
        names = [again.info.classes[number] for number in again.manifest["label"]]
        assert sorted(names) == ["cat"] * 5 + ["dog"] * 6


def _packed(tree: Path, kind: str, place: Path) -> Path:
    import shutil

    if kind in ("zip", "tar"):
        return Path(shutil.make_archive(str(place / "packed"), "zip" if kind == "zip" else "tar", tree))
    if kind == "table":
        lines = [f"{name},{name.split('/')[0]}" for name in sorted(files_of(tree))]
        (tree / "list.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
        return tree / "list.csv"
    import pyarrow as pa

    files = sorted(files_of(tree).items())
    table = pa.table(
        {
            "image": pa.array([{"bytes": content, "path": None} for _, content in files], hf.hub_schema(())[0].type),
            "label": pa.array([name.split("/")[0] for name, _ in files]),
        }
    )
    pq.write_table(table, place / "packed.parquet")
    return place / "packed.parquet"


def _manifest_of(out: Path) -> list[dict[str, str]]:
    import csv
    import io

    if out.suffix == ".zip":
        with zipfile.ZipFile(out) as archive:
            text = archive.read("manifest.csv").decode()
    else:
        text = (out / "manifest.csv").read_text()
    return list(csv.DictReader(io.StringIO(text)))


def test_data_without_files_becomes_lossless_png_and_says_so(home: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8)
    with DatasetWriter("lab", size=SIZE, classes=("b c", "a"), kind="lab", source="origin") as writer:
        for number in range(12):
            path = f"train/{number:06d}"
            writer.add(pixels[number], identity=f"{number:016x}", path=path, label=number % 2)
        dataset = writer.commit(source_key="x")
    run = make_run(dataset, ["train/000003"])
    result = run_export(run, "folder", tmp_path / "clean")
    assert result.byte_identical is False
    assert any("became PNG" in warning for warning in result.warnings)
    again = import_source(str(tmp_path / "clean"), size=SIZE).dataset
    want = {pixels[n].tobytes(): ("b c", "a")[n % 2] for n in range(12) if n != 3}
    read = {again.pixels[row].tobytes(): again.info.classes[label] for row, label in enumerate(again.manifest["label"])}
    assert read == want


def test_stored_pixels_instead_of_a_lost_source(home: Path, tmp_path: Path) -> None:
    source = cats_and_dogs(tmp_path / "source")
    dataset, run = scanned(source, SUSPECTS)
    source.rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"is not at .* any more: bring it back, or export the stored pixels"):
        run_export(run, "folder", tmp_path / "clean")
    result = run_export(run, "folder", tmp_path / "clean", pixels="stored")
    assert (result.samples, result.byte_identical) == (10, False)
    assert "cat/0.png" in files_of(tmp_path / "clean")
    again = import_source(str(tmp_path / "clean"), size=SIZE).dataset
    stored = {pixels.tobytes() for pixels in dataset.pixels}
    assert {pixels.tobytes() for pixels in again.pixels} <= stored


def test_hard_links_are_the_same_files(home: Path, tmp_path: Path) -> None:
    source = cats_and_dogs(tmp_path / "source")
    _, run = scanned(source, SUSPECTS)
    result = run_export(run, "folder", tmp_path / "clean", link=True)
    assert result.linked == 10
    assert any("Hard links" in warning for warning in result.warnings)
    assert os.path.samefile(source / "cat/0.jpg", tmp_path / "clean/cat/0.jpg")


def test_links_that_cannot_be_made_become_copies(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another device, a file system without hard links."""
    source = cats_and_dogs(tmp_path / "source")
    _, run = scanned(source, SUSPECTS)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    result = run_export(run, "folder", tmp_path / "clean", link=True)
    assert result.linked == 0
    assert any("copied" in warning for warning in result.warnings)
    assert (tmp_path / "clean/cat/0.jpg").read_bytes() == (source / "cat/0.jpg").read_bytes()


def test_exact_duplicates_in_an_archive_stay_two(home: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("cat/a.png", picture(1))
        archive.writestr("dog/b.png", picture(2))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("cat/a.png", picture(1))
    dataset, run = scanned(tmp_path / "twice.zip")
    assert dataset.info.count == 3
    assert run_export(run, "folder", tmp_path / "out").samples == 3
    assert len([name for name in files_of(tmp_path / "out") if name.startswith("cat/")]) == 2


def test_names_that_are_not_utf_8(home: Path, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"cat/a.png": picture(1), "dog/b.png": picture(2)})
    with open(os.fsencode(source / "cat") + b"/\xff\xfe.png", "wb") as handle:
        handle.write(picture(3))
    dataset, run = scanned(source)
    assert dataset.info.count == 3
    result = run_export(run, "folder", tmp_path / "out")
    assert (result.samples, result.left_out) == (3, [])
