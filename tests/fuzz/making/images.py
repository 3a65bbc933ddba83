"""Image files: valid ones of every format that is read, with lying headers, bombs and damage."""

from __future__ import annotations

import functools
import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image, features

from tests.fuzz.guard import Case
from tests.fuzz.making.bits import Draw, damaged, numbers

_SIDES = (0, 1, 2, 255, 4096, 7999, 8001, 30_000, 65_535, 2**20, 2**31 - 1, 2**32 - 1)


@functools.cache
def seeds() -> dict[str, bytes]:
    """One small valid file for each format and pixel type, by name; the same bytes every time."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 10, 4), dtype=np.uint8)
    rgba = Image.fromarray(noise)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb]}
    made = {
        **{f"png-{mode}": _saved(rgba.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
        "png-I;16": _saved(Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "PNG"),
        "png-frames": _saved(rgb, "PNG", **frames),
        "jpeg": _saved(rgb, "JPEG"),
        "jpeg-progressive": _saved(rgb, "JPEG", progressive=True),
        "jpeg-cmyk": _saved(rgb.convert("CMYK"), "JPEG"),
        "jpeg-exif": _saved(rgb, "JPEG", exif=_turned()),
        "gif": _saved(rgb.convert("P"), "GIF"),
        "gif-frames": _saved(rgb.convert("P"), "GIF", save_all=True, append_images=[grey.convert("P")]),
        "bmp": _saved(rgb, "BMP"),
        "bmp-1": _saved(rgb.convert("1"), "BMP"),
        "ppm": _saved(rgb, "PPM"),
        "pgm": _saved(grey, "PPM"),
        "pgm-text": b"P2\n# c\n3 2\n255\n0 1 2\n3 4 5\n",
        "tiff": _saved(rgb, "TIFF"),
        "tiff-F": _saved(Image.fromarray(noise[..., 0].astype(np.float32) / 255), "TIFF"),
        "tiff-lzw": _saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": _saved(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-pages": _saved(rgb, "TIFF", **frames),
    }
    for name, check, kind in (("webp", "webp", "WEBP"), ("jp2", "jpg_2000", "JPEG2000"), ("avif", "avif", "AVIF")):
        if features.check(check):
            made[name] = _saved(rgb, kind)
            made[f"{name}-alpha"] = _saved(rgba, kind)
    return made


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_sides(name: str, data: bytes, width: int, height: int) -> bytes:
    """The same file claiming other sides, where the format's header is a simple one."""
    if name.startswith("png"):
        header = struct.pack(">II", width % 2**32, height % 2**32) + data[24:29]
        return data[:8] + chunk(b"IHDR", header) + data[33:]
    if name.startswith("gif"):
        return data[:6] + struct.pack("<HH", width % 2**16, height % 2**16) + data[10:]
    if name.startswith("bmp"):
        return data[:18] + struct.pack("<II", width % 2**32, height % 2**32) + data[26:]
    if name in ("ppm", "pgm"):
        return data[:3] + f"{width} {height}\n".encode() + data.split(b"\n", 2)[2]
    if name.startswith("jpeg"):
        at = next((data.index(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in data), None)
        if at is not None:
            return data[: at + 5] + struct.pack(">HH", height % 2**16, width % 2**16) + data[at + 9 :]
    if name.startswith("tiff"):
        return _tiff_sides(data, width, height)
    if name.startswith("jp2") and b"ihdr" in data:
        at = data.index(b"ihdr") + 4
        return data[:at] + struct.pack(">II", height % 2**32, width % 2**32) + data[at + 8 :]
    return data


def _tiff_sides(data: bytes, width: int, height: int) -> bytes:
    at = struct.unpack_from("<I", data, 4)[0]
    raw = bytearray(data)
    for entry in range(struct.unpack_from("<H", data, at)[0]):
        place = at + 2 + 12 * entry
        tag = struct.unpack_from("<H", data, place)[0]
        if tag in (256, 257):
            struct.pack_into("<HII", raw, place + 2, 4, 1, (width if tag == 256 else height) % 2**32)
    return bytes(raw)


@functools.cache
def bombs() -> tuple[bytes, ...]:
    """Small files that would unpack to much: at and over the limit of pixels, and hidden beside the pixels."""
    start, end = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
    zeros = zlib.compress(bytes(50 * 2**20), 9)
    text = chunk(b"zTXt", b"k\0\0" + zeros) + chunk(b"iCCP", b"k\0\0" + zeros) + chunk(b"iTXt", b"k\0\1\0\0\0" + zeros)
    small = seeds()["png-RGB"]
    frames = b"".join(chunk(b"fcTL", bytes(26)) for _ in range(20_000))
    return (
        start + chunk(b"IHDR", struct.pack(">IIBBBBB", 8000, 8000, 1, 0, 0, 0, 0)) + _black(8000, 1001) + end,
        start + chunk(b"IHDR", struct.pack(">IIBBBBB", 8001, 8001, 8, 6, 0, 0, 0)) + chunk(b"IDAT", b"") + end,
        small[:33] + text + small[33:],
        small[:33] + chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + frames + small[33:],
        seeds()["gif"][:-1] + seeds()["gif-frames"][13:] * 500,
        b"P5\n8000 8000\n255\n" + bytes(1000),
        b"P2\n1 1\n255\n" + b"#" * 10**6,
    )


def _black(rows: int, row_bytes: int) -> bytes:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(row_bytes)) for _ in range(rows)) + packer.flush()
    return chunk(b"IDAT", packed)


@st.composite
def contents(draw: Draw) -> bytes:
    """The bytes of one hostile image file."""
    if draw(st.integers(0, 40)) == 0:
        return draw(damaged(draw(st.sampled_from(bombs()))))
    name = draw(st.sampled_from(sorted(seeds())))
    data = seeds()[name]
    if draw(st.booleans()):
        side = st.sampled_from(_SIDES)
        data = with_sides(name, data, draw(side), draw(side))
    if name.startswith("png") and draw(st.booleans()):
        kind = draw(st.sampled_from((b"zTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"gAMA", b"IDAT", b"IHDR")))
        extra = draw(st.binary(max_size=40)) + struct.pack(">q", draw(numbers) % 2**63)
        data = data[:33] + chunk(kind, extra) + data[33:]
    return draw(damaged(data))


def cases() -> st.SearchStrategy[Case]:
    return contents().map(lambda data: Case({"image": data}))
