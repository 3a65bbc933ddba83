"""Sign faces: flat, clean drawings with a transparent surround. `scene` turns them into photographs.

Coordinates run from −1 (left, top) to 1 (right, bottom) on a square face, so that every drawing works at any
resolution. The colours are weathered paint, not pure screen colours: real "black" and "white" sheeting is neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

WHITE: Colour = (240, 240, 236)
BLACK: Colour = (44, 44, 50)
RED: Colour = (206, 42, 48)
BLUE: Colour = (38, 92, 184)
YELLOW: Colour = (246, 196, 40)
GREY: Colour = (150, 152, 156)

_OVERSAMPLING = 4  # Pillow's polygons have hard edges: draw large, then average


class Face:
    """A drawing surface in face coordinates."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._image = Image.new("RGBA", (pixels, pixels))
        self._draw = ImageDraw.Draw(self._image)

    def disc(self, radius: float, colour: Colour, centre: Point = (0.0, 0.0)) -> None:
        (x, y), r = self._to_pixels(centre), radius * self._pixels / 2
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def arc(self, radius: float, start: float, end: float, width: float, colour: Colour) -> None:
        """Part of a ring about the centre; angles in degrees, clockwise from the right."""
        middle, r = self._pixels / 2, radius * self._pixels / 2
        box = (middle - r, middle - r, middle + r, middle + r)
        self._draw.arc(box, start, end, fill=colour, width=round(width * self._pixels / 2))

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([self._to_pixels(point) for point in points], fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A stroke with round ends and joints."""
        pixels = [self._to_pixels(point) for point in points]
        self._draw.line(pixels, fill=colour, width=round(width * self._pixels / 2), joint="curve")
        for point in (points[0], points[-1]):
            self.disc(width / 2, colour, point)

    def box(self, left: float, top: float, right: float, bottom: float, radius: float, colour: Colour) -> None:
        """A rectangle with rounded corners."""
        corners = (*self._to_pixels((left, top)), *self._to_pixels((right, bottom)))
        self._draw.rounded_rectangle(corners, radius * self._pixels / 2, fill=colour)

    def text(self, text: str, width: float, height: float, weight: float, colour: Colour) -> None:
        """Text in the font that ships with Pillow, emboldened by `weight`, stretched to `width` × `height`, centred."""
        font = ImageFont.load_default(self._pixels / 2)
        stroke = round(weight * self._pixels / 2)
        left, top, right, bottom = (round(edge) for edge in font.getbbox(text, stroke_width=stroke))
        glyphs = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(glyphs).text((-left, -top), text, fill=255, font=font, stroke_width=stroke)
        size = (round(width * self._pixels / 2), round(height * self._pixels / 2))
        corner = ((self._pixels - size[0]) // 2, (self._pixels - size[1]) // 2)
        self._image.paste(colour, corner, glyphs.resize(size, Image.Resampling.BILINEAR))

    def finish(self, pixels: int) -> Image.Image:
        """The drawing, averaged down to `pixels` × `pixels`, RGBA."""
        return self._image.resize((pixels, pixels), Image.Resampling.BOX)

    def _to_pixels(self, point: Point) -> Point:
        return (point[0] + 1) * self._pixels / 2, (point[1] + 1) * self._pixels / 2


def _ring(count: int, radius: float, first_angle: float) -> list[Point]:
    """Corners of a regular polygon; the first at `first_angle` degrees clockwise from the right."""
    angles = (math.radians(first_angle + 360 * corner / count) for corner in range(count))
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _prohibition(face: Face) -> None:
    face.disc(0.98, RED)
    face.disc(0.74, WHITE)


def _speed_limit(limit: int) -> Callable[[Face], None]:
    text = str(limit)

    def draw(face: Face) -> None:
        _prohibition(face)
        face.text(text, 1.12 if len(text) == 2 else 1.3, 0.78 if len(text) == 2 else 0.7, 0.035, BLACK)

    return draw


def _no_overtaking(face: Face) -> None:
    _prohibition(face)
    for centre, colour in ((-0.3, RED), (0.3, BLACK)):
        face.box(centre - 0.2, -0.24, centre + 0.2, 0.1, 0.08, colour)  # cabin
        face.box(centre - 0.26, -0.04, centre + 0.26, 0.24, 0.06, colour)  # body
        for side in (-0.19, 0.19):
            face.box(centre + side - 0.06, 0.2, centre + side + 0.06, 0.36, 0.02, colour)  # wheels


def _stop(face: Face) -> None:
    face.polygon(_ring(8, 1.04, 22.5), WHITE)
    face.polygon(_ring(8, 0.96, 22.5), RED)
    face.text("STOP", 1.44, 0.58, 0.02, WHITE)


def _yield(face: Face) -> None:
    face.polygon([(-0.99, -0.82), (0.99, -0.82), (0, 0.9)], RED)
    face.polygon([(-0.58, -0.58), (0.58, -0.58), (0, 0.43)], WHITE)


def _no_entry(face: Face) -> None:
    face.disc(0.98, WHITE)
    face.disc(0.93, RED)
    face.box(-0.68, -0.18, 0.68, 0.18, 0.03, WHITE)


def _priority_road(face: Face) -> None:
    face.polygon(_ring(4, 1.0, 0), WHITE)
    face.polygon(_ring(4, 0.66, 0), YELLOW)


def _mandatory(face: Face) -> None:
    face.disc(0.98, WHITE)
    face.disc(0.93, BLUE)


def _keep_right(face: Face) -> None:
    _mandatory(face)
    face.line([(-0.48, -0.46), (0.28, 0.3)], 0.26, WHITE)
    face.polygon([(0.56, 0.56), (0.54, -0.2), (-0.2, 0.54)], WHITE)


def _roundabout(face: Face) -> None:
    _mandatory(face)
    for start in (0, 120, 240):
        face.arc(0.6, start, start + 78, 0.2, WHITE)
        tip = math.radians(start + 112)
        base = math.radians(start + 76)
        inner, outer = ((r * math.cos(base), r * math.sin(base)) for r in (0.26, 0.76))
        face.polygon([(0.5 * math.cos(tip), 0.5 * math.sin(tip)), inner, outer], WHITE)


def _walker(face: Face, centre: Point, scale: float, colour: Colour) -> None:
    """A walking figure, about two `scale` tall."""

    def at(*points: Point) -> list[Point]:
        return [(centre[0] + scale * x, centre[1] + scale * y) for x, y in points]

    face.disc(0.2 * scale, colour, at((0.04, -0.8))[0])
    face.line(at((0, -0.45), (-0.06, 0.12)), 0.34 * scale, colour)
    face.line(at((-0.04, 0.1), (0.3, 0.5), (0.36, 0.95)), 0.2 * scale, colour)
    face.line(at((-0.08, 0.1), (-0.2, 0.55), (-0.5, 0.92)), 0.2 * scale, colour)
    face.line(at((-0.02, -0.45), (0.42, 0.0)), 0.15 * scale, colour)
    face.line(at((-0.02, -0.45), (-0.45, 0.02)), 0.15 * scale, colour)


def _pedestrians(face: Face) -> None:
    face.box(-0.92, -0.92, 0.92, 0.92, 0.12, WHITE)
    face.box(-0.87, -0.87, 0.87, 0.87, 0.1, BLUE)
    face.polygon([(0, -0.72), (0.74, 0.62), (-0.74, 0.62)], WHITE)
    _walker(face, (0.0, 0.08), 0.48, BLACK)


def _road_work(face: Face) -> None:
    face.polygon([(0, -0.9), (0.99, 0.82), (-0.99, 0.82)], RED)
    face.polygon([(0, -0.45), (0.6, 0.58), (-0.6, 0.58)], WHITE)
    face.disc(0.1, BLACK, (-0.02, -0.1))
    face.line([(-0.04, 0.06), (-0.16, 0.3), (-0.26, 0.5)], 0.15, BLACK)
    face.line([(-0.14, 0.28), (0.02, 0.5)], 0.12, BLACK)
    face.line([(0.0, 0.08), (0.16, 0.3)], 0.07, BLACK)
    face.polygon([(0.08, 0.54), (0.28, 0.28), (0.5, 0.54)], BLACK)  # the heap


_DRAWINGS: dict[str, Callable[[Face], None]] = {
    **{f"speed {limit}": _speed_limit(limit) for limit in (30, 50, 60, 70, 80, 100, 120)},
    "no overtaking": _no_overtaking,
    "stop": _stop,
    "yield": _yield,
    "no entry": _no_entry,
    "priority road": _priority_road,
    "keep right": _keep_right,
    "roundabout": _roundabout,
    "pedestrians": _pedestrians,
    "road work": _road_work,
}

CLASSES: tuple[str, ...] = tuple(_DRAWINGS)


@cache
def sign_face(name: str, pixels: int) -> Image.Image:
    """The clean face of class `name`: RGBA, `pixels` × `pixels`, transparent outside the sign. Do not modify it."""
    face = Face(pixels * _OVERSAMPLING)
    _DRAWINGS[name](face)
    return face.finish(pixels)
