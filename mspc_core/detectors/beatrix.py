"""Beatrix (Ma et al., "The 'Beatrix' Resurrections: Robust Backdoor Detection via Gram Matrices", NDSS 2023, arXiv
2209.11715): triggers disturb how a layer's channels go together, even where each sample has its own trigger.

For a feature map v [C, positions] the Gram matrix of order p is Gᵖ = (vᵖ vᵖᵀ)^(1/p), p = 1 … 8, upper triangles only.
For each class, trusted samples (at most 30) give the median and the MAD of every entry; the band is median ± 10·MAD.
The deviation of a sample is the relative distance to the band, averaged over entries and orders. Samples above the 95 %
quantile of the trusted samples' own deviations (five folds) are suspects; a class is infected if the anomaly index of
the kernel distance (MMD) between its suspects and its other samples exceeds e².

Deviations: the map is the last one that comes from a layer with parameters, before the activation function, whose
zeros would make most bands empty (the paper: the input of ResNet-18's last stage); it is scaled to a largest mean of
one so that powers stay finite, and wide maps keep at most `channels` channels, drawn once. The kernel distance
compares mean values of channels with one Gaussian kernel whose width is the median distance. Samples are grouped by
their given label.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.detectors.base import Artifacts, CleanData, Needs, Threshold
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.classwise import EXP_2, anomaly_index, both, check_labels, members_of
from mspc_core.engine import distributed
from mspc_core.engine.forward import counting, device_of, frozen, to_float
from mspc_core.engine.memory import in_pieces
from mspc_core.engine.pixels import batches
from mspc_core.engine.plain import plain_predictions
from mspc_core.errors import InputError, Progress, ShouldStop, stop_if

_FOLDS, _TRUSTED_MINIMUM, _MINIMUM = 5, 5, 4
_COMPARED = 300  # samples on each side of the kernel distance
_BATCH = 128  # Gram matrices are large: 8 orders of 64 channels take 67 kB a sample, several times while they are built


@dataclass(frozen=True)
class BeatrixConfig:
    """orders: powers p. band: of median ± band·MAD. trusted: clean samples used for each class. quantile: of their
    deviations, above which a sample is a suspect. threshold: of the anomaly index of a class. channels: at most."""

    orders: tuple[int, ...] = tuple(range(1, 9))
    band: float = 10.0
    trusted: int = 30
    quantile: float = 0.95
    threshold: float = EXP_2
    channels: int = 64
    seed: int = 0


class Beatrix:
    """Score in [0, 1]: above 0.5 for suspects of an infected class."""

    name: ClassVar[str] = "beatrix"
    title: ClassVar[str] = CATALOG["beatrix"].title
    citation: ClassVar[str] = CATALOG["beatrix"].citation
    needs: ClassVar[Needs] = CATALOG["beatrix"].needs

    decision_scores_: np.ndarray
    threshold_: Threshold
    labels_: np.ndarray
    artifacts_: Artifacts

    def __init__(self, config: BeatrixConfig | None = None) -> None:
        self.config = config or BeatrixConfig()

    def fit(
        self,
        model: nn.Module,
        images: np.ndarray,
        *,
        labels: np.ndarray,
        clean: CleanData | None = None,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Self:
        """See `Detector.fit`. Two forwards for each scanned image (the first only checks the outputs) and one for each
        trusted one. Raises `InputError` without clean data. `artifacts_.tables["classes"]` has each class's kernel
        distance and anomaly index."""
        if clean is None or not len(clean.images):
            raise InputError("Beatrix needs clean data: name a trusted part of the data set.")
        config, labels = self.config, check_labels(labels, len(images))
        trusted_labels = check_labels(clean.labels, len(clean.images))
        generator = np.random.default_rng(config.seed)
        scores, done = np.zeros(len(images)), 0
        classes, notes = members_of(labels, _MINIMUM)
        margins: dict[int, np.ndarray] = {}
        distances: list[float] = []
        without = []
        with counting(model) as count:
            plain_predictions(model, images, should_stop=should_stop)
            layer, device = last_map(model, images[:1]), device_of(model)
            for label, members in classes.items():
                stop_if(should_stop)
                known = np.flatnonzero(trusted_labels == label)[: config.trusted]
                if len(known) < _TRUSTED_MINIMUM:
                    without.append(label)
                    done += len(members)
                    continue
                reader = _Reader(model, layer, config)
                maps = reader.read(clean.images[known])
                reader.scale = float(maps.mean(2).abs().max().clamp_min(1e-12))
                bands = Bands(grams(reader.prepare(maps), config.orders), config.band)
                limit = self._limit(reader.prepare(maps))
                found, means = [np.zeros(0)], []
                starts = distributed.batches(len(members), _BATCH)
                for place, (_, pixels) in zip(starts, batches(images, members, starts, _BATCH, device), strict=True):
                    stop_if(should_stop)
                    for deviations, mean in reader.compare(pixels, bands):
                        found.append(deviations)
                        means.append(mean)
                    if progress:
                        progress(done + place + len(pixels), len(images), "comparing Gram matrices")
                outside = distributed.gather_array(np.concatenate(found))
                mean_maps = distributed.gather_rows(torch.cat(means) if means else torch.empty(0, 0))
                done += len(members)
                margins[label] = np.log((outside + 1e-9) / (limit + 1e-9))
                distances.append(_between(mean_maps.numpy(), margins[label] > 0, generator))
        if without:
            notes.append(
                f"Fewer than {_TRUSTED_MINIMUM} trusted samples of {len(without)} classes ({without[0]}, …): "
                "score 0, nothing flagged there."
            )
        if 0 < len(margins) < 3:
            notes.append("Fewer than three classes can be compared, so that none stands out: nothing was flagged.")
        rows: list[dict[str, Any]] = []
        for (label, margin), distance, index in zip(
            margins.items(), distances, anomaly_index(np.array(distances)), strict=True
        ):
            scores[classes[label]] = both(float(index) / config.threshold, margin)
            flagged = int((scores[classes[label]] > 0.5).sum())
            rows.append({"class": label, "distance": distance, "anomaly_index": float(index), "flagged": flagged})
        self.decision_scores_ = scores
        self.threshold_ = Threshold(0.5, "natural", CATALOG["beatrix"].rule)
        self.labels_ = scores > 0.5
        self.artifacts_ = Artifacts(tables={"classes": rows}, notes=notes, forward_equivalents=count.equivalents)
        return self

    def _limit(self, maps: Tensor) -> float:
        """The quantile of trusted samples' deviations from bands that were estimated on the other folds."""
        found = []
        for fold in range(_FOLDS):
            held = torch.arange(len(maps), device=maps.device) % _FOLDS == fold
            bands = Bands(grams(maps[~held], self.config.orders), self.config.band)
            found.append(bands.deviations(grams(maps[held], self.config.orders)).cpu().numpy())
        return float(np.quantile(np.concatenate(found), self.config.quantile))


