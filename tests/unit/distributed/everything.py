"""Runs under torchrun, and plainly for comparison: small settings of every detector, and a training.

python -m torch.distributed.run --nproc-per-node=3 -m tests.unit.distributed.everything OUT
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

COUNT, SIZE, CLASSES = 200, 16, 4  # 4 batches of 64 for 3 processes, the last one with 8 images
ALIKE = ("abl", "activation_clustering", "spectral_signatures", "scan_cov", "spectre", "spc_limited")


def data() -> tuple[np.ndarray, np.ndarray]:
    """uint8 [200, 16, 16, 3] and labels: colours, and a white square on some of class 2."""
    generator = np.random.default_rng(0)
    labels = np.arange(COUNT) % CLASSES
    images = generator.integers(0, 120, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, ..., label % 3] += np.uint8(40 + 20 * label)
    images[::8, 11:15, 11:15] = 255
    labels[::8] = 2
    return images, labels.astype(np.int64)


def trained(images: np.ndarray, labels: np.ndarray, *, shared: bool) -> tuple[Any, Any]:
    """A small CNN after one epoch of batches of 64, the last one of 8, with augmentation; and the history."""
    import torch

    from mspc_core.cleaning import fresh_model
    from mspc_core.models.train import TrainConfig, train_model
    from mspc_core.models.zoo import ModelSpec

    model, _ = fresh_model(ModelSpec("small-cnn", CLASSES, SIZE), images, 0, torch.device("cpu"))
    history = train_model(
        model, images, labels, TrainConfig(epochs=1, batch_size=64, augment=True, peak_lr=0.02), shared=shared
    )
    return model, history


def detectors() -> dict[str, Any]:
    """The detectors, with few steps where they optimise; of those that only read features, two stand for the rest."""
    from mspc_core.detectors import REGISTRY, create
    from mspc_core.detectors.cognitive_distillation import CognitiveDistillationConfig
    from mspc_core.detectors.mspc import MSPCConfig
    from mspc_core.detectors.opinion import Blinding
    from mspc_core.detectors.pattern import PatternConfig
    from mspc_core.detectors.sdfct import SDFCTConfig
    from mspc_core.detectors.second_opinion import SecondOpinionConfig
    from mspc_core.detectors.strip import STRIPConfig
    from mspc_core.detectors.transplant import TransplantConfig

    small = {
        "cognitive_distillation": CognitiveDistillationConfig(steps=2),
        "mspc": MSPCConfig(rounds=1, inner_steps=8),
        "pattern": PatternConfig(steps=6),
        "sdfct": SDFCTConfig(epochs=1, transformations=1),
        "second_opinion": SecondOpinionConfig(Blinding(epochs=1, first_epochs=2), components=20, refinements=2),
        "strip": STRIPConfig(overlays=4),
        "transplant": TransplantConfig(steps=6, partners=4),
    }
    return {name: create(name, small.get(name)) for name in REGISTRY if name not in ALIKE}


def everything(shared: bool) -> dict[str, np.ndarray]:
    """Scores, flags and masks of all detectors on one model, and what a training gives."""
    import torch

    from mspc_core.detectors.base import CleanData

    torch.set_num_threads(1)
    images, labels = data()
    reference, _ = trained(images, labels, shared=False)
    found: dict[str, np.ndarray] = {}
    for name, detector in detectors().items():
        detector.fit(reference, images, labels=labels, clean=CleanData(images[80:180], labels[80:180]))
        found[f"{name}.scores"], found[f"{name}.flagged"] = detector.decision_scores_, detector.labels_
        for key, mask in detector.artifacts_.masks.items():
            found[f"{name}.mask.{key}"] = mask
        found[f"{name}.equivalents"] = np.array(detector.artifacts_.forward_equivalents)
    model, history = trained(images, labels, shared=shared)
    found |= {f"trained.{key}": value.numpy() for key, value in model.state_dict().items()}
    found |= {"losses": history.early_losses, "loss": np.array(history.train_loss)}
    return found


def main(out: Path) -> None:
    from mspc_core.engine import distributed
    from mspc_core.engine.peers import connect, processes

    together = processes() > 1
    if together:
        peers = connect()
        distributed.join(peers, "cpu")
    with distributed.taking_part() if together else nullcontext():
        found = everything(together)
        own = np.full((distributed.number(), 2), distributed.number(), dtype=np.float32)  # 0, 1 and 2 rows
        found["gathered"] = distributed.gather_array(own)
        found["total"] = np.array(distributed.total(distributed.number(), 5))
        found["from leader"] = distributed.array_from_leader(np.array([distributed.number()]))
        np.savez(out / f"{distributed.number()}.npz", **found)
        distributed.total(0)  # nobody leaves before all have written
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
