"""What an export does, and the formats there are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mspc_core import selection
from mspc_core.errors import InputError

KEEPS = ("clean", "flagged", "all")
PIXELS = ("original", "stored")


@dataclass(frozen=True)
class Format:
    """images: it holds the images themselves; else one file about the scanned samples. keep: what it holds unless told
    otherwise. suffix: of a single file; "" for a folder."""

    title: str
    explains: str
    images: bool
    suffix: str
    keep: str = "clean"


FORMATS = {
    "csv": Format("CSV table", "scores, verdict and decisions, one row a sample", False, ".csv", "all"),
    "parquet": Format("Parquet table", "scores, verdict and decisions, one row a sample", False, ".parquet", "all"),
    "list": Format("File list", "paths in the source, one a line; a JSON list if .json", False, ".txt"),
    "indices": Format("Subset indices", "for torch.utils.data.Subset: JSON, or NumPy if .npy", False, ".json"),
    "folder": Format("Image folder", "one sub-folder a class, as torchvision's ImageFolder reads it", True, ""),
    "zip": Format("Zip of an image folder", "the same, in one file", True, ".zip"),
    "hf": Format("Hugging Face Parquet", "shards with columns image and label, for datasets.load_dataset", True, ""),
    "fiftyone": Format("FiftyOne", "images and labels.json, imported as FiftyOneImageClassificationDataset", True, ""),
}


@dataclass(frozen=True)
class ExportConfig:
    """run: id or folder. format: a key of `FORMATS`. out: the file or folder to make. keep: clean (what is not
    dropped), flagged (what is) or all; "" takes the format's own. drop: a rule of `mspc_core.selection`.

    link: hard links instead of copies where the source is files. scanned_only: leave out the splits that were not
    scanned (they are part of a clean copy, as they are). skip_changed: go on without files that changed or vanished.
    pixels: original bytes of the source, or the stored, resized pixels as PNG. relabel: "confirmed" keeps dropped
    samples whose new label a person confirmed, under that label (formats that hold images).
    """

    run: str
    format: str
    out: str
    keep: str = ""
    drop: str = "reviewed"
    link: bool = False
    scanned_only: bool = False
    skip_changed: bool = False
    pixels: str = "original"
    relabel: str = ""
    kind: str = "export"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> ExportConfig:
        try:
            return cls(**raw)
        except TypeError as error:
            raise InputError(f"The configuration of this export is not usable ({error}): start a new one.") from None

    @property
    def kept(self) -> str:
        """clean, flagged or all."""
        return self.keep or FORMATS[self.format].keep


def check(config: ExportConfig) -> None:
    """Refuse settings that mean nothing. Raises `InputError`."""
    if config.format not in FORMATS:
        raise InputError(f"There is no export format {config.format[:40]!r}: choose from {', '.join(FORMATS)}.")
    if config.keep not in ("", *KEEPS):
        raise InputError(f"What to keep is one of {', '.join(KEEPS)}; not {config.keep[:40]!r}.")
    if config.pixels not in PIXELS:
        raise InputError(f"Pixels are {' or '.join(PIXELS)}, not {config.pixels[:40]!r}.")
    if config.link and config.format != "folder":
        raise InputError(f"Hard links are for the format folder: {config.format} holds copies.")
    if config.relabel not in ("", "confirmed"):
        raise InputError(f"Labels can be changed to confirmed ones (relabel = confirmed), not {config.relabel[:40]!r}.")
    if config.relabel and not FORMATS[config.format].images:
        named = ", ".join(name for name, known in FORMATS.items() if known.images)
        raise InputError(f"Confirmed labels change copies of the images ({named}); {config.format} holds none.")
    selection.check_rule(config.drop)
