"""Bad input ends in one clear sentence or in the list of skipped files, and never leaves anything behind."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mspc_core import home
from mspc_core.data import archive, importing, writer
from mspc_core.data.importing import import_source
from mspc_core.data.source import open_source
from mspc_core.errors import InputError

from .pictures import BLUE, RED, encoded, fill, png, read, two_classes, write_parquet


def refused(source: Path | str, **options: object) -> str:
    """The one sentence with which an import is refused; afterwards nothing may be stored, not even temporarily."""
    with pytest.raises(InputError) as caught:
        import_source(str(source), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    assert list(home.datasets_folder().iterdir()) == []
    return message


def skipped(source: Path | str) -> dict[str, str]:
    """What an import that succeeds leaves out: {path: reason}."""
    dataset = import_source(str(source)).dataset
    assert [path.name for path in home.datasets_folder().iterdir()] == [dataset.info.name]
    return dict(dataset.skipped().to_numpy().tolist())


def huge_png(side: int) -> bytes:
    """A valid PNG of side × side black pixels in a few hundred kilobytes."""

    def block(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", packed) + block(b"IEND", b"")


# Whole sources


def test_nothing_there(tmp_path: Path) -> None:
    assert "no file, folder" in refused(tmp_path / "absent")
    assert "no file, folder" in refused(tmp_path / ("x" * 200))
    assert "No source was given" in refused("   ")
    assert "No source was given" in refused("a\0b")
    assert "no file, folder" in refused("x" * 5000)


def test_not_a_data_set(tmp_path: Path) -> None:
    fill(tmp_path, {"photo.png": png(), "set.csv/x": b""})
    assert "not a kind of file" in refused(tmp_path / "photo.png")
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refused(tmp_path / "pipe")


def test_folders_without_usable_images(tmp_path: Path) -> None:
    assert "is empty" in refused(fill(tmp_path / "empty", {}))
    assert "no image in it" in refused(fill(tmp_path / "texts", {"cat/a.txt": b"x", "dog/b.txt": b"x"}))
    assert "one sub-folder a class" in refused(fill(tmp_path / "flat", {"1.png": png(), "2.png": png()}))
    message = refused(fill(tmp_path / "one", {"cat/1.png": png(), "cat/2.png": png()}))
    assert "only one class, 'cat'" in message
    assert "at least two" in message


def test_too_few_readable_images(tmp_path: Path) -> None:
    one = {"cat/1.png": png(), "dog/1.png": b"broken"}
    assert "Only one image" in refused(fill(tmp_path / "one", one))
    message = refused(fill(tmp_path / "none", {"cat/1.png": b"text", "dog/1.png": b"text"}))
    assert message.startswith("No image in 'none' could be read (2 skipped: not an image in a supported format)")
    left = {"cat/1.png": png(), "cat/2.png": png(), "dog/1.png": b"broken"}
    assert "of one class, 'cat'" in refused(fill(tmp_path / "left", left))


def test_one_folder_an_image_is_not_a_set_of_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_CLASSES", 4)
    files = {f"{number}/image.png": png() for number in range(5)}
    assert "5 different labels" in refused(fill(tmp_path / "set", files))


# Single files


def test_unreadable_images_are_listed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    from PIL import Image

    jpeg = encoded(Image.fromarray(noise), "JPEG")
    files = {"cat/text.png": b"hello", "cat/cut.jpg": jpeg[: len(jpeg) // 2], "dog/empty.png": b"", "dog/ok.jpg": jpeg}
    assert skipped(fill(tmp_path / "set", two_classes() | files)) == {
        "cat/text.png": "not an image in a supported format",
        "cat/cut.jpg": "damaged or incomplete JPEG file",
        "dog/empty.png": "the file is empty",
    }


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    bomb = huge_png(20_000)
    assert len(bomb) < 2**20
    found = skipped(fill(tmp_path / "set", two_classes() | {"dog/bomb.png": bomb}))
    assert found == {"dog/bomb.png": "more pixels than the limit of 64,000,000 an image"}


def test_files_over_the_byte_limit_are_not_read(tmp_path: Path) -> None:
    folder = fill(tmp_path / "set", two_classes())
    with (folder / "dog" / "big.png").open("wb") as handle:
        handle.truncate(65 * 2**20)  # a sparse file: takes no space
    assert skipped(folder) == {"dog/big.png": "larger than the limit of 64 MiB a file"}


def test_links_are_followed_only_inside_the_folder(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", {"secret.png": png(), "more/1.png": png()})
    folder = fill(tmp_path / "set", two_classes())
    (folder / "dog" / "inside.png").symlink_to("../cat/1.png")
    (folder / "dog" / "leak.png").symlink_to(outside / "secret.png")
    (folder / "leak").symlink_to(outside)
    (folder / "dog" / "dangling.png").symlink_to("nowhere.png")
    (folder / "dog" / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "dog" / "pipe.png")
    found = skipped(folder)
    assert found == {
        "dog/leak.png": "a symbolic link that leads out of the folder",
        "leak": "a symbolic link that leads out of the folder",
        "dog/dangling.png": "a symbolic link that leads to no file",
        "dog/loop.png": "a symbolic link that leads to no file",
        "dog/pipe.png": "not a regular file",
    }
    assert import_source(str(folder)).dataset.info.count == 4


def test_a_file_swapped_for_a_link_after_listing_is_not_followed(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", {"secret.png": png()})
    folder = fill(tmp_path / "set", two_classes())
    source = open_source(str(folder))
    (folder / "dog" / "1.png").unlink()
    (folder / "dog" / "1.png").symlink_to(outside / "secret.png")
    samples, found = read(source)
    assert [path for path, _, _ in samples] == ["cat/1.png", "cat/2.png"]
    assert list(found) == ["dog/1.png"]


def test_missing_permissions(tmp_path: Path) -> None:
    folder = fill(tmp_path / "set", two_classes() | {"bird/1.png": png()})
    (folder / "cat" / "1.png").chmod(0)
    (folder / "bird").chmod(0)
    if os.access(folder / "bird", os.R_OK):
        pytest.skip("this user, such as root, may read everything")
    try:
        assert skipped(folder) == {
            "cat/1.png": "no permission to read the file",
            "bird": "no permission to read this folder",
        }
    finally:
        (folder / "bird").chmod(0o755)


def test_permission_errors_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "set", two_classes())
    real = os.open

    def guarded(path: object, *rest: int, **named: int) -> int:
        if str(path).endswith("cat/2.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", guarded)
    assert skipped(folder) == {"cat/2.png": "no permission to read the file"}


def test_an_unreadable_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "set", two_classes())

    def denied(path: str) -> Iterator[os.DirEntry[str]]:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(InputError, match="No permission"):
        open_source(str(folder))


def test_file_names_that_are_not_utf_8(tmp_path: Path) -> None:
    folder = fill(tmp_path / "set", two_classes())
    os.mkdir(os.fsencode(folder) + b"/caf\xe9")
    for name in (b"/caf\xe9/1.png", b"/dog/\xff.txt"):
        with open(os.fsencode(folder) + name, "wb") as handle:
            handle.write(png())
    dataset = import_source(str(folder)).dataset
    assert dataset.info.classes == ("caf\\xe9", "cat", "dog")
    assert "caf\\xe9/1.png" in set(dataset.manifest["path"])
    assert dataset.skipped()["path"].tolist() == ["dog/\\xff.txt"]


# Archives


def test_zip_members_that_lead_out_are_listed_and_nothing_is_extracted(tmp_path: Path) -> None:
    path = tmp_path / "a" / "set.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in two_classes().items():
            packed.writestr(name, data)
        for name in ("../evil.png", "cat/../../evil.png", "/etc/evil.png", "C:/evil.png", "..\\evil.png"):
            packed.writestr(name, png())
        link = zipfile.ZipInfo("dog/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    before = sorted(tmp_path.rglob("*"))
    out = "a path that leads out of the archive"
    assert skipped(path) == {
        "../evil.png": out,
        "cat/../../evil.png": out,
        "/etc/evil.png": "an absolute path",
        "C:/evil.png": "an absolute path",
        "dog/link.png": "a symbolic link",
    }  # ..\\evil.png is ../evil.png as well
    assert sorted(p for p in tmp_path.rglob("*") if home.home() not in (p, *p.parents)) == before


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_tar_members_that_are_not_plain_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"set.{suffix}"
    with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as packed:
        for name, data in (two_classes() | {"../evil.png": png(), "/abs.png": png()}).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
        for name, kind in [
            ("dog/sym.png", tarfile.SYMTYPE),
            ("dog/hard.png", tarfile.LNKTYPE),
            ("dog/null.png", tarfile.CHRTYPE),
            ("dog/fifo.png", tarfile.FIFOTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            packed.addfile(info)
    assert skipped(path) == {
        "../evil.png": "a path that leads out of the archive",
        "/abs.png": "an absolute path",
        "dog/sym.png": "a symbolic link",
        "dog/hard.png": "a hard link",
        "dog/null.png": "not a regular file",
        "dog/fifo.png": "not a regular file",
    }


def test_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 16 * 2**20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ("cat/1.bmp", "dog/1.bmp"):
            with packed.open(name, "w", force_zip64=True) as handle:
                for _ in range(20):
                    handle.write(bytes(2**20))
    message = refused(path)
    assert "bomb" in message
    assert "unpack it and import the folder" in message


def test_tar_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    info = tarfile.TarInfo("cat/1.bmp")
    info.size = 10**13  # only declared: the file ends after the header
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(4096)))
    assert "bomb" in refused(tmp_path / "bomb.tar.gz")


def test_tar_with_an_oversized_header_does_not_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(4096)))
    assert "damaged" in refused(tmp_path / "bomb.tar.gz")


def test_archives_with_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in two_classes().items():
            packed.writestr(name, data)
    assert "more than 2 files" in refused(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("content", [b"", b"not an archive" * 100])
def test_files_that_only_claim_to_be_archives(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "damaged, incomplete or not an archive" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_archives_cut_short(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(0).bytes(20_000)
    if name == "a.zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("cat/1.png", noise)
    else:
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as packed:
            info = tarfile.TarInfo("cat/1.png")
            info.size = len(noise)
            packed.addfile(info, io.BytesIO(noise))
    path.write_bytes(path.read_bytes()[:10_000])
    assert "damaged, incomplete" in refused(path)


def test_a_zip_member_that_is_damaged_or_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in (two_classes() | {"dog/locked.png": png(), "dog/hurt.png": b"HURT" * 50}).items():
            packed.writestr(name, data)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"HURTHURT")] ^= 0xFF  # its checksum is wrong now
    locked = raw.rindex(b"dog/locked.png") - 46  # its entry in the central directory
    raw[locked + 8] |= 1
    path.write_bytes(raw)
    assert skipped(path) == {
        "dog/locked.png": "encrypted with a password",
        "dog/hurt.png": "damaged inside the archive, or packed in an unknown way",
    }


# Parquet


def test_parquet_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    path.write_bytes(b"PAR1 no, not really")
    assert "damaged or not a Parquet file" in refused(path)
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), path)
    assert "no image column (its columns: 'text, label')" in refused(path)
    pq.write_table(pa.table({"image": [png(), png()], "other": [0, 1]}), path)
    assert "no label column" in refused(path)
    pq.write_table(pa.table({"image": [png(), png()], "label": [[0], [1]]}), path)
    assert "must be numbers or text" in refused(path)
    write_parquet(path, [png(), png()], [0, 0])
    assert "only one class" in refused(path)


def test_parquet_damaged_in_the_middle(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    path = write_parquet(tmp_path / "set.parquet", [noise.bytes(5000) for _ in range(200)], [0, 1] * 100, ["a", "b"])
    raw = bytearray(path.read_bytes())
    raw[4:2000] = bytes(1996)
    path.write_bytes(raw)
    assert "damaged" in refused(path)


def test_parquet_with_column_names_that_are_not_text(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "set.parquet", [png(), png()], [0, 1])
    path.write_bytes(path.read_bytes().replace(b"image", b"i\xe9age"))
    assert "damaged" in refused(path)


def test_shards_that_do_not_fit_together(tmp_path: Path) -> None:
    folder = fill(tmp_path / "shards", {})
    write_parquet(folder / "train-0.parquet", [png()], [0])
    pq.write_table(pa.table({"image": [png()], "target": [1]}), folder / "train-1.parquet")
    assert "'train-1.parquet' has no column 'label'" in refused(folder)


def test_a_shard_that_is_a_link_out_of_the_folder(tmp_path: Path) -> None:
    outside = write_parquet(tmp_path / "outside.parquet", [png(), png()], [0, 1])
    (fill(tmp_path / "shards", {}) / "train.parquet").symlink_to(outside)
    assert "leads out of the folder" in refused(tmp_path / "shards")


def test_labels_outside_the_classes_or_missing(tmp_path: Path) -> None:
    images = [{"bytes": png(), "path": f"{row}.png"} for row in range(6)]
    path = write_parquet(tmp_path / "set.parquet", images, [0, 1, 2, -1, None, 1], ["cat", "dog"])
    assert skipped(path) == {
        "2.png": "label 2 is outside the 2 classes",
        "3.png": "label -1 is outside the 2 classes",
        "4.png": "it has no label",
    }


def test_nan_labels_in_parquet(tmp_path: Path) -> None:
    images = [{"bytes": png(), "path": f"{row}.png"} for row in range(4)]
    path = write_parquet(tmp_path / "set.parquet", images, [0.0, 1.0, float("nan"), 0.5])
    assert skipped(path) == {"2.png": "it has no label", "3.png": "label 0.5 is not a class number"}
    assert import_source(str(path)).dataset.info.classes == ("0", "1")


def test_text_in_parquet_that_is_not_utf_8(tmp_path: Path) -> None:
    broken = pa.array([b"caf\xe9", b"dog"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"image": [png(), png()], "label": broken}), tmp_path / "set.parquet")
    assert import_source(str(tmp_path / "set.parquet")).dataset.info.classes == ("caf\\xe9", "dog")


# Tables


def test_csv_paths_that_leave_the_folder(tmp_path: Path) -> None:
    fill(tmp_path, {"secret.png": png()})
    folder = fill(tmp_path / "set", {"a.png": png(RED), "sub/b.png": png(BLUE)})
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "door").symlink_to("..")
    os.mkfifo(folder / "pipe.png")
    absolute = tmp_path / "secret.png"
    paths = ["../secret.png", absolute, "link.png", "door/secret.png", "none.png", "sub", "pipe.png", "n\0l.png"]
    rows = ["path,label", "a.png,0", "sub/../sub/b.png,1", *(f"{path},0" for path in paths), ",1", "a.png"]
    (folder / "m.csv").write_text("\n".join(rows))
    assert skipped(folder / "m.csv") == {
        "../secret.png": "a path that leads out of the manifest's folder",
        str(absolute): "an absolute path; paths must be relative to the manifest's folder",
        "link.png": "a symbolic link that leads out of the folder",
        "door/secret.png": "a symbolic link that leads out of the folder",
        "none.png": "there is no such file",
        "sub": "not a regular file",
        "pipe.png": "not a regular file",
        "n\0l.png": "not a valid path",
        "m.csv row 12": "the row names no file",
        "a.png": "it has no label",
    }


def test_csv_labels_and_splits_that_make_no_sense(tmp_path: Path) -> None:
    fill(tmp_path / "set", {f"{name}.png": png() for name in "abcdef"})
    rows = ["path,label,split", "a.png,0,train", "b.png,1,", "c.png,NaN,train", "d.png,,train", "e.png,-1,train"]
    (tmp_path / "set" / "m.csv").write_text("\n".join([*rows, "f.png,1,holdout"]))
    assert skipped(tmp_path / "set" / "m.csv") == {
        "c.png": "it has no label",
        "d.png": "it has no label",
        "e.png": "label -1 is outside the 2 classes",
        "f.png": "unknown split 'holdout' (use train, val or test)",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no column 'path'"),
        (b"a.png,cat\n", "no column 'path'"),
        (b"path,colour\na.png,red\n", "no column 'label'"),
        (b"path,label\n", "lists no image"),
        (b"path,label\n\xff\xfe,1\n", "not UTF-8"),
        (b'path,label\n"' + b"x" * 200_000 + b'",1\n', "not a readable table"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    assert reason in refused(tmp_path / "m.csv")


# Arrays


class Trap:
    """Would end the test run when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("pickled code ran",)


