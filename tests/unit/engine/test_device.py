"""How many images and threads: from the device, by hand-worked numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mspc_core.engine import device as devices

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of threads that are set; none really is."""
    chosen: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    return chosen


def test_a_processor_has_batches_that_stay_in_its_cache() -> None:
    assert [devices.batch_size_for(CPU, size) for size in (16, 32, 64, 224)] == [256, 64, 16, 4]
    assert [devices.gradient_batch_for(CPU, size) for size in (32, 224)] == [32, 4]
    assert devices.largest_training_batch(CPU, 224) == 16


@pytest.mark.parametrize(
    ("gibibytes", "forward", "gradient"), [(2, (1024, 20), (1024, 20)), (80, (4096, 417), (4096, 208))]
)
def test_a_gpu_has_what_its_memory_holds(
    gibibytes: int, forward: tuple[int, int], gradient: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = SimpleNamespace(total_memory=gibibytes << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert tuple(devices.batch_size_for(CUDA, size) for size in (32, 224)) == forward
    assert tuple(devices.gradient_batch_for(CUDA, size) for size in (32, 224)) == gradient


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 1.0, 2: 0.6}, 2),
        ({1: 1.0, 2: 0.95}, 1),
        ({1: 0.1, 2: 1.0}, 1),
        ({1: 4.0, 4: 1.05, 8: 1.0}, 4),
        ({1: 3.0}, 1),
    ],
)
def test_more_threads_only_where_they_pay(seconds: dict[int, float], expected: int) -> None:
    assert devices.fewest_threads(seconds) == expected


def test_threads_are_measured_once_and_can_be_said(threads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    monkeypatch.setattr(devices, "_seconds_with", lambda options: (asked.append(options), {1: 3.0, 4: 1.0, 8: 1.0})[1])
    assert devices.choose_threads() == 4
    assert devices.choose_threads(2, CPU) == 2, "as a run that is resumed began"
    assert devices.choose_threads(0, CUDA) == 8, "they only feed the device"
    assert asked == [[1, 4, 8]]
    assert threads == [4, 2, 8]


def test_the_users_word_counts(threads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert devices.choose_threads(2) == torch.get_num_threads()
    assert not threads


def test_the_measurement_tries_every_number(threads: list[int]) -> None:
    found = devices._seconds_with([1, 2])
    assert set(found) == {1, 2}
    assert min(found.values()) > 0
    assert threads == [1, 2] * (len(threads) // 2)


@pytest.mark.parametrize(("text", "cores"), [("150000 100000", 2), ("max 100000", 6), (None, 6), ("9900000 100000", 6)])
def test_a_containers_quota_counts(text: str | None, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: Path) -> str:
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert devices.usable_cores() == cores
