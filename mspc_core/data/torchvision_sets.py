"""Classification data sets that torchvision knows by name, downloaded on first use."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mspc_core import atomic, home
from mspc_core.data.decode import MAX_FILE_BYTES
from mspc_core.data.source import RawSample, Skipped, lone_split_is_train
from mspc_core.errors import InputError


@dataclass(frozen=True)
class _Set:
    """A torchvision class and how to ask it for its parts. parts: (our split, constructor arguments). class_count: for
    sets without class names."""

    name: str
    parts: tuple[tuple[str, dict[str, Any]], ...]
    class_count: int = 0
    options: dict[str, Any] = field(default_factory=dict)


def _flagged(name: str, class_count: int = 0, **options: Any) -> _Set:
    return _Set(name, (("train", {"train": True}), ("test", {"train": False})), class_count, options)


def _split(name: str, splits: str = "train test", class_count: int = 0, **options: Any) -> _Set:
    stored = {"trainval": "train", "valid": "val"}
    return _Set(name, tuple((stored.get(s, s), {"split": s}) for s in splits.split()), class_count, options)


def _single(name: str, class_count: int = 0) -> _Set:
    return _Set(name, (("train", {}),), class_count)


# Only sets whose items are (image, class number) in every part listed.
_SETS = {
    entry.name.lower(): entry
    for entry in (
        *(_flagged(name) for name in ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST", "QMNIST")),
        _flagged("EMNIST", split="balanced"),
        _flagged("USPS", 10),
        _split("SVHN", class_count=10),
        _split("STL10"),
        _split("GTSRB", class_count=43),
        _split("Imagenette", "train val", size="320px"),
        _split("Food101"),
        _split("StanfordCars"),
        _split("DTD", "train val test"),
        _split("Flowers102", "train val test", class_count=102),
        _split("FGVCAircraft", "train val test"),
        _split("Country211", "train valid test"),
        _split("RenderedSST2", "train val test"),
        _split("PCAM", "train val test", class_count=2),
        _split("OxfordIIITPet", "trainval test"),
        *(_single(name) for name in ("EuroSAT", "SUN397", "Caltech101", "Caltech256")),
        _single("SEMEION", 10),
    )
}


def names() -> list[str]:
    """What can be typed, in lower case."""
    return sorted(_SETS)


def is_known(text: str) -> bool:
    return _key(text) in _SETS


def _key(text: str) -> str:
    return re.sub(r"[-_ ]", "", text.lower())


class TorchvisionSource:
    """Parts in the order train, val, test. Nothing is downloaded before `classes`, `count` or `samples` is asked for,
    and the fingerprint is the name alone, because published sets do not change."""

    kind = "torchvision"

    def __init__(self, text: str) -> None:
        self._set = _SETS[_key(text)]
        self.location = _key(text)
        self._loaded: list[tuple[str, Any]] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        first = self._load()[0][1]
        names = getattr(first, "classes", None) or getattr(first, "categories", None)
        if not names:
            return tuple(str(number) for number in range(self._set.class_count))
        return tuple(name if isinstance(name, str) else ", ".join(map(str, name)) for name in names)

    @property
    def count(self) -> int | None:
        return sum(len(part) for _, part in self._load())

    @property
    def is_here(self) -> bool:
        """Was it downloaded before?"""
        return self._folder().is_dir()

    def split_counts(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for split, part in self._load():
            counts[split] += len(part)
        return dict(counts)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self._set).encode()).hexdigest()

    def samples(self) -> Iterator[RawSample | Skipped]:
        classes = len(self.classes)
        for split, part in self._load():
            for position in range(len(part)):
                path = f"{split}/{position:06d}"
                try:
                    image, label = part[position]
                except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on a damaged file
                    yield Skipped(path, f"torchvision cannot read it ({type(error).__name__})")
                    continue
                if not 0 <= int(label) < classes:
                    yield Skipped(path, f"label {int(label)} is outside the {classes} classes")
                else:
                    yield RawSample(path, int(label), split, image if isinstance(image, bytes) else _array(image))

    def _folder(self) -> Path:
        return home.home() / "torchvision" / self.location

    def _load(self) -> list[tuple[str, Any]]:
        """All parts, from the folder `torchvision/<name>` of the home folder, downloading them there at first.

        The download goes to a temporary folder that is renamed when all parts are complete: torchvision takes a folder
        that exists for a whole download, so half of one must never be seen.
        """
        if self._loaded is None:
            folder = self._folder()
            if not folder.is_dir():
                folder.parent.mkdir(exist_ok=True)
                temporary = atomic.temporary_for(folder)
                temporary.mkdir()
                try:
                    with atomic.claimed_folder(temporary):
                        self._parts(temporary, download=True)
                        os.rename(temporary, folder)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
            self._loaded = self._parts(folder, download=False)
        return self._loaded

    def _parts(self, root: Path, *, download: bool) -> list[tuple[str, Any]]:
        from torchvision import datasets

        kind = getattr(datasets, self._set.name)
        accepted = inspect.signature(kind).parameters
        options = dict(self._set.options)
        if "loader" in accepted:  # take files undecoded: they are decoded on all cores, and identified by their bytes
            options["loader"] = _file_bytes
        stored_as = lone_split_is_train(split for split, _ in self._set.parts)
        try:
            return [
                (stored_as[split], kind(str(root), **options, **arguments, download=download))
                for split, arguments in self._set.parts
            ]
        except (
            Exception
        ) as error:  # network, certificate, checksum, missing optional package: torchvision raises many types
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            todo = (
                "check that this machine has a network, or import a copy of the data set from a folder or file"
                if download
                else f"delete {root} to download it again"
            )
            raise InputError(f"torchvision could not provide {self.location!r} ({reason}): {todo}.") from error


def _file_bytes(path: str | Path) -> bytes:
    with open(path, "rb") as handle:
        return handle.read(MAX_FILE_BYTES + 1)  # one byte more than allowed is enough to be refused by the decoder


def _array(image: Any) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] of a Pillow image, or of a tensor [C, H, W]."""
    if hasattr(image, "numpy"):
        array = image.numpy()
        return array.transpose(1, 2, 0) if array.ndim == 3 else array
    return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