def test_npz_never_unpickles(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.array([Trap(), Trap()], dtype=object))
    assert "pickled code" in refused(tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": np.zeros(3)}, "no arrays named images and labels"),
        ({"images": np.zeros((2, 4, 4), np.uint8)}, "no labels beside it"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0, 1, 2]}, "one an image"),
        ({"x": np.zeros((2, 4), np.uint8), "y": [0, 1]}, r"has shape \[2, 4\]"),
        ({"x": np.zeros((0, 4, 4), np.uint8), "y": np.zeros(0)}, "has shape"),
        ({"x": np.zeros((2, 9, 9, 5), np.uint8), "y": [0, 1]}, "channel axis"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0, 0]}, "only one class"),
        ({"x": np.full((2, 4, 4), 255.0), "y": [0, 1]}, "divide by 255"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, arrays: dict[str, np.ndarray], reason: str) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    message = refused(tmp_path / "s.npz")
    import re

    assert re.search(reason, message)


def test_single_bad_rows_of_arrays_are_listed(tmp_path: Path) -> None:
    images = np.zeros((4, 4, 4), np.float32)
    images[1] = np.nan
    np.savez(tmp_path / "s.npz", x=images, y=np.array([0, 1, np.nan, 1]))
    assert skipped(tmp_path / "s.npz") == {
        "x[1]": "pixels are not finite numbers (NaN or infinity)",
        "x[2]": "it has no label",
    }


