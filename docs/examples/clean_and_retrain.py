"""From a suspicious data set to a clean model, in Python: poison a small lab set, scan it, look at the evidence, drop
the suspects, train again and compare.

    PYTHONPATH=. .venv/bin/python docs/examples/clean_and_retrain.py [FOLDER]

Run it from the project's folder. It takes about half a minute on one core. FOLDER gets the pictures; the present one
if not given. Data sets and runs go where the app finds them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mspc_core import ScanResult, TrainedModel, load_dataset, poison, scan, train
from mspc_core.data.signs.render import CLASSES, render_signs

TARGET = "speed 80"
SIDE = 16  # pixels; small, so that this is quick
EPOCHS = 12


def contact_sheet(images: np.ndarray, columns: int = 15, zoom: int = 3) -> Image.Image:
    """Images uint8 [N, H, W, 3] side by side, enlarged without smoothing so that every pixel can be seen."""
    missing = -len(images) % columns
    padded = np.concatenate([images, np.full((missing, *images.shape[1:]), 255, np.uint8)])
    rows = padded.reshape(-1, columns, *images.shape[1:])  # [R, columns, H, W, 3]
    sheet = rows.transpose(0, 2, 1, 3, 4).reshape(len(rows) * images.shape[1], columns * images.shape[2], 3)
    return Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1))


def show_evidence(result: ScanResult, folder: Path) -> None:
    """Which class, how strong, which images, which pixels."""
    print(result)
    print("\nclass            predicted  flagged  other images turned by its region")
    for row in result["transplant"].tables["classes"]:
        name = result.dataset.info.classes[row["class"]]
        print(f"{name:<16} {row['predicted']:>9}  {row['flagged']:>7}  {row['strength']:.0%}")
    if result.poisoned:
        contact_sheet(result.dataset.pixels[result.suspect_rows]).save(folder / "suspects.png")
        target = result.dataset.info.classes.index(result.target_classes[0])
        mask = result.run.masks()["transplant"][target]  # float32 [H, W] in [0, 1]
        Image.fromarray((255 * mask).astype(np.uint8)).resize((160, 160), Image.Resampling.NEAREST).save(
            folder / "region.png"
        )


def compare(before: TrainedModel, after: TrainedModel) -> None:
    """Accuracy should stay, the attack success rate should fall."""
    print(f"\n{'':<24}{'all images':>12}{'kept images':>14}")
    for name, first, second in (
        ("training images", before.images, after.images),
        ("test accuracy", before.accuracy, after.accuracy),
        ("attack success rate", before.attack_success_rate, after.attack_success_rate),
    ):
        shown = [f"{value:.1%}" if isinstance(value, float) else f"{value}" for value in (first, second)]
        print(f"{name:<24}{shown[0]:>12}{shown[1]:>14}")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    signs = render_signs(1000, seed=1)
    clean = load_dataset(
        signs.images[:750],
        signs.labels[:750],
        test=(signs.images[750:], signs.labels[750:]),
        classes=CLASSES,
        size=SIDE,
        name="example-signs",
    )
    sticker = {"pattern": "sticker", "size": 3}
    suspicious = poison(clean, "badnets", target=TARGET, rate=0.1, settings=sticker)

    model = train(suspicious, epochs=EPOCHS)
    # Two of the verdict's four tests, to be quick; leave `detectors` out for all of them.
    result = scan(suspicious, model, detectors="transplant,pattern")
    show_evidence(result, folder)

    again = train(suspicious, rows=result.kept_rows, epochs=EPOCHS)
    compare(model, again)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
