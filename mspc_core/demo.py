"""The embedded demo: rendered traffic signs with a sticker that turns other signs into one speed limit.

The story BadNets was told with (Gu et al. 2017, section 5): a street sign with a small note on it is read as another.
"""

from __future__ import annotations

from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset
from mspc_core.data.store import Dataset, open_dataset, sample_id
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if
from mspc_core.home import datasets_folder

NAME = "demo"
CLEAN_NAME = f"{NAME}-clean"
TRAIN, TEST = 4000, 1000
EPOCHS = 12  # enough for over 99 % test accuracy, and short to wait for
RATE = 0.1
TARGET = "speed 80"
STICKER = BadNets(size=5, pattern="sticker", place="lower-right", margin=1)


def build_demo(
    name: str = NAME, *, seed: int = 0, progress: Progress | None = None, should_stop: ShouldStop | None = None
) -> Dataset:
    """The poisoned demo data set, made now or reused. Its clean origin is stored beside it as `<name>-clean`."""
    if (datasets_folder() / name / "dataset.json").is_file():
        existing = open_dataset(name)
        if (existing.recipe() or {}).get("seed") == seed and existing.info.source == f"{name}-clean":
            return existing
        raise InputError(f"A data set named {name!r} exists already and is not this demo: choose another name.")
    clean = build_clean(f"{name}-clean", seed=seed, progress=progress, should_stop=should_stop)
    target = clean.info.classes.index(TARGET)
    return poison_dataset(clean, STICKER, rate=RATE, target=target, name=name, seed=seed, should_stop=should_stop)


def build_clean(
    name: str = CLEAN_NAME, *, seed: int = 0, progress: Progress | None = None, should_stop: ShouldStop | None = None
) -> Dataset:
    """The demo's images before anything was planted, made now or reused."""
    from mspc_core.data.signs.render import CLASSES, render_signs

    key = f"signs:{seed}:{TRAIN}:{TEST}"
    if (datasets_folder() / name / "dataset.json").is_file():
        existing = open_dataset(name)
        if existing.info.source_key == key:
            return existing
        raise InputError(f"A data set named {name!r} exists already and is not this demo: choose another name.")
    signs = render_signs(TRAIN + TEST, seed=seed, progress=progress, should_stop=should_stop)
    with DatasetWriter(name, size=32, classes=CLASSES, kind="rendered", source="embedded demo") as writer:
        for number, (image, label) in enumerate(zip(signs.images, signs.labels, strict=True)):
            stop_if(should_stop)
            split = "train" if number < TRAIN else "test"
            path = f"{split}/{number:05d}.png"
            writer.add(image, identity=sample_id(path, image.tobytes()), path=path, label=int(label), split=split)
        return writer.commit(source_key=key)