class Bands:
    """median ± band·MAD of each entry of trusted Gram vectors [M, E]."""

    def __init__(self, trusted: Tensor, band: float) -> None:
        middle = trusted.median(0).values
        spread = (trusted - middle).abs().median(0).values
        self.low, self.high = middle - band * spread, middle + band * spread

    def deviations(self, vectors: Tensor) -> Tensor:
        """Mean over entries of the distance to the band relative to its border, [n]; 0 inside the band."""
        below = (self.low - vectors).clamp_min(0) / (self.low.abs() + 1e-6)
        above = (vectors - self.high).clamp_min(0) / (self.high.abs() + 1e-6)
        return (below + above).mean(1)


def grams(maps: Tensor, orders: tuple[int, ...]) -> Tensor:
    """[n, C, positions] → the upper triangles of all orders, [n, orders · C(C+1)/2]."""
    channels = maps.shape[1]
    rows, columns = torch.triu_indices(channels, channels, device=maps.device)
    found = []
    for order in orders:
        powers = maps**order
        entries = (powers @ powers.transpose(1, 2))[:, rows, columns]
        found.append(entries.sign() * entries.abs() ** (1.0 / order))
    return torch.cat(found, 1)


def last_map(model: nn.Module, image: np.ndarray) -> nn.Module:
    """The last module with parameters and without children whose output is a map, [B, C, H, W] with more than one
    position or tokens [B, T, C]. Raises `InputError` where there is none."""
    seen: list[nn.Module] = []

    def hook(module: nn.Module, _: Any, outputs: Any) -> None:
        if isinstance(outputs, Tensor) and _positions(outputs) > 1:
            seen.append(module)

    leaves = [m for m in model.modules() if not list(m.children()) and list(m.parameters(recurse=False))]
    handles = [leaf.register_forward_hook(hook) for leaf in leaves]
    try:
        with frozen(model) as device, torch.inference_mode():
            model(to_float(image, device))
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise InputError("This architecture has no feature maps to compare: choose another detector.")
    return seen[-1]


