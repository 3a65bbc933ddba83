"""One photograph of a sign: viewpoint, weathering, light, lens and sensor.

The look is that of bright, slightly hazy daylight. That is a choice with a reason: as in natural photographs the
mid-tones then saturate when pixels are multiplied, so an amplified clean image loses its object. Clean-cut
black-on-white drawings are scale-invariant and would make every scaled-prediction detector look bad for a reason that
real data does not have.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageFilter

from mspc_core.data.signs.backdrop import CLOUDS, LEAVES, Generator, backdrop, noise, ramp, soft_step
from mspc_core.data.signs.shapes import sign_face

SUPERSAMPLING = 2  # the scene is drawn this much larger than the photograph
_SHOULDER = 0.78  # display value above which the film curve bends towards white
_WHITE = 0.975  # what the curve never exceeds: even the sky keeps a little detail
_VEIL = (0.1, 0.34)  # haze and glare: how much of the light never touched the scene
_JPEG_QUALITY = (50, 92)
_SENSOR_RANGE = 1.25  # scene values above this are lost before exposure is set
_AVERAGE = np.full((3, 1), 1 / 3, dtype=np.float32)
_DIRT = np.array([0.45, 0.4, 0.33], dtype=np.float32)


def photograph(name: str, rng: Generator, size: int) -> np.ndarray:
    """A photograph of the sign `name`, uint8 [size, size, 3]; every choice comes from `rng`."""
    canvas = size * SUPERSAMPLING
    scene = backdrop(rng, canvas)
    sign, cover = _posed_sign(name, rng, canvas)
    _plant_post(scene, cover, rng)
    scene += (_weathered(sign, rng) - scene) * cover
    return _sensed(_exposed(_focused(_lit(scene, rng), rng, size), rng), rng)


def _posed_sign(name: str, rng: Generator, canvas: int) -> tuple[np.ndarray, np.ndarray]:
    """The sign seen from a random viewpoint: colour float32 [canvas, canvas, 3] and coverage [canvas, canvas, 1]."""
    yaw, pitch, roll = rng.normal(0, (0.3, 0.12, 0.07)).clip(-0.65, 0.65)
    radius = rng.uniform(0.66, 0.9)
    centre = rng.uniform(-1, 1, 2) * (1.02 - radius) * 0.8
    matrix = _homography(yaw, pitch, roll, radius, centre)
    # Pillow wants output pixel → face pixel; both grids have `canvas` pixels for the units −1…1.
    to_units = np.array([[2 / canvas, 0, -1], [0, 2 / canvas, -1], [0, 0, 1]])
    lookup = np.linalg.inv(matrix @ to_units) @ to_units
    coefficients = (lookup / lookup[2, 2]).ravel()[:8].tolist()
    posed = sign_face(name, canvas).transform(
        (canvas, canvas), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR
    )
    pixels = np.asarray(posed, dtype=np.float32) / 255
    return pixels[:, :, :3], pixels[:, :, 3:]


def _homography(yaw: float, pitch: float, roll: float, radius: float, centre: np.ndarray) -> np.ndarray:
    """Face units → frame units for a plane turned by three angles (radians) before a pinhole camera, float64 [3, 3]."""
    cy, sy, cp, sp, cr, sr = (f(angle) for angle in (yaw, pitch, roll) for f in (math.cos, math.sin))
    turn = (
        np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    )
    distance = 4.5  # in sign radii: near enough for visible perspective
    plane = np.column_stack([turn[:, 0], turn[:, 1], (0, 0, distance)])
    camera = np.array([[radius * distance, 0, centre[0]], [0, radius * distance, centre[1]], [0, 0, 1]])
    return camera @ plane


def _plant_post(scene: np.ndarray, cover: np.ndarray, rng: Generator) -> None:
    """Draw the grey post under the sign into `scene`, in place."""
    canvas = len(scene)
    weights = cover[:, :, 0].sum(axis=0)
    middle = float((weights * ramp(canvas)).sum() / max(float(weights.sum()), 1.0))
    across = ramp(canvas) - middle
    half_width = rng.uniform(0.035, 0.06)
    post = soft_step(half_width - np.abs(across), 0.03)[None, :, None]
    shade = (rng.uniform(0.5, 0.68) + across * rng.uniform(-2, 2))[None, :, None]
    below = slice(canvas // 2, None)
    scene[below] += (shade - scene[below]) * post


def _weathered(sign: np.ndarray, rng: Generator) -> np.ndarray:
    """Bleached by the sun, stained by dirt, scratched."""
    canvas = len(sign)
    bleach = rng.beta(1.2, 4)
    grey = sign @ _AVERAGE
    sign = sign + (grey * 0.6 + 0.34 - sign) * (0.5 * bleach)
    dirt = soft_step(noise(rng, canvas, LEAVES) - rng.uniform(0.6, 2.4), 1.5) * rng.uniform(0.1, 0.5)
    sign = sign + (_DIRT - sign) * dirt
    if rng.random() < 0.3:
        angle, offset = rng.uniform(0, math.pi), rng.uniform(-0.5, 0.5)
        x, y = ramp(canvas)[None, :], ramp(canvas)[:, None]
        away = np.abs(x * math.sin(angle) - y * math.cos(angle) - offset + 0.03 * noise(rng, canvas, CLOUDS)[:, :, 0])
        sign = sign + (0.6 - sign) * (soft_step(0.02 - away, 0.03) * 0.5)[:, :, None]
    return sign


def _lit(scene: np.ndarray, rng: Generator) -> np.ndarray:
    """Light falling off to one side, and sometimes the edge of a shadow across the frame."""
    canvas = len(scene)
    x, y = ramp(canvas)[None, :], ramp(canvas)[:, None]
    angle = rng.uniform(0, 2 * math.pi)
    light = 1 + rng.uniform(0, 0.16) * (x * math.cos(angle) + y * math.sin(angle))
    if rng.random() < 0.35:
        angle, offset = rng.uniform(0, 2 * math.pi), rng.uniform(-0.5, 0.8)
        edge = x * math.cos(angle) + y * math.sin(angle) - offset + 0.1 * noise(rng, canvas, CLOUDS)[:, :, 0]
        light = light * (1 - rng.uniform(0.15, 0.4) * soft_step(edge, rng.uniform(0.06, 0.3)))
    return scene * light[:, :, None]


def _focused(scene: np.ndarray, rng: Generator, size: int) -> np.ndarray:
    """Camera shake, defocus, and the average over each pixel of the sensor: float32 [size, size, 3]."""
    if rng.random() < 0.35:
        angle, length = rng.uniform(0, math.pi), rng.uniform(0.0, 0.09) * size
        step = (round(length * math.sin(angle)), round(length * math.cos(angle)))
        padded = np.pad(scene, ((abs(step[0]),) * 2, (abs(step[1]),) * 2, (0, 0)), mode="edge")
        rows, columns = len(scene), len(scene)
        shifted = [
            padded[abs(step[0]) + s * step[0] :, abs(step[1]) + s * step[1] :][:rows, :columns] for s in (-1, 0, 1)
        ]
        scene = (shifted[0] + shifted[1] + shifted[2]) / 3
    image = Image.fromarray(np.minimum(scene * (255 / _SENSOR_RANGE), 255).astype(np.uint8))
    radius = rng.uniform(0.2, 1.0) * image.width / 64
    image = image.filter(ImageFilter.GaussianBlur(radius)).reduce(image.width // size)
    return np.asarray(image, dtype=np.float32) * (_SENSOR_RANGE / 255)


def _exposed(scene: np.ndarray, rng: Generator) -> np.ndarray:
    """Exposure, colour temperature, a veil of haze that lifts the blacks, a film curve that holds the whites."""
    warmth, tint = rng.normal(0, (0.04, 0.015))
    exposure = rng.normal(1.0, 0.12) * np.array([1 + warmth, 1 + tint, 1 - warmth])
    veil = rng.uniform(*_VEIL) * np.array([0.97 + warmth, 1.0, 1.03 - warmth])
    x, y = ramp(len(scene))[None, :, None], ramp(len(scene))[:, None, None]
    flare = 1 + rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.2, 0.1) * y  # more of it towards the light
    veil = (veil * flare).astype(np.float32)
    scene = scene * exposure.astype(np.float32) * (1 - veil) + veil * 0.95
    room = _WHITE - _SHOULDER
    return np.where(scene < _SHOULDER, scene, _WHITE - room * np.exp((_SHOULDER - scene) / room))


def _sensed(image: np.ndarray, rng: Generator) -> np.ndarray:
    """Sensor noise and one JPEG round trip: uint8 [size, size, 3]."""
    strength = rng.uniform(0.004, 0.018)
    noisy = image + rng.standard_normal(image.shape, dtype=np.float32) * (strength * np.sqrt(0.3 + image))
    pixels = (noisy.clip(0.01, 0.985) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(*_JPEG_QUALITY)), subsampling=0)
    return np.asarray(Image.open(buffer, formats=("JPEG",)))
