"""Features of a run: those of the model's last layer, once, and only for the model they were made with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mspc_core import atomic
from mspc_core.detectors.features import collect_features
from mspc_core.engine.forward import predict_logits
from mspc_core.errors import Cancelled, InputError
from mspc_core.maps import store
from mspc_core.maps.features import compute_features, keep_features
from mspc_core.models.checkpoint import load_saved_model
from mspc_core.runs import Run


def parts(run: Run) -> tuple[torch.nn.Module, np.ndarray, np.ndarray]:
    """Model, pixels and rows."""
    rows = run.scores()["row"].to_numpy()
    return load_saved_model(run.folder)[0], np.array(run.dataset().pixels[rows]), rows


def left_over(run: Run) -> list[str]:
    return sorted(path.name for path in store.folder_of(run).iterdir())


def test_they_are_what_the_detectors_read(run: Run) -> None:
    model, images, rows = parts(run)
    compute_features(run, model, images, rows, log=print)
    found = store.features_of(run, store.key_of(run, rows))
    expected = collect_features(model, images).penultimate
    assert found is not None
    assert found.dtype == np.float16
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert left_over(run) == ["features.json", "features.npy"]


def test_a_pass_that_is_made_anyway_writes_them(run: Run) -> None:
    model, images, rows = parts(run)
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with keep_features(run, model, rows, print):
        logits = predict_logits(model, images, batch_size=7)
    assert sum(seen) == len(images)
    assert torch.equal(logits, predict_logits(model, images, batch_size=7))
    assert store.features_of(run, store.key_of(run, rows)) is not None
    before = (store.folder_of(run) / "features.npy").stat().st_mtime_ns
    with keep_features(run, model, rows, print):
        predict_logits(model, images)
    assert (store.folder_of(run) / "features.npy").stat().st_mtime_ns == before


def test_another_model_or_other_samples_make_them_stale(run: Run) -> None:
    model, images, rows = parts(run)
    compute_features(run, model, images, rows, log=print)
    key = store.key_of(run, rows)
    assert store.key_of(run, rows[:-1]) != key
    weights = (run.folder / "model.safetensors").read_bytes()
    (run.folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert store.key_of(run, rows) != key
    assert store.features_of(run, store.key_of(run, rows)) is None


def test_a_run_without_a_model_has_no_key_unless_its_weights_are_known(run: Run) -> None:
    rows = run.scores()["row"].to_numpy()
    (run.folder / "model.safetensors").unlink()
    assert store.key_of(run, rows) is None
    about = atomic.read_json(run.folder / "model.json")
    atomic.write_json(run.folder / "model.json", {**about, "fingerprint": "abc"})
    assert store.key_of(run, rows) is not None


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not an array"])
def test_a_damaged_file_counts_as_none(run: Run, content: bytes) -> None:
    model, images, rows = parts(run)
    compute_features(run, model, images, rows, log=print)
    (store.folder_of(run) / "features.npy").write_bytes(content)
    assert store.features_of(run, store.key_of(run, rows)) is None
    (store.folder_of(run) / "pca.npz").write_bytes(content)
    assert store.map_of(run, store.PCA, store.key_of(run, rows)) is None


def test_cancelling_leaves_nothing_half(run: Run) -> None:
    model, images, rows = parts(run)
    calls = iter([False, True])
    with pytest.raises(Cancelled), keep_features(run, model, rows, print):
        predict_logits(model, images, batch_size=8, should_stop=lambda: next(calls))
    assert left_over(run) == []


def test_what_large_values_become_is_finite(run: Run) -> None:
    model, images, rows = parts(run)
    head = model.backbone.head  # type: ignore[union-attr]
    model.backbone.forward = lambda x: head(torch.full((len(x), head.in_features), 1e6))  # type: ignore
    compute_features(run, model, images, rows, log=print)
    found = store.features_of(run, store.key_of(run, rows))
    assert found is not None
    assert (found == np.finfo(np.float16).max).all()


class WithoutLayer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + self.bias


class UsedTwice(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.mean((2, 3))) + self.layer(x.amax((2, 3)))


@pytest.mark.parametrize(("model", "reason"), [(WithoutLayer(), "no final linear"), (UsedTwice(), "not used once")])
def test_a_scan_goes_on_where_features_cannot_be_kept(run: Run, model: torch.nn.Module, reason: str) -> None:
    _, images, rows = parts(run)
    said: list[str] = []
    with keep_features(run, model, rows, said.append):
        logits = predict_logits(model, images)
    assert len(logits) == len(images)
    assert len(said) == 1
    assert reason in said[0]
    assert store.features_of(run, store.key_of(run, rows)) is None
    with pytest.raises(InputError, match=reason):
        compute_features(run, model, images, rows, log=print)


def test_a_scan_goes_on_when_the_disk_is_full(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, rows = parts(run)

    def full(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    said: list[str] = []
    monkeypatch.setattr(os, "fsync", full)
    with keep_features(run, model, rows, said.append):
        predict_logits(model, images)
    assert "disk is full" in said[0]
    assert left_over(run) == []