def test_damaged_npz(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"not a zip")
    assert "not an .npz" in refused(tmp_path / "s.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 64, 64)})
    labels = io.BytesIO()
    np.save(labels, np.zeros(10**3, np.uint8))
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as packed:  # claims four terabytes, holds none
        packed.writestr("x.npy", header.getvalue())
        packed.writestr("y.npy", labels.getvalue())
    assert "damaged" in refused(tmp_path / "s.npz")


# Disk


def test_not_enough_space_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    monkeypatch.setattr(writer.DatasetWriter, "__init__", lambda *_, **__: pytest.fail("writing was started"))
    message = refused(fill(tmp_path / "set", two_classes()))
    assert "3 images of 32×32" in message
    assert "free some space" in message


def test_a_disk_that_fills_up_midway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = writer.DatasetWriter.__init__

    def on_a_full_disk(self: writer.DatasetWriter, *names: str, **options: object) -> None:
        real(self, *names, **options)  # type: ignore[arg-type]
        self._pixels.close()
        self._pixels = Path("/dev/full").open("wb")  # noqa: SIM115  # the kernel's own "No space left on device"

    monkeypatch.setattr(writer.DatasetWriter, "__init__", on_a_full_disk)
    files = {f"{name}/{number}.png": png() for name in ("cat", "dog") for number in range(40)}
    assert "disk is full" in refused(fill(tmp_path / "set", files), size=64)


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "set", two_classes())
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(InputError, match="refused a file operation"):
        import_source(str(folder))


def test_an_unexpected_error_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(importing, "decode_image", broken)
    with pytest.raises(ZeroDivisionError):
        import_source(str(fill(tmp_path / "set", two_classes())))
    assert list(home.datasets_folder().iterdir()) == []
