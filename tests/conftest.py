"""What every test may use: an own home folder, and tiny models and images that need no training."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import pytest

# Two test processes with two threads each fight over two cores; one thread each is faster and repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Exact comparisons with slow reference implementations; mixed precision has tests of its own.
os.environ.setdefault("BACKDOOR_LENS_PRECISION", "float32")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest story first, so that the other process has something to do beside it."""
    items.sort(key=lambda item: item.path.name != "test_new_user.py")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh, empty home folder for data sets, runs and decisions."""
    folder = tmp_path / "home"
    monkeypatch.setenv("BACKDOOR_LENS_HOME", str(folder))
    monkeypatch.delenv("BACKDOOR_LENS_REVIEWS_URL", raising=False)
    return folder


@pytest.fixture
def random_images() -> np.ndarray:
    """40 random uint8 images, [40, 16, 16, 3]."""
    return np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def _tiny_model():  # type: ignore[no-untyped-def]
    """The model of `tiny_model`, and the state of torch's generator after it was made: made once, 150 tests use it."""
    import torch

    from mspc_core.models.zoo import ModelSpec, build_model

    torch.manual_seed(3)
    model = build_model(ModelSpec("small-cnn", 4, 16))
    # Fill BatchNorm's statistics, or an untrained network says the same of every image.
    images = torch.rand(64, 3, 16, 16)
    model.train()
    for _ in range(30):
        model(images * torch.rand(64, 1, 1, 1) * 2)
    torch.nn.init.normal_(model.backbone.head.weight, std=2.0)
    return model.eval(), torch.random.get_rng_state()


@pytest.fixture
def tiny_model(_tiny_model):  # type: ignore[no-untyped-def]
    """An untrained small CNN for 4 classes whose predictions vary over random images. The test may change it."""
    import torch

    model, state = _tiny_model
    torch.random.set_rng_state(state)
    return copy.deepcopy(model)
