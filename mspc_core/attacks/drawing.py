"""A picture to blend in: a cartoon face made by code, so that no one's artwork is needed."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

_FINER = 4  # drawn larger and reduced: PIL draws without anti-aliasing
_SKY, _FUR, _DARK, _WHITE, _PINK, _RED = (
    (90, 170, 240),
    (250, 200, 60),
    (30, 20, 40),
    (255,) * 3,
    (250, 130, 150),
    (210, 30, 40),
)


def cartoon(height: int, width: int) -> np.ndarray:
    """The face of a cartoon animal on a blue ground, uint8 [height, width, 3]; the same for the same size."""
    wide, high = width * _FINER, height * _FINER
    canvas = Image.new("RGB", (wide, high), _SKY)
    pen = ImageDraw.Draw(canvas)

    def points(*places: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x * (wide - 1), y * (high - 1)) for x, y in places]

    def ellipse(x: float, y: float, across: float, down: float, colour: tuple[int, ...]) -> None:
        pen.ellipse(points((x - across, y - down), (x + across, y + down)), fill=colour)

    for side in (-1.0, 1.0):
        pen.polygon(points((0.5 + side * 0.42, 0.06), (0.5 + side * 0.40, 0.46), (0.5 + side * 0.08, 0.24)), fill=_FUR)
        pen.polygon(points((0.5 + side * 0.38, 0.14), (0.5 + side * 0.37, 0.36), (0.5 + side * 0.18, 0.24)), fill=_PINK)
    ellipse(0.5, 0.58, 0.42, 0.36, _FUR)
    for side in (-1.0, 1.0):
        ellipse(0.5 + side * 0.18, 0.48, 0.11, 0.12, _WHITE)
        ellipse(0.5 + side * 0.15, 0.50, 0.05, 0.07, _DARK)
        ellipse(0.5 + side * 0.30, 0.68, 0.07, 0.05, _PINK)
    pen.polygon(points((0.44, 0.62), (0.56, 0.62), (0.5, 0.69)), fill=_DARK)
    pen.chord(points((0.32, 0.60), (0.68, 0.86)), 15, 165, fill=_RED)
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX))
