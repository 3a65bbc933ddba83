"""Parquet shards in the Hugging Face style: `data/<split>-00000-of-00001.parquet`.

The column image is a struct of bytes and path, the column label a ClassLabel; the schema's metadata say so, as
Hugging Face's `datasets` writes them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mspc_core.data.store import Dataset
from mspc_core.export.names import safe_part

SHARD_BYTES = 512 * 2**20
_GROUP_BYTES, _GROUP_ROWS = 32 * 2**20, 1000  # a row group is held in memory


class HubWriter:
    """Rows into shards, one split after the other or mixed. Use `close` to end, whatever happens."""

    def __init__(self, root: Path, dataset: Dataset, *, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder = root / "data"
        self._folder.mkdir()
        self._schema = hub_schema(dataset.info.classes)
        self._shard_bytes = shard_bytes
        self._open: dict[str, _Shard] = {}
        self._done: dict[str, list[Path]] = {}

    def add(self, split: str, content: bytes, path: str, label: int) -> None:
        shard = self._open.get(split)
        if shard is None:
            number = len(self._done.setdefault(split, []))
            place = self._folder / f"{split}-{number:05d}.part"
            shard = self._open[split] = _Shard(place, self._schema)
            self._done[split].append(place)
        shard.add(content, harmless(path), label)
        if shard.size >= self._shard_bytes:
            self._open.pop(split).close()

    def finish(self) -> list[str]:
        """Write what is left and give shards their names, which hold how many there are. Returns their paths."""
        self.close()
        names = []
        for split, places in self._done.items():
            for number, place in enumerate(places):
                name = f"{split}-{number:05d}-of-{len(places):05d}.parquet"
                os.rename(place, self._folder / name)
                names.append(f"data/{name}")
        return names

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


class _Shard:
    """One Parquet file, written by row group."""

    def __init__(self, path: Path, schema: Any) -> None:
        import pyarrow.parquet as pq

        self.size = 0
        self._schema = schema
        # Images do not get smaller by being packed again.
        self._writer = pq.ParquetWriter(path, schema, compression="none", use_dictionary=False)
        self._rows: list[dict[str, Any]] = []
        self._waiting = 0

    def add(self, content: bytes, path: str, label: int) -> None:
        self._rows.append({"image": {"bytes": content, "path": path}, "label": label})
        self.size += len(content)
        self._waiting += len(content)
        if self._waiting >= _GROUP_BYTES or len(self._rows) >= _GROUP_ROWS:
            self._write()

    def close(self) -> None:
        try:
            self._write()
        finally:
            self._writer.close()

    def _write(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._waiting = [], 0


def hub_schema(classes: tuple[str, ...]) -> Any:
    """The Arrow schema with the `huggingface` entry in its metadata."""
    import pyarrow as pa

    features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    about = json.dumps({"info": {"features": features}}, ensure_ascii=False)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.schema([("image", image), ("label", pa.int64())], metadata={"huggingface": about})


def harmless(path: str) -> str:
    """The path as it is, unless a careless reader could be led out of its folder or onto another line by it."""
    parts = path.split("/")
    windows = "\\" in path or (len(path) > 1 and path[1] == ":")
    if path and not windows and path.isprintable() and not ({"", "..", "."} & set(parts)):
        return path
    return (
        "/".join(safe_part(part) for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")) or "_"
    )
