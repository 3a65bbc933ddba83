"""What stands behind a sign: sky, trees, facades and road, made of gradients and fractal noise.

All images are float32 [canvas, canvas, 3] in display values 0…1, canvas = the working resolution in pixels.
"""

from __future__ import annotations

from functools import cache

import numpy as np

Generator = np.random.Generator

CLOUDS, LEAVES, GRAIN = range(3)
# How fast the noise amplitude falls with frequency: billowing, ragged, almost white.
_EXPONENTS = (2.3, 1.1, 0.6)
_ATLAS_FRAMES = 4  # the atlas is this many frames wide and high: enough for crops that never look alike
_ATLAS_SEED = 20240


@cache
def _atlas(canvas: int) -> np.ndarray:
    """Tileable fractal noise, float32 [3, 4·canvas, 4·canvas], each layer with mean 0 and variance 1.

    Made once and cropped at random afterwards: per image that costs nothing, where fresh octaves would cost most of the
    rendering time. Frequencies count in cycles a frame, so the picture does not depend on the resolution.
    """
    side = _ATLAS_FRAMES * canvas
    rng = np.random.default_rng(_ATLAS_SEED)
    across, down = np.fft.rfftfreq(side, 1 / _ATLAS_FRAMES), np.fft.fftfreq(side, 1 / _ATLAS_FRAMES)
    frequency = np.maximum(np.hypot(across[None, :], down[:, None]), 0.5)
    layers = []
    for exponent in _EXPONENTS:
        spectrum = np.fft.rfft2(rng.standard_normal((side, side))) * frequency**-exponent
        spectrum[0, 0] = 0
        layer = np.fft.irfft2(spectrum, s=(side, side))
        layers.append(layer / layer.std())
    return np.stack(layers).astype(np.float32)


def noise(rng: Generator, canvas: int, kind: int) -> np.ndarray:
    """A random crop of fractal noise, float32 [canvas, canvas, 1], mean about 0, variance about 1."""
    top, left, flips = rng.integers(0, ((_ATLAS_FRAMES - 1) * canvas, (_ATLAS_FRAMES - 1) * canvas, 4))
    crop = _atlas(canvas)[kind, top : top + canvas, left : left + canvas]
    return crop[:: -1 if flips & 1 else 1, :: -1 if flips & 2 else 1, None]


def ramp(canvas: int) -> np.ndarray:
    """Positions −1…1 from the first pixel to the last, float32 [canvas]."""
    return np.linspace(-1, 1, canvas, dtype=np.float32)


def soft_step(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 below the edge, 1 above it, linear over `softness` frame units about it."""
    return np.minimum(np.maximum(distance * (1 / softness) + 0.5, 0), 1)  # np.clip costs three times as much here


def _jittered(rng: Generator, colour: tuple[float, float, float], spread: float) -> np.ndarray:
    return (np.array(colour) + rng.uniform(-spread, spread) + rng.uniform(-spread, spread, 3) / 3).astype(np.float32)


def _sky(rng: Generator, canvas: int) -> np.ndarray:
    zenith = _jittered(rng, (0.56, 0.72, 0.9), 0.1)
    horizon = _jittered(rng, (0.86, 0.89, 0.91), 0.05)
    height = np.clip(ramp(canvas)[:, None, None] * 0.7 + rng.uniform(0.2, 0.8), 0, 1)
    clear = zenith + (horizon - zenith) * height
    cover = soft_step(noise(rng, canvas, CLOUDS) + rng.uniform(-1.2, 1.2), 2.0)
    return clear + (_jittered(rng, (0.9, 0.9, 0.91), 0.05) - clear) * cover


def _trees(rng: Generator, canvas: int) -> np.ndarray:
    season: tuple[float, float, float] = ((0.4, 0.5, 0.28), (0.52, 0.54, 0.34), (0.58, 0.48, 0.32))[rng.integers(3)]
    leaves = noise(rng, canvas, LEAVES) * rng.uniform(0.15, 0.3) + noise(rng, canvas, CLOUDS) * 0.12
    return _jittered(rng, season, 0.08) * (1 + leaves)


def _facade(rng: Generator, canvas: int) -> np.ndarray:
    walls: tuple[tuple[float, float, float], ...] = (
        (0.76, 0.7, 0.6),
        (0.68, 0.5, 0.42),
        (0.7, 0.71, 0.72),
        (0.82, 0.8, 0.74),
    )
    wall = _jittered(rng, walls[rng.integers(4)], 0.07) * (1 + 0.06 * noise(rng, canvas, LEAVES))
    columns, rows, slant = rng.uniform(1.2, 3.5), rng.uniform(1.2, 3.0), rng.uniform(-0.15, 0.15)
    x, y = ramp(canvas)[None, :, None], ramp(canvas)[:, None, None]
    column = (x * columns / 2 + rng.random()) % 1
    row = ((y + slant * x) * rows / 2 + rng.random()) % 1
    window = soft_step(0.24 - np.abs(column - 0.5), 0.06) * soft_step(0.3 - np.abs(row - 0.5), 0.06)
    glass = _jittered(rng, (0.42, 0.5, 0.58), 0.12) * (1 + 0.2 * noise(rng, canvas, CLOUDS))
    return wall + (glass - wall) * window


def _road(rng: Generator, canvas: int) -> np.ndarray:
    grey = _jittered(rng, (0.58, 0.57, 0.57), 0.08)
    return grey * (1 + 0.07 * noise(rng, canvas, GRAIN) + 0.08 * noise(rng, canvas, CLOUDS))


def _joined(rng: Generator, upper: np.ndarray, lower: np.ndarray, height: float, raggedness: float) -> np.ndarray:
    """`upper` above an uneven line at `height` (−1 top … 1 bottom), `lower` below it."""
    canvas = len(upper)
    line = height + rng.uniform(-0.25, 0.25) * ramp(canvas) + raggedness * noise(rng, canvas, LEAVES)[0, :, 0]
    below = soft_step(ramp(canvas)[:, None] - line[None, :], 0.08)[:, :, None]
    return upper + (lower - upper) * below


def backdrop(rng: Generator, canvas: int) -> np.ndarray:
    """A street scene without the sign, float32 [canvas, canvas, 3]."""
    kind = rng.random()
    if kind < 0.15:
        return _sky(rng, canvas)
    if kind < 0.3:
        return _trees(rng, canvas)
    if kind < 0.6:
        scene = _joined(rng, _sky(rng, canvas), _trees(rng, canvas), rng.uniform(-0.8, 0.5), 0.12)
    elif kind < 0.8:
        scene = _facade(rng, canvas)
    else:
        scene = _joined(rng, _sky(rng, canvas), _facade(rng, canvas), rng.uniform(-0.8, 0.0), 0.0)
    if rng.random() < 0.5:
        scene = _joined(rng, scene, _road(rng, canvas), rng.uniform(0.5, 1.1), 0.02)
    return scene
