"""Small sources that tests write."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mspc_core.data.source import RawSample, Skipped, Source

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png(color: tuple[int, int, int] = RED, size: tuple[int, int] = (16, 16)) -> bytes:
    return encoded(Image.new("RGB", size, color))


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below `folder`, which is made even when there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def two_classes() -> dict[str, bytes]:
    """The smallest healthy set: two cats (red), one dog (blue)."""
    return {"cat/1.png": png(RED), "cat/2.png": png(RED, (20, 10)), "dog/1.png": png(BLUE)}


def write_parquet(
    path: Path, images: Iterable[Any], labels: Iterable[Any], names: list[str] | None = None, **columns: Any
) -> Path:
    """In the Hugging Face style: names go to the schema's metadata."""
    table = pa.table({"image": pa.array(list(images)), "label": pa.array(list(labels)), **columns})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def read(source: Source) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    """([(path, class name, split)], {skipped path: reason})."""
    items = list(source.samples())
    samples = [item for item in items if isinstance(item, RawSample)]
    skipped = {item.path: item.reason for item in items if isinstance(item, Skipped)}
    return [(s.path, source.classes[s.label], s.split) for s in samples], skipped


def grey(value: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, value, np.uint8)
