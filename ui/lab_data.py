"""What the Poison lab shows of data sets and attacks, as plain values. Free of streamlit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mspc_core import runs
from mspc_core.attacks.base import REGISTRY, attack_class
from mspc_core.attacks.preview import Form
from mspc_core.data import store
from mspc_core.data.store import Dataset, DatasetInfo
from mspc_core.errors import InputError
from mspc_core.runs import Run
from ui.text import count, plural, short

FORM_WORDS: dict[Form, str] = {"planted": "As planted", "applied": "At test time", "cover": "Cover sample"}
FORM_HELP = (
    "Planted: what poisoned training images get. At test time: what the attacker shows the trained model. Cover: a "
    "training image with a weaker or disturbed trigger that keeps its label, so that the model learns exactly this one."
)
LABEL_WORDS = {
    "all-to-one": "All to one class",
    "all-to-all": "Each to the next class",
    "random": "A random other class",
    "clean": "Labels stay right",
}
LABEL_HELP = (
    "All to one: poisoned images get the target class. Each to the next: class i becomes i + 1 (all-to-all). Random: "
    "any other class. Labels stay right (clean-label): images of the target class get the trigger."
)


@dataclass(frozen=True)
class AttackFacts:
    """How an attack is listed. learns: it has to learn before its trigger can be drawn."""

    name: str
    title: str
    explains: str
    citation: str
    clean_label: bool
    learns: bool
    presets: dict[str, str]


def attack_facts(name: str) -> AttackFacts:
    """Facts of a registered attack. presets: name → citation."""
    cls = attack_class(name)
    presets = {key: preset.citation for key, preset in cls.presets.items()}
    return AttackFacts(name, cls.title, cls.explains, cls.citation, cls.clean_label, cls.learns, presets)


def attack_labels() -> dict[str, str]:
    """Attack → title with what is special about it."""
    found = {}
    for name in REGISTRY:
        facts = attack_facts(name)
        marks = [word for word, holds in (("labels kept", facts.clean_label), ("learned", facts.learns)) if holds]
        found[name] = facts.title + (f" · {', '.join(marks)}" if marks else "")
    return found


def split_by_truth(found: list[DatasetInfo]) -> tuple[dict[str, DatasetInfo], list[str]]:
    """Stored data sets that can be poisoned, by name, and the names of those that are lab data already."""
    clean: dict[str, DatasetInfo] = {}
    lab: list[str] = []
    for info in found:
        try:
            taken = store.open_dataset(info.name).has_truth
        except (InputError, OSError):
            continue  # deleted a moment ago
        if taken:
            lab.append(info.name)
        else:
            clean[info.name] = info
    return clean, lab


def class_options(classes: tuple[str, ...]) -> list[str]:
    """A label for each class; blank and repeated ones get their number, because labels tell options apart."""
    names = [short(name, 60) if name.strip() else "" for name in classes]
    often = Counter(names)
    return [
        f"{name or 'class'} · {number}" if not name or often[name] > 1 else name for number, name in enumerate(names)
    ]


def ordered_rows(dataset: Dataset, label: int | None, split: str | None, shuffle: int | None) -> np.ndarray:
    """Rows of a class and split (None: all), int64; in the order of the file, or shuffled with this seed."""
    manifest = dataset.manifest
    kept = np.ones(len(manifest), dtype=bool)
    if label is not None:
        kept &= (manifest["label"] == label).to_numpy()
    if split:
        kept &= (manifest["split"] == split).to_numpy()
    rows = np.flatnonzero(kept)
    return rows if shuffle is None else np.random.default_rng(shuffle).permutation(rows)


def page_of(rows: np.ndarray, page: int, each: int) -> tuple[np.ndarray, int, int]:
    """Rows of a page, the page really shown (from 1) and the number of pages."""
    pages = max(1, -(-len(rows) // each))
    page = min(max(1, page), pages)
    return rows[(page - 1) * each : page * each], page, pages


def pixels_of(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Pixels in the order of `rows`, uint8 [N, H, W, 3]; read in the order of the file."""
    order = np.argsort(rows)
    found = np.empty((len(rows), *dataset.pixels.shape[1:]), dtype=np.uint8)
    found[order] = dataset.pixels[rows[order]]
    return found


def cost_words(name: str, images: int) -> str:
    """What learning the trigger costs, said before anybody starts it."""
    if name in ("dfst", "issba", "input-aware"):
        what = "a small network that draws it, on the CPU; one to several minutes, whatever the number of images"
    else:
        what = (
            f"a model of the attacker's own (a surrogate) on {plural(images, 'clean training image')}; about as long "
            "as training for a scan takes: a minute or two for the demo, longer for more or larger images"
        )
    return f"It trains {what}."


def amount_words(poisoned: int, covers: int, training: int) -> str:
    """400 of 4,000 training images are poisoned, and 800 more are covers."""
    text = f"{count(poisoned)} of {plural(training, 'training image')} will be poisoned"
    return text + (f", and {count(covers)} more get a cover form with their label kept." if covers else ".")


def lab_runs() -> dict[str, Run]:
    """Runs that have a model and whose data set was made in the lab, newest first."""
    found = {}
    for run in runs.list_runs():
        try:
            name = run.config().dataset
        except InputError:
            continue
        if name and (run.folder / "model.safetensors").is_file() and _has_recipe(name):
            found[run.id] = run
    return found


def _has_recipe(name: str) -> bool:
    from mspc_core import home

    try:
        return (home.datasets_folder() / home.check_name(name) / "recipe.json").is_file()
    except InputError:
        return False


def top_classes(probabilities: np.ndarray, target: int, most: int = 5) -> list[int]:
    """The classes worth a bar, the likeliest first. probabilities: [2, C], before and after; the larger one counts."""
    both = probabilities.max(0)
    chosen = [int(number) for number in np.argsort(-both, kind="stable")[:most]]
    if target not in chosen:
        chosen[-1] = target
    return sorted(chosen, key=lambda number: -float(both[number]))
