"""Bad data on the command line: exit status 2, one clear sentence, and nothing half-written."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mspc_core.cli import main
from tests.unit.data.pictures import BLUE, RED, encoded, fill, png, two_classes, write_parquet


def huge_png(side: int = 20_000) -> bytes:
    """A valid PNG header of side × side pixels, with next to no data behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def zip_of(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tar_with_a_link() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("cat/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


def write(name: str, content: bytes) -> Callable[[Path], Path]:
    return lambda folder: fill(folder, {name: content}) / name


CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing path": (lambda folder: folder / "nowhere", "There is no file, folder"),
    "empty folder": (lambda folder: fill(folder / "empty", {}), "empty"),
    "one class": (lambda folder: fill(folder / "one", {"cat/1.png": png(RED), "cat/2.png": png(BLUE)}), "two classes"),
    "one image": (lambda folder: fill(folder / "one", {"cat/1.png": png(RED)}), ""),
    "text named png": (lambda folder: fill(folder / "t", {"a/1.png": b"hello", "b/2.png": b"hello"}), ""),
    "huge png": (lambda folder: fill(folder / "h", {"a/1.png": huge_png(), "b/2.png": huge_png()}), ""),
    "zip leading out": (write("x.zip", zip_of({"../a/1.png": png(RED), "../b/2.png": png(BLUE)})), ""),
    "tar of links": (write("x.tar", tar_with_a_link()), ""),
    "no image column": (write("x.csv", b"name,label\n1.png,a\n"), ""),
    "rubbish parquet": (write("x.parquet", b"PAR1 no"), ""),
    "pickled npz": (write("x.npz", zip_of({"images.npy": b"\x80\x04x"})), ""),
}


@pytest.mark.parametrize("case", list(CASES))
def test_bad_source(case: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = CASES[case]
    source = make(tmp_path)
    for command in ("import", "scan"):
        assert main([command, str(source)]) == 2
        captured = capsys.readouterr()
        assert len(captured.err.strip().splitlines()) == 1
        assert captured.err.startswith("error: ")
        assert words in captured.err
        assert "Traceback" not in captured.err
    left = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"] if home.exists() else []
    assert not left, "nothing half-written remains"


def test_what_can_be_read_is_used_and_the_rest_is_listed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    noisy = encoded(Image.fromarray(noise))
    files = {
        **two_classes(),
        "dog/huge.png": huge_png(),
        "dog/text.png": b"not an image",
        "dog/cut.png": noisy[: len(noisy) // 2],
    }
    assert main(["import", str(fill(tmp_path / "mixed", files)), "--size", "16"]) == 0
    printed = capsys.readouterr().out
    assert "3 images, 2 classes" in printed
    assert "skipped 3" in printed
    for name in ("huge.png", "text.png", "cut.png"):
        assert name in printed


def test_labels_outside_the_classes(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [{"bytes": png(color), "path": f"{n}.png"} for n, color in enumerate((RED, BLUE, RED))]
    source = write_parquet(tmp_path / "x.parquet", cells, [0, 1, 7], names=["cat", "dog"])
    assert main(["import", str(source), "--size", "16"]) == 0
    printed = capsys.readouterr().out
    assert "2 images" in printed
    assert "skipped 1" in printed


def test_a_full_disk_is_one_sentence(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills while the run folder is written: status 2, and the reason."""
    import os

    from tests.lab import write_folder

    source = write_folder(tmp_path / "pictures", 10)
    assert main(["import", str(source), "--name", "few", "--size", "16"]) == 0
    capsys.readouterr()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["scan", "few", "--epochs", "1"]) == 2
    captured = capsys.readouterr()
    assert "disk is full" in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not list(home.rglob(".tmp-*"))
