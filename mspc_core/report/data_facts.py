"""Facts on the data set and the model: source, counts, classes, what was skipped, how the model was made."""

from __future__ import annotations

from typing import Any

import numpy as np

from mspc_core.report.material import Material
from mspc_core.report.tables import Cell, Table, cut_note, share_cell
from mspc_core.words import count, percent, plural, short, utc

MOST_CLASSES, MOST_SKIPPED, MOST_REASONS = 60, 40, 20


def data_table(material: Material) -> Table:
    """What was scanned, as name and value."""
    about, config = material.summary["dataset"], material.config
    info = material.dataset.info if material.dataset else None
    rows = [
        ["Name", short(about.get("name", config.dataset), 100)],
        ["Source", short(about.get("source") or config.source, 300)],
        ["Content key", short(about.get("content_key") or config.content_key, 80)],
        ["Scanned", plural(int(about.get("scanned") or 0), "image")],
        ["Classes", count(len(material.classes))],
        ["Skipped on import", plural(int(about.get("skipped") or 0), "file")],
    ]
    if info is not None:
        splits = ", ".join(f"{name} {count(number)}" for name, number in info.split_counts.items())
        rows += [
            ["Stored", f"{plural(info.count, 'image')} ({splits})" if splits else plural(info.count, "image")],
            ["Image size", f"{info.size} × {info.size} pixels; {count(info.resized)} had another size"],
            ["Imported", f"{utc(info.created)} UTC"],
        ]
    recipe = about.get("recipe")
    if recipe:
        rows.append(["Poisoned in the lab", _recipe_words(material, recipe)])
    return Table("The scanned data set", ["Fact", "Value"], rows)


def _recipe_words(material: Material, recipe: dict[str, Any]) -> str:
    target = recipe.get("target_class")
    name = material.name_of(int(target)) if isinstance(target, int) else "?"
    return (
        f"attack {short(recipe.get('attack', '?'), 40)}, rate {percent(recipe.get('rate'))}, target “{name}”, labels "
        f"{short(recipe.get('label_mode', 'all-to-one'), 20)}, seed {short(recipe.get('seed', '?'), 20)}"
    )


def class_table(material: Material) -> Table:
    """One row a class: the named targets first, then those with most suspects, then the largest."""
    scores, total = material.scores, len(material.classes)
    labelled = np.bincount(_known(scores["label"].to_numpy(), total), minlength=total)
    predicted = np.bincount(_known(scores["predicted"].to_numpy(), total), minlength=total)
    suspects = material.flags("suspect")
    hit = np.bincount(_known(scores["predicted"].to_numpy()[suspects], total), minlength=total)
    wrong = np.bincount(_known(scores["label"].to_numpy()[suspects], total), minlength=total)
    verdict = material.summary.get("verdict") or {}
    named = {int(row["class"]) for row in verdict.get("target_classes") or []}
    order = sorted(range(total), key=lambda c: (c not in named, -int(hit[c]), -int(labelled[c]), c))
    rows: list[list[str | Cell]] = [
        [
            material.name_of(c) + (" (suspected target)" if c in named else ""),
            count(labelled[c]),
            count(predicted[c]),
            count(wrong[c]),
            _suspects_cell(int(hit[c]), int(predicted[c])),
        ]
        for c in order[:MOST_CLASSES]
    ]
    return Table(
        "Images and suspects by class",
        [
            "Class",
            "Images with this label",
            "Images predicted as it",
            "Suspects with this label",
            "Suspects predicted as it",
        ],
        rows,
        numbers=(1, 2, 3, 4),
        note=cut_note(len(rows), total, "classes"),
        marked=[place for place, c in enumerate(order[:MOST_CLASSES]) if c in named],
    )


def _suspects_cell(hit: int, predicted: int) -> Cell:
    share = hit / predicted if predicted else 0.0
    return share_cell(share, f"{count(hit)} ({percent(share)})" if hit else "0")


def _known(numbers: np.ndarray, total: int) -> np.ndarray:
    whole = np.asarray(numbers).astype(np.int64)
    found: np.ndarray = whole[(whole >= 0) & (whole < total)]
    return found


def skipped_tables(material: Material) -> list[Table]:
    """Why files were skipped, and which; nothing where none was or the list is gone."""
    if material.dataset is None or not material.dataset.info.skipped:
        return []
    skipped = material.dataset.skipped()
    reasons = skipped["reason"].value_counts()
    first = Table(
        "Why files were skipped",
        ["Reason", "Files"],
        [[short(reason, 200), count(number)] for reason, number in reasons.head(MOST_REASONS).items()],
        numbers=(1,),
        note=cut_note(min(len(reasons), MOST_REASONS), len(reasons), "reasons"),
    )
    paths = skipped.head(MOST_SKIPPED)
    second = Table(
        "Skipped files",
        ["Path in the source", "Reason"],
        [[short(path, 200), short(reason, 200)] for path, reason in zip(paths["path"], paths["reason"], strict=True)],
        note=cut_note(len(paths), len(skipped), "skipped files"),
    )
    return [first, second]


def model_table(material: Material) -> Table:
    """The model that was scanned with."""
    about, summary = material.model, material.summary.get("model") or {}
    here = bool(summary.get("trained_here", about.get("trained_here")))
    rows = [
        ["Architecture", short(summary.get("arch") or about.get("arch") or material.config.arch, 80)],
        ["Weights", "trained for this scan, on the scanned images" if here else "given by the user"],
    ]
    if not here and (about.get("checkpoint") or material.config.checkpoint):
        rows.append(["Checkpoint", short(about.get("checkpoint") or material.config.checkpoint, 300)])
    training = about.get("training") or {}
    if training:
        rows.append(["Training", ", ".join(f"{key} {_plain(value)}" for key, value in training.items())])
    losses = [value for value in about.get("train_loss") or [] if isinstance(value, int | float)]
    if losses:
        rows.append(["Training loss", f"{losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last"])
    rows += [
        ["Accuracy on the scanned images", percent(summary.get("train_accuracy"), 2)],
        ["Accuracy on held-out images", _or(summary.get("val_accuracy"), "not measured: no test or validation split")],
        ["Attack success rate", _or(summary.get("attack_success_rate"), "not measured: no known trigger to test with")],
    ]
    return Table("The model", ["Fact", "Value"], rows)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else short(value, 60)


def _or(share: float | None, otherwise: str) -> str:
    return otherwise if share is None else percent(share, 2)