def _positions(outputs: Tensor) -> int:
    return outputs.shape[1] if outputs.ndim == 3 else outputs[0, 0].numel() if outputs.ndim == 4 else 0


class _Reader:
    """Reads one layer's maps as float32 [n, C, positions], scaled and with at most `channels` channels."""

    def __init__(self, model: nn.Module, layer: nn.Module, config: BeatrixConfig) -> None:
        self.model, self.layer, self.config, self.scale = model, layer, config, 1.0

    def read(self, images: np.ndarray | Tensor) -> Tensor:
        """images: uint8 [n, H, W, 3]."""
        with torch.no_grad():
            return torch.cat(in_pieces(self.model, len(images), lambda piece: self._read(images[piece])))

    def compare(self, images: np.ndarray | Tensor, bands: Bands) -> list[tuple[np.ndarray, Tensor]]:
        """Deviations from the bands, float64 [n], and the channels' means, [n, C], of uint8 [n, H, W, 3]: in one piece,
        or in several where the Gram matrices do not fit."""

        def work(piece: slice) -> tuple[np.ndarray, Tensor]:
            part = self.prepare(self._read(images[piece]))
            deviations = bands.deviations(grams(part, self.config.orders))
            return deviations.double().cpu().numpy(), part.mean(2).cpu()

        with torch.no_grad():
            return in_pieces(self.model, len(images), work)

    def _read(self, images: np.ndarray | Tensor) -> Tensor:
        with self._kept() as kept, frozen(self.model) as device, torch.inference_mode():
            self.model(to_float(images, device))
        outputs = kept[-1].float()
        return outputs.transpose(1, 2) if outputs.ndim == 3 else outputs.flatten(2)

    def prepare(self, maps: Tensor) -> Tensor:
        """Scaled, and the same channels of every map."""
        if maps.shape[1] > self.config.channels:
            drawn = np.random.default_rng([self.config.seed, 1]).permutation(maps.shape[1])[: self.config.channels]
            maps = maps[:, torch.from_numpy(np.sort(drawn)).to(maps.device)]
        return maps / self.scale

    @contextmanager
    def _kept(self) -> Iterator[list[Tensor]]:
        kept: list[Tensor] = []
        handle = self.layer.register_forward_hook(lambda _, __, outputs: kept.append(outputs.clone()))
        try:
            yield kept
        finally:
            handle.remove()


def _between(means: np.ndarray, suspects: np.ndarray, generator: np.random.Generator) -> float:
    """Kernel distance (biased MMD², times m·n/(m + n)) of suspects and others; 0 if a side is (nearly) empty."""
    sides = [np.flatnonzero(suspects), np.flatnonzero(~suspects)]
    if min(map(len, sides)) < 2:
        return 0.0
    first, second = (means[np.sort(generator.permutation(side)[:_COMPARED])].astype(np.float64) for side in sides)
    both_sides = np.concatenate([first, second])
    squared = ((both_sides[:, None] - both_sides[None]) ** 2).sum(2)
    width = float(np.median(squared))
    kernel = np.exp(-squared / width) if width > 0 else np.ones_like(squared)
    n, m = len(first), len(second)
    difference = kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
    return float(difference * n * m / (n + m))
