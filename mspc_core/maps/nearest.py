"""Which images the model sees most like a given one."""

from __future__ import annotations

import numpy as np

_CHUNK = 65_536


def nearest(features: np.ndarray, position: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the `count` samples with the smallest cosine distance to the one at `position` (itself left out),
    nearest first, and the distances, float32 in [0, 2]. Equal distances keep the table's order.

    features: [N, D], read in chunks, so it may be a memory map. The distance to or from features that are all zero
    is 1.
    """
    own = np.asarray(features[position], dtype=np.float32)
    own /= max(float(np.linalg.norm(own)), 1e-12)
    distances = np.empty(len(features), dtype=np.float32)
    for start in range(0, len(features), _CHUNK):
        chunk = np.asarray(features[start : start + _CHUNK], dtype=np.float32)
        lengths = np.maximum(np.sqrt(np.einsum("nd,nd->n", chunk, chunk)), 1e-12)
        distances[start : start + len(chunk)] = 1.0 - (chunk @ own) / lengths
    np.clip(distances, 0.0, 2.0, out=distances)
    distances[position] = np.inf
    count = min(count, len(features) - 1)
    if count < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    limit = np.partition(distances, count - 1)[count - 1]
    close = np.flatnonzero(distances <= limit)
    found = close[np.argsort(distances[close], kind="stable")][:count]
    return found, distances[found]
