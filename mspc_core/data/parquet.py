"""Parquet in the Hugging Face style: one file, or a folder of shards."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspc_core.data.folder import LEADS_OUT, inside
from mspc_core.data.labels import Labels
from mspc_core.data.source import RawSample, Skipped, hash_files, lone_split_is_train, shown, split_of
from mspc_core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# Rows decoded at a time. Small, because rows may be large files, and a dictionary page can repeat one large value.
BATCH_ROWS = 64
_IMAGE_NAMES = ("image", "img", "images", "picture", "pixel_values")
_LABEL_NAMES = ("label", "labels", "class", "target", "fine_label", "category", "y")


def find_shards(folder: Path) -> list[Path]:
    """The Parquet files of a folder, in order of name: directly in it, in `data/`, or in `train/`, `test/`, …: where
    Hugging Face repositories have them."""
    split_folders = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and split_of(entry.name)]
    for places in ([folder], [folder / "data"], split_folders):
        found = [path for place in places for path in sorted(place.glob("*.parquet")) if _is_shard(path)]
        if found:
            return found
    return []


def _is_shard(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


class ParquetSource:
    """Rows in file order. A shard's split is read from its name (`train-00000-of-00002.parquet`) or its folder's, else
    it is train.

    The image column is a struct with `bytes` (and `path`) or plain bytes; labels are integers or strings; class names
    come from the `huggingface` entry of the schema's metadata where there is one.
    """

    kind = "parquet"

    def __init__(self, path: Path, shards: list[Path]) -> None:
        self.location = str(path)
        root = str(path.resolve())
        if path.is_dir() and any(not inside(root, str(shard.resolve())) for shard in shards):
            raise InputError(f"A Parquet file in {shown(path.name)} is {LEADS_OUT}: copy the files themselves there.")
        self._path, self._shards = path, shards
        named = {shard: _split(shard, path) for shard in shards}
        stored_as = lone_split_is_train(named.values())
        self._splits = {shard: stored_as[split] for shard, split in named.items()}
        with _opened(shards[0]) as first:
            schema = first.schema_arrow
        self._image, self._label, names_known = _columns(schema, shards[0])
        self.count: int | None = 0
        self._split_counts: Counter[str] = Counter()
        labels: set[Any] = set()
        for shard in shards:
            with _opened(shard) as file:
                self._check_columns(file.schema_arrow, shard)
                self.count += file.metadata.num_rows
                self._split_counts[self._splits[shard]] += file.metadata.num_rows
                if names_known is None:
                    for batch in file.iter_batches(65536, columns=[self._label]):
                        labels.update(_values(batch.column(0).unique()))
        self._labels = Labels.named(names_known) if names_known else Labels.found(labels)
        self.classes = self._labels.classes

    def split_counts(self) -> dict[str, int]:
        return dict(self._split_counts)

    def fingerprint(self) -> str:
        return hash_files((self._name(shard), shard) for shard in self._shards)

    def samples(self) -> Iterator[RawSample | Skipped]:
        for shard in self._shards:
            with _opened(shard) as file:
                row = 0
                for batch in file.iter_batches(BATCH_ROWS, columns=[self._image, self._label]):
                    contents, paths = _image_values(batch.column(self._image))
                    labels = _values(batch.column(self._label))
                    for content, path, label in zip(contents, paths, labels, strict=True):
                        yield self._sample(content, path or f"{self._name(shard)}[{row}]", label, shard)
                        row += 1
        for place in sorted({self._path, *(shard.parent for shard in self._shards)} if self._path.is_dir() else ()):
            for entry in sorted(place.iterdir()):
                if entry not in self._shards and not any(entry in shard.parents for shard in self._shards):
                    yield Skipped(self._name(entry), "not a Parquet file")

    def _name(self, path: Path) -> str:
        return path.relative_to(self._path).as_posix() if path != self._path else path.name

    def _sample(self, content: bytes | None, path: str, raw_label: Any, shard: Path) -> RawSample | Skipped:
        label = self._labels.place(path, raw_label)
        if isinstance(label, Skipped):
            return label
        if content is None:
            return Skipped(path, "the row holds no image bytes")
        return RawSample(path, label, self._splits[shard], content)

    def _check_columns(self, schema: pa.Schema, shard: Path) -> None:
        missing = [name for name in (self._image, self._label) if name not in schema.names]
        if missing:
            raise InputError(f"{shown(shard.name)} has no column {missing[0]!r}, which the other shards have.")


def _split(shard: Path, root: Path) -> str:
    prefix = re.split(r"[-_.]", shard.name, maxsplit=1)[0]
    return split_of(prefix) or (split_of(shard.parent.name) if shard.parent != root.parent else None) or "train"


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Buffered and not pre-buffered: column chunks are read in pieces instead of whole.
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            yield file
    except (PermissionError, FileNotFoundError):
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{shown(path.name)} is damaged or not a Parquet file: fetch or write it again.") from error


def _columns(schema: pa.Schema, shard: Path) -> tuple[str, str, list[str] | None]:
    """Names of the image and the label column, and the class names where the metadata has them."""
    features = _features(schema)
    typed = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    possible = [name for name in schema.names if _holds_bytes(schema.field(name).type)]
    images = [name for name in (*typed, *_IMAGE_NAMES, *possible) if name in possible]
    if not images:
        raise InputError(
            f"{shown(shard.name)} has no image column (its columns: {shown(', '.join(schema.names))}): "
            "one must hold the bytes of image files."
        )
    class_labels = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    preferred = [name for name in _LABEL_NAMES if name in schema.names and name != images[0]]
    labels = [name for name in preferred if name in class_labels] + class_labels + preferred
    if not labels:
        raise InputError(
            f"{shown(shard.name)} has no label column (its columns: {shown(', '.join(schema.names))}): call it 'label'."
        )
    kind = schema.field(labels[0]).type
    if not _is_label(kind):
        raise InputError(
            f"The label column {labels[0]!r} of {shown(shard.name)} holds {kind}: it must be numbers or text."
        )
    names = features.get(labels[0], {}).get("names")
    if isinstance(names, dict):
        names = list(names.values())
    return images[0], labels[0], [str(name) for name in names] if isinstance(names, list) and names else None


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What Hugging Face's `datasets` wrote about the columns; empty where it did not, or where it makes no sense."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_label(kind: pa.DataType) -> bool:
    import pyarrow as pa

    test = pa.types
    if test.is_dictionary(kind):
        kind = kind.value_type
    return test.is_integer(kind) or test.is_floating(kind) or test.is_boolean(kind) or _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _image_values(column: pa.Array) -> tuple[list[bytes | None], list[str | None]]:
    """Bytes and paths of one batch, None where missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_struct(column.type):
        return column.to_pylist(), [None] * len(column)
    contents = pc.struct_field(column, "bytes").to_pylist()
    index = column.type.get_field_index("path")
    if index < 0 or not _is_text(column.type.field(index).type):
        return contents, [None] * len(column)
    return contents, _values(pc.struct_field(column, "path"))


def _values(column: pa.Array) -> list[Any]:
    """Python values. Text goes through bytes, because a hostile file's "text" need not be valid UTF-8."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not _is_text(column.type):
        return column.to_pylist()
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    raw = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()).to_pylist()
    return [None if value is None else value.decode("utf-8", "backslashreplace") for value in raw]
