"""Writes the committed corpus, small files only: `python -m tests.fuzz.make_corpus`. Names say the target and the name
under which the file is opened; all but the images have to be refused."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path

from tests.fuzz.making import archives, arrays, code, images

FOLDER = Path(__file__).parent / "corpus"


def corpus() -> dict[str, bytes]:
    """By file name; the same bytes every time."""
    seeds = images.seeds()
    made = {f"image--{name}-huge": images.with_sides(name, seeds[name], 65_535, 65_535) for name in _WITH_SIDES}
    made["image--png-text-bomb"] = images.bombs()[2]
    made["image--gif-frames"] = seeds["gif"][:-1] + seeds["gif-frames"][13:] * 20
    made["image--pgm-comment"] = b"P2\n1 1\n255\n" + b"#" * 10_000
    made |= {f"source--{name}": data for name, data in _sources().items()}
    made |= {f"checkpoint--{name}": data for name, data in _checkpoints().items()}
    return made


_WITH_SIDES = ("png-RGB", "jpeg", "gif", "bmp", "ppm", "tiff")


def _sources() -> dict[str, bytes]:
    bomb = tarfile.TarInfo("cat/1.bmp")
    bomb.size = 10**13
    deep = b'{"info":' * 3000
    return {
        "bomb.tar.gz": gzip.compress(bomb.tobuf() + bytes(4096), mtime=0),
        "only-outside.zip": archives.zipped({"../a.png": b"x", "/etc/b.png": b"x", "C:/c.png": b"x"}),
        "object.npz": archives.zipped({"images.npy": arrays.lying("'|O'", "(6,)", False, code.payload())}),
        "lying.npz": archives.zipped(
            {
                "images.npy": arrays.lying("'|u1'", "(9999999999999, 4, 4, 3)", False, bytes(100)),
                "labels.npy": arrays.lying("'|u1'", "(9999999999999,)", False, bytes(100)),
            }
        ),
        "no-text.npz": archives.zipped(
            {
                "images.npy": arrays.lying("'|u1'", "(3, 4, 4, 3)", False, bytes(144)),
                "labels.npy": arrays.lying("'<U2'", "(3,)", False, b"\xff\xff\x2f\xd3\x80\x80\x80\x80" * 3),
            }
        ),
        "deep.npz": archives.zipped({"images.npy": arrays.lying("'|u1'", "(" * 3000, False, b"")}),
        "deep.parquet": _parquet({b"huggingface": deep}),
        "outside.csv": b"path,label\n../secret.png,a\n/etc/passwd,b\nsecret\0.png,a\n",
    }


def _parquet(metadata: dict[bytes, bytes]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    table = pa.table({"image": [b"x", b"y"], "label": [0, 1]}).replace_schema_metadata(metadata)
    pq.write_table(table, file)
    return file.getvalue()


def _checkpoints() -> dict[str, bytes]:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 2**62]}}).encode()
    return {
        "runs-code.pt": code.payload(),
        "runs-code-zip.pt": archives.zipped({"archive/data.pkl": code.payload(), "archive/version": b"3\n"}),
        "lying.safetensors": struct.pack("<Q", len(header)) + header + bytes(16),
        "endless.safetensors": struct.pack("<Q", 2**63 - 1) + b"{}",
        "deep.safetensors": struct.pack("<Q", 50_000) + b"[" * 50_000,
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for file_name, content in corpus().items():
        (FOLDER / file_name).write_bytes(content)
