"""What each detector will ask of the model, counted before it starts: forward passes, gradients, trainings.

The counts are those that detectors report as forward-equivalents. Most follow from the settings and the numbers of
images and classes. Some depend on what will be found (how early a majority of scales is decided, whether a class has a
region to transplant): these have a lowest and a highest count, and the expected one is what clean and lightly poisoned
data took.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mspc_core.detectors.regions import CLASSES_PER_STEP

_TRAINING = 3  # forward-equivalents of an image in training
_MAJORITY = 6.7  # of 11 scales, until it is decided: between 6 and 11
_HOLDING = (0.3, 0.75)  # of a class's steps, until it lets go of every pixel: the least, and what is expected
_SLOW_TO_LEARN = 0.75  # of the samples are shown to the second opinion
_ASKED_AGAIN = 0.4  # of a second asking, which follows where the first finds something, is expected


@dataclass(frozen=True)
class Facts:
    """sizes: samples of each class that occurs, int [C]. outputs: classes of the model. clean: trusted samples of each
    class. norms: BatchNorm layers with parameters. statistics: features of all layers together."""

    sizes: np.ndarray
    outputs: int
    side: int
    clean: np.ndarray
    norms: int = 0
    statistics: int = 0
    features: int = 0

    @property
    def images(self) -> int:
        return int(self.sizes.sum())


@dataclass(frozen=True)
class Work:
    """Images that pass the scanned model: forward alone, forward with scaled pixels, with a gradient to the input, in
    training (of this architecture). small: side → images in training of the small CNN; small_sets: side → how many
    different images that training has. equivalents: as the detector will report, (lowest, expected, highest). flops: of
    arithmetic outside of any network. bytes_each: kept for each sample while it works. shared: of the forwards, those
    of the images as they are, which the first detector that needs them makes for all (`mspc_core.engine.plain`)."""

    forwards: float = 0.0
    scaled: float = 0.0
    gradients: float = 0.0
    trained: float = 0.0
    shared: float = 0.0
    small: dict[int, float] = field(default_factory=dict)
    small_sets: dict[int, int] = field(default_factory=dict)
    equivalents: tuple[float, float, float] = (0.0, 0.0, 0.0)
    flops: float = 0.0
    bytes_each: float = 0.0

    def after_another(self) -> Work:
        """The same, where another detector has made the shared passes."""
        low, expected, high = (count - self.shared for count in self.equivalents)
        return replace(self, forwards=self.forwards - self.shared, shared=0.0, equivalents=(low, expected, high))


def _plain(
    forwards: float = 0.0,
    scaled: float = 0.0,
    gradients: float = 0.0,
    trained: float = 0.0,
    *,
    spread: tuple[float, float] = (0.0, 0.0),
    **rest: Any,
) -> Work:
    """Work whose equivalents follow from its parts. spread: how much lower and higher they may come out."""
    expected = forwards + scaled + 2 * gradients + _TRAINING * trained
    return Work(
        forwards, scaled, gradients, trained, equivalents=(expected - spread[0], expected, expected + spread[1]), **rest
    )


def spc(facts: Facts, config: Any) -> Work:
    return _plain(facts.images, facts.images * len(config.scales), shared=facts.images)


def spc_limited(facts: Facts, config: Any) -> Work:
    images = facts.images + int(facts.clean.sum())
    return _plain(images, images * len(config.scales), shared=facts.images)


def mspc(facts: Facts, config: Any) -> Work:
    n, scales = facts.images, len(config.scales)
    needed = scales // 2 + 1
    majority = n * scales * _MAJORITY / 11
    drawn = min(config.scales_per_step or scales, scales)
    if config.inner_steps is None:
        most = float(config.inner_epochs * n * drawn)
        learned = 0.1 * most  # samples with w = 1 only
    else:
        most = learned = float(config.inner_steps * min(config.batch_size, n) * drawn)
    rounds = config.rounds
    low = n + 1 + n * scales + n * needed  # the first round may find nothing
    high = n + 1 + n * scales + rounds * (n * scales + 2 * most)
    work = _plain(n + 1, rounds * majority + n * scales, rounds * learned, shared=n)
    return replace(work, equivalents=(low, work.equivalents[1], high))


def transplant(facts: Facts, config: Any) -> Work:
    n, classes = facts.images, len(facts.sizes)
    if classes < 2:
        return _plain(n, shared=n)
    steps = config.steps * max(1, round(classes / CLASSES_PER_STEP))
    joint = min(classes, CLASSES_PER_STEP)
    each = max(2, config.images_per_step // joint)
    most = steps * joint * float(np.minimum(each, facts.sizes).mean())
    least, drawn = (share * most for share in _HOLDING)
    scored = float(config.partners * n) / classes  # one class has a region
    spread = (scored + 2 * (drawn - least), config.partners * n - scored + 2 * (most - drawn))
    return _plain(n + scored, gradients=drawn, spread=spread, bytes_each=600.0, shared=n)


def pattern(facts: Facts, config: Any) -> Work:
    n, classes = facts.images, len(facts.sizes)
    if classes < 2:
        return _plain(n, shared=n)
    groups = [min(CLASSES_PER_STEP, classes - start) for start in range(0, classes, CLASSES_PER_STEP)]
    drawn = config.steps * sum(group * max(2, config.images_per_step // group) for group in groups)
    tried = float(np.minimum(config.partners, n - facts.sizes).sum())
    side = min(config.side, facts.side)
    flops = config.rounds * n * side * side * 3 * 60.0  # Fourier transforms
    kept = 0.0 if side == facts.side else 3.0 * side * side
    return _plain(n + tried, gradients=drawn, spread=(tried, 0.0), flops=flops, bytes_each=kept, shared=n)


def mixture(facts: Facts, config: Any) -> Work:
    n, again = facts.images, facts.images / max(1, len(facts.sizes))
    return _plain(
        n + again,
        spread=(again, n - again),
        flops=_groups(facts) + _components(facts, again, config.components),
        bytes_each=8.0 * facts.features,
    )


def second_opinion(facts: Facts, config: Any) -> Work:
    n, blinding = facts.images, config.blinding
    small, sharp = int(np.clip(facts.side // 2, 8, 32)), min(64, facts.side)
    epochs = blinding.epochs or int(np.clip(round(200_000 / n), 8, 40))
    full = facts.side**2

    def asked(first_epochs: int, shown: float) -> float:
        done = n * (first_epochs * sharp**2 + shown * epochs * small**2)
        return (_TRAINING * done + n * small**2) / full

    once, again = asked(blinding.first_epochs, _SLOW_TO_LEARN), asked(0, 1.0)
    shown = _SLOW_TO_LEARN + _ASKED_AGAIN
    low, high = asked(blinding.first_epochs, 0.5), asked(blinding.first_epochs, 1.0) + again
    trained: dict[int, float] = {sharp: float(n * blinding.first_epochs)}
    trained[small] = trained.get(small, 0.0) + n * epochs * shown + (1 + _ASKED_AGAIN) * n / _TRAINING
    shrunk = 3.0 * (small**2 + (sharp**2 if sharp < facts.side else 0))
    return Work(
        n,
        small=trained,
        # Two halves of what is shown train a model each.
        small_sets={small: max(2, round(n * _SLOW_TO_LEARN / 2)), sharp: n},
        equivalents=(n + low, n + once + _ASKED_AGAIN * again, n + high),
        flops=_components(facts, n, config.components),
        bytes_each=4.0 * facts.statistics + 8.0 * config.components + shrunk,
    )


def strip(facts: Facts, config: Any) -> Work:
    return _plain(facts.images * (1 + config.overlays), bytes_each=16.0 * config.overlays, shared=facts.images)


def sdfct(facts: Facts, config: Any) -> Work:
    n = facts.images
    checking = n if config.epochs else 0
    work = _plain(checking + n * (1 + config.transformations), trained=n * config.epochs, shared=checking)
    return replace(work, bytes_each=8.0 * facts.features)


def abl(facts: Facts, config: Any) -> Work:
    return _plain(2 * facts.images, trained=facts.images * config.epochs, shared=facts.images)


def cognitive_distillation(facts: Facts, config: Any) -> Work:
    return _plain(facts.images, gradients=facts.images * config.steps, shared=facts.images)


def ibd_psc(facts: Facts, config: Any) -> Work:
    n, found = facts.images, min(config.search_samples, facts.images)
    versions = min(config.versions, facts.norms)
    search = found * min(facts.norms, 3)
    most = found * facts.norms
    spread = (search - found + n * (versions - 1), most - search)
    return _plain(n * (1 + versions) + search, spread=spread, shared=n)


def beatrix(facts: Facts, config: Any) -> Work:
    n, trusted = facts.images, int(np.minimum(facts.clean, config.trusted).sum())
    channels = min(config.channels, max(1, facts.features))
    flops = 2.0 * n * len(config.orders) * channels**2 * 60
    return _plain(2 * n + 1 + trusted, spread=(n + trusted, 0.0), flops=flops, shared=n)


def scan_cov(facts: Facts, config: Any) -> Work:
    flops, each = _whitening(facts), 4.0 * facts.features
    return _plain(facts.images + int(facts.clean.sum()), flops=flops, bytes_each=each)


def features_once(facts: Facts, config: Any) -> Work:
    """Detectors that read the features in one pass and cluster or project them."""
    return _plain(facts.images, flops=_whitening(facts), bytes_each=4.0 * facts.features)


def _whitening(facts: Facts) -> float:
    return facts.images * 4.0 * facts.features**2


def _groups(facts: Facts) -> float:
    """Whitening for each class, and many rounds of two centres; these as they were timed, in products of matrices."""
    width = facts.features
    return 240.0 * facts.images * width**2 + 40.0 * len(facts.sizes) * width**3


def _components(facts: Facts, images: float, count: int) -> float:
    """Randomised principal components, six passes, and ten rounds of ridge regression with five folds."""
    kept = min(count, facts.statistics)
    return images * (12.0 * facts.statistics * kept + 6 * 4.0 * kept**2 + 80.0 * kept**2)


COUNTS: dict[str, Callable[[Facts, Any], Work]] = {
    "spc": spc,
    "mspc": mspc,
    "transplant": transplant,
    "pattern": pattern,
    "mixture": mixture,
    "second_opinion": second_opinion,
    "spc_limited": spc_limited,
    "strip": strip,
    "sdfct": sdfct,
    "abl": abl,
    "cognitive_distillation": cognitive_distillation,
    "activation_clustering": features_once,
    "spectral_signatures": features_once,
    "scan_cov": scan_cov,
    "spectre": features_once,
    "beatrix": beatrix,
    "ibd_psc": ibd_psc,
    "flare": features_once,
}
