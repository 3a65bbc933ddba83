"""Images on the device and images read ahead give what plain arrays give, in the same order."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.detectors.mspc import MSPC, MSPCConfig
from mspc_core.detectors.transplant import Transplant, TransplantConfig
from mspc_core.engine import pixels
from mspc_core.engine.forward import predict_logits
from mspc_core.engine.pixels import DeviceImages, batches, on_device

CPU = torch.device("cpu")
ROWS = np.array([5, 0, 39, 7, 7, 12, 30])


def test_images_on_the_device_are_read_like_an_array(random_images: np.ndarray) -> None:
    kept = DeviceImages(random_images, CPU)
    assert len(kept) == 40
    assert kept.shape == (40, 16, 16, 3)
    assert np.array_equal(kept[ROWS].numpy(), random_images[ROWS])
    assert np.array_equal(kept[3:9].numpy(), random_images[3:9])
    assert kept[ROWS].dtype == torch.uint8


def test_uploading_goes_part_by_part(random_images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = pixels.staged
    monkeypatch.setattr(pixels, "_UPLOAD_BYTES", 7 * random_images[0].nbytes)
    monkeypatch.setattr(pixels, "staged", lambda part, device: (sizes.append(len(part)), whole(part, device))[1])
    kept = DeviceImages(random_images, CPU)
    assert np.array_equal(kept[:].numpy(), random_images)
    assert sizes == [7, 7, 7, 7, 7, 5]


def test_only_what_fits_comfortably_is_kept(random_images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_device(random_images, CPU) is random_images, "the processor reads the store itself"
    monkeypatch.setattr(pixels, "free_memory", lambda _: int(random_images.nbytes / 0.4) - 100)
    assert on_device(random_images, CPU) is random_images
    monkeypatch.setattr(pixels, "free_memory", lambda _: int(random_images.nbytes / 0.4) + 100)
    kept = on_device(random_images, CPU)
    assert isinstance(kept, DeviceImages)
    assert on_device(kept, CPU) is kept


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
@pytest.mark.parametrize("step", [1, 3, 7, 50])
def test_reading_ahead_changes_nothing(ahead: int, step: int, random_images: np.ndarray) -> None:
    starts = range(0, len(ROWS), step)
    found = list(batches(random_images, ROWS, starts, step, CPU, ahead=ahead))
    assert np.array_equal(np.concatenate([rows for rows, _ in found]), ROWS)
    assert np.array_equal(torch.cat([batch for _, batch in found]).numpy(), random_images[ROWS])
    assert len(found) == len(starts)
    assert not list(batches(random_images, ROWS[:0], range(0), step, CPU, ahead=ahead))


def test_reading_ahead_stays_a_few_batches_ahead_and_ends_with_its_reader(random_images: np.ndarray) -> None:
    read: list[int] = []

    class Watched(np.ndarray):
        def __getitem__(self, rows):  # type: ignore[no-untyped-def]
            if isinstance(rows, np.ndarray):
                read.append(int(rows[0]))
            return np.asarray(super().__getitem__(rows))

    before = threading.active_count()
    reader = batches(random_images.view(Watched), np.arange(40), range(40), 1, CPU, ahead=2)
    next(reader)
    next(reader)
    reader.close()
    assert read == list(range(len(read)))
    assert 2 <= len(read) <= 4, "two were taken, and two prepared at most"
    assert threading.active_count() == before


def test_an_error_of_the_reading_thread_is_raised(random_images: np.ndarray) -> None:
    reader = batches(random_images, np.array([0, 1, 99]), range(3), 1, CPU, ahead=2)
    with pytest.raises(IndexError):
        list(reader)


def test_a_read_only_map_is_read_without_a_warning(
    random_images: np.ndarray, tmp_path: Path, tiny_model: nn.Module, recwarn: pytest.WarningsRecorder
) -> None:
    np.save(tmp_path / "pixels.npy", random_images)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    assert torch.equal(predict_logits(tiny_model, mapped), predict_logits(tiny_model, random_images))
    assert not recwarn.list


def test_detectors_score_alike_from_device_memory(
    random_images: np.ndarray, tiny_model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros(40, dtype=np.int64)
    mspc = MSPCConfig(scales=(2.0, 5.0, 9.0), rounds=1, inner_steps=3, batch_size=16)
    transplant = TransplantConfig(steps=3, images_per_step=24, partners=4)

    def fitted() -> list[np.ndarray]:
        detectors = (MSPC(mspc), Transplant(transplant))
        return [found.fit(tiny_model, random_images, labels=labels).decision_scores_ for found in detectors]

    plain = fitted()
    kept: list[DeviceImages] = []
    monkeypatch.setattr(pixels, "free_memory", lambda _: 1 << 40)
    monkeypatch.setattr(
        DeviceImages,
        "__init__",
        lambda self, images, device, old=DeviceImages.__init__: (kept.append(self), old(self, images, device))[1],
    )
    for found, expected in zip(fitted(), plain, strict=True):
        assert np.array_equal(found, expected)
    assert len(kept) == 2, "both kept the images on the device"
