"""Zip and tar files with hostile members: `..`, absolute paths, links, devices, lies about sizes, bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable

from hypothesis import strategies as st

from tests.fuzz.guard import Case
from tests.fuzz.making import images
from tests.fuzz.making.bits import Draw, damaged, numbers, words

_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda data: gzip.compress(data, mtime=0),
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
}
TAR_KINDS = (
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
    b"L",
)
MODES = (stat.S_IFREG, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR, 0xFFFF)


def plain_files() -> dict[str, bytes]:
    """Two classes of two images each."""
    data = [images.seeds()[name] for name in ("png-RGB", "jpeg", "gif", "webp" if "webp" in images.seeds() else "bmp")]
    return dict(zip(("cat/1.png", "cat/2.jpg", "dog/1.gif", "dog/2.webp"), data, strict=True))


def zipped(files: dict[str, bytes]) -> bytes:
    """A plain zip; the same bytes every time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


@st.composite
def names(draw: Draw) -> str:
    word = draw(words)[:60_000]
    return draw(
        st.sampled_from((word, f"cat/{word}", f"cat/{word}.png", f"{word}/1.png", f"../{word}.png", f"/{word}.png"))
    )


@st.composite
def zips(draw: Draw) -> Case:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))) as packed:
        for name, data in plain_files().items():
            packed.writestr(name, data)
        for _ in range(draw(st.integers(0, 3))):
            info = zipfile.ZipInfo(draw(names()) or "x")
            info.external_attr = (draw(st.sampled_from(MODES)) | 0o777) << 16 & 0xFFFFFFFF
            info.compress_type = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))
            info.extra = draw(
                st.sampled_from((b"", b"\x01\x00\x08\x00" + b"\xff" * 8, b"\xff\xff\xff\xff", b"up\x05\0\1aaaa"))
            )
            packed.writestr(info, draw(st.sampled_from((images.seeds()["png-RGB"], b"", b"text", bytes(10**6)))))
    data = file.getvalue()
    if draw(st.booleans()):
        data = _lied(data, draw(st.integers(0, 20)), draw(st.sampled_from((8, 10, 16, 20, 24, 28, 42))), draw(numbers))
    return Case({"set.zip": draw(damaged(data))}, {"entry": "set.zip"})


def _lied(data: bytes, which: int, field: int, number: int) -> bytes:
    """A number in an entry of the central directory (flags, method, checksum, sizes, place) changed."""
    places = [at for at in range(len(data) - 46) if data[at : at + 4] == b"PK\x01\x02"]
    if not places:
        return data
    at, width = places[which % len(places)] + field, 2 if field in (8, 10, 28) else 4
    return data[:at] + struct.pack("<Q", number % 2**64)[:width] + data[at + width :]


@st.composite
def tars(draw: Draw) -> Case:
    file = io.BytesIO()
    form = draw(st.sampled_from((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)))
    with tarfile.open(fileobj=file, mode="w", format=form) as packed:
        for name, data in plain_files().items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
        for _ in range(draw(st.integers(0, 3))):
            _add(packed, draw)
    suffix = draw(st.sampled_from(sorted(_PACKERS)))
    data = file.getvalue()
    data = draw(damaged(data)) if draw(st.booleans()) else data
    return Case({f"set.{suffix}": draw(damaged(_PACKERS[suffix](data)))}, {"entry": f"set.{suffix}"})


def _add(packed: tarfile.TarFile, draw: Draw) -> None:
    info = tarfile.TarInfo(draw(names()))
    info.linkname = draw(words)
    if draw(st.booleans()):
        info.type = draw(st.sampled_from(TAR_KINDS))
    data = draw(st.sampled_from((images.seeds()["jpeg"], b"", b"x")))
    info.size = len(data)
    if draw(st.integers(0, 3)) == 0:
        key = draw(
            st.sampled_from(("path", "linkpath", "size", "mtime", "GNU.sparse.map", "GNU.sparse.size", "comment"))
        )
        info.pax_headers = {key: draw(words).replace("\0", "") or "0"}
    try:
        packed.addfile(info, io.BytesIO(data))
    except (ValueError, UnicodeError, OverflowError):
        return  # not every name fits every form
    if draw(st.integers(0, 9)) == 0:
        header = bytearray(info.tobuf(format=tarfile.GNU_FORMAT)[:512])
        header[124:136] = b"\x80" + (draw(numbers) % 2**88).to_bytes(11, "big")
        header[148:156] = b"        "
        header[148:156] = f"{sum(header):06o}\0 ".encode()
        assert packed.fileobj is not None
        packed.fileobj.write(bytes(header))


def cases() -> st.SearchStrategy[Case]:
    return st.one_of(zips(), tars())
