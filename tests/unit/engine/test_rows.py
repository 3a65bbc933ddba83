"""Rows that are picked, collected and given back; and that memory of detectors does not grow with the pixels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mspc_core import home as homes
from mspc_core.detectors.surprise import principal
from mspc_core.engine import rows
from mspc_core.engine.rows import (
    Collected,
    Picked,
    blocks,
    give_back,
    mapped_pages_given_back,
    pick,
    watch,
    will_need,
)

ARRAY = np.arange(10 * 4 * 3).reshape(10, 4, 3)


@pytest.mark.parametrize("chosen", [[7, 0, 3, 3], [2], [], [9, 8, 7]])
@pytest.mark.parametrize(
    "key",
    [slice(None), slice(1, 3), slice(0, 0), (slice(0, 2), 1), (slice(None), slice(1, 3), 0), slice(None, None, 2)],
)
def test_picked_rows_are_those_of_indexing(chosen: list[int], key: object) -> None:
    wanted = np.array(chosen, dtype=np.int64)
    found = Picked(ARRAY, wanted)
    assert (found.shape, found.ndim, found.dtype, len(found)) == (ARRAY[wanted].shape, 3, ARRAY.dtype, len(wanted))
    assert np.array_equal(found[key], ARRAY[wanted][key])
    assert np.array_equal(np.asarray(found), ARRAY[wanted])


def test_one_picked_row_and_a_list_of_them() -> None:
    found = Picked(ARRAY, np.array([7, 0, 3]))
    assert np.array_equal(found[1], ARRAY[0])
    assert np.array_equal(found[-1, 2], ARRAY[3, 2])
    assert np.array_equal(found[np.array([2, 0])], ARRAY[[3, 7]])
    again = pick(found, np.array([True, False, True]))
    assert np.array_equal(np.asarray(again), ARRAY[[7, 3]])
    assert again._array is ARRAY, "no chain of choices"  # type: ignore[attr-defined]


def test_rows_in_one_block_are_a_view() -> None:
    for wanted in (np.arange(3, 7), np.array([5])):
        found = pick(ARRAY, wanted)
        assert type(found) is np.ndarray
        assert np.shares_memory(found, ARRAY)
        assert np.array_equal(found, ARRAY[wanted])
    assert isinstance(pick(ARRAY, np.array([3, 5])), Picked)
    assert isinstance(pick(ARRAY, np.array([5, 4])), Picked)


@pytest.mark.parametrize("most", [0, 10**9])
def test_collected_rows_are_the_same_in_memory_and_in_a_file(home: Path, most: int) -> None:
    collected = Collected(len(ARRAY), most)
    for start in (0, 3, 6, 9):
        collected.add(ARRAY[start : start + 3])
    found = collected.array()
    assert isinstance(found, np.memmap) == (most == 0)
    assert found.dtype == ARRAY.dtype
    assert np.array_equal(found, ARRAY)
    assert list(homes.scratch_folder().iterdir()) == [], "the file has no name: nothing is left of a killed scan"


def test_collected_rows_have_to_fit(home: Path) -> None:
    collected = Collected(4)
    collected.add(ARRAY[:3])
    with pytest.raises(ValueError, match="3 rows of 4"):
        collected.array()
    with pytest.raises(ValueError, match="do not fit"):
        collected.add(ARRAY[:2])
    with pytest.raises(ValueError, match="do not fit"):
        collected.add(ARRAY[:1, :2])
    assert Collected(0).array().shape == (0, 0)


def test_blocks_cover_every_row_once() -> None:
    parts = list(blocks(ARRAY, 4))
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 4), (4, 8), (8, 10)]
    assert np.array_equal(np.concatenate([found for _, found in parts]), ARRAY)
    assert len(list(blocks(ARRAY))) == 1


@pytest.mark.parametrize(("count", "width"), [(500, 80), (60, 200)])
def test_components_of_a_file_are_those_of_an_svd_in_memory(
    home: Path, monkeypatch: pytest.MonkeyPatch, count: int, width: int
) -> None:
    generator = np.random.default_rng(0)
    features = (generator.standard_normal((count, width)) * generator.random(width) * 10 + 3).astype(np.float32)
    features[:, 3] = 2.0
    values = torch.from_numpy(np.delete(features, 3, 1))
    values = (values - values.mean(0)) / values.std(0)
    torch.manual_seed(5)
    left, size, _ = torch.svd_lowrank(values, q=30, niter=2)
    expected = (left * size / values.shape[1] ** 0.5).numpy()

    collected = Collected(count, 0)
    collected.add(features)
    monkeypatch.setattr(rows, "_BLOCK_BYTES", 17 * 4 * width)  # 17 rows at a time
    found = principal(collected.array(), 30, 5).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max() + 1e-4


@pytest.mark.skipif(sys.platform != "linux", reason="resident pages are read from /proc")
def test_mapped_pages_are_given_back_and_can_still_be_read(tmp_path: Path) -> None:
    size = 64 * 2**20
    (tmp_path / "pixels").write_bytes(bytes(size))
    array = np.memmap(tmp_path / "pixels", dtype=np.uint8, mode="r")
    with mapped_pages_given_back(most=2**20):
        watch(array[10:])
        before = rows._mapped()
        assert int(array[::4096].sum()) == 0
        deadline = time.monotonic() + 20
        while rows._mapped() > before + size // 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert rows._mapped() < before + size // 4
        assert int(array[::4096].sum()) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="resident pages are read from /proc")
def test_pages_can_be_given_back_at_once(tmp_path: Path) -> None:
    size = 64 * 2**20
    (tmp_path / "pixels").write_bytes(bytes(size - 1) + b"\x05")
    array = np.memmap(tmp_path / "pixels", dtype=np.uint8, mode="r")
    assert int(array[::4096].sum()) == 0
    before = rows._mapped()
    give_back(array[10:])
    assert rows._mapped() < before - size // 2
    assert array[-1] == 5
    own = np.arange(10)
    give_back(own)  # no map: nothing happens
    assert own.sum() == 45


@pytest.mark.skipif(sys.platform != "linux", reason="pages are asked for by madvise")
def test_rows_are_asked_for_up_to_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    array = np.arange(50 * 1000, dtype=np.uint8).reshape(50, 1000)
    array.tofile(tmp_path / "pixels")
    mapped = np.memmap(tmp_path / "pixels", dtype=np.uint8, mode="r", shape=array.shape)
    for part, wanted in ((mapped, [0, 49]), (mapped[7:], [42, 3]), (pick(mapped, np.array([49, 0, 3])), [0, 2])):
        will_need(part, np.array(wanted))
    will_need(array, np.array([3]))  # no map: nothing happens
    assert np.array_equal(mapped, array)


_SCAN = """
import json, sys, threading, time
import numpy as np, torch
from torch import nn
from mspc_core.detectors import create
from mspc_core.detectors.abl import ABLConfig
from mspc_core.detectors.pattern import PatternConfig
from mspc_core.detectors.second_opinion import SecondOpinionConfig
from mspc_core.detectors.opinion import Blinding
from mspc_core.engine import rows

path, counts, size = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
rows.IN_MEMORY = 2 * 2**20
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 16, 16, stride=16), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                      nn.Flatten(), nn.Linear(16, 4)).eval()

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024

def peak_of(name, config, images, labels):
    before, peak, done = anonymous(), 0, threading.Event()
    def look():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())
    thread = threading.Thread(target=look)
    thread.start()
    create(name, config).fit(model, images, labels=labels)
    done.set()
    thread.join()
    return peak - before

configs = {"spectral_signatures": None, "mixture": None, "pattern": PatternConfig(steps=2, rounds=3),
           "second_opinion": SecondOpinionConfig(Blinding(first_epochs=1, epochs=1), components=20), "spc": None}
found = {}
for name, config in configs.items():
    for count in [counts[0] // 4, *counts]:  # the first for what is loaded once
        images = np.memmap(path, dtype=np.uint8, mode="r", shape=(counts[-1], size, size, 3))
        images = rows.pick(images, np.arange(0, counts[-1], counts[-1] // count))
        found.setdefault(name, []).append(peak_of(name, config, images, np.arange(len(images)) % 4))
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is read from /proc")
def test_memory_does_not_grow_with_the_pixels(tmp_path: Path) -> None:
    few, many, size = 100, 1100, 160
    generator = np.random.default_rng(0)
    with (tmp_path / "pixels").open("wb") as handle:
        for _ in range(0, many, 100):
            handle.write(generator.integers(0, 256, (100, size, size, 3), dtype=np.uint8).tobytes())
    done = subprocess.run(
        [sys.executable, "-c", _SCAN, str(tmp_path / "pixels"), json.dumps([few, many]), str(size)],
        env={**os.environ, "BACKDOOR_LENS_HOME": str(tmp_path / "home"), "MALLOC_TRIM_THRESHOLD_": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown = (many - few) * size * size * 3
    for name, (_, first, second) in json.loads(done.stdout).items():
        assert second - first < 0.2 * grown, f"{name} keeps pixels: {first:,} to {second:,} bytes"


PASS = """
import numpy as np, torch
from mspc_core.engine.device import choose_threads
from mspc_core.engine.forward import scaled_agreement
from mspc_core.models.zoo import ModelSpec, build_model

def anonymous():
    with open("/proc/self/status") as lines:
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

choose_threads()
model, seen = build_model(ModelSpec("small-cnn", 10, 224)).eval(), []
images = np.zeros((320, 224, 224, 3), np.uint8)
scaled_agreement(model, images, np.zeros(320, int), [2, 3], progress=lambda *_: seen.append(anonymous()))
print(len(seen), seen[-1] - seen[23])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_pass_does_not_leave_memory_in_pieces() -> None:
    """80 batches of 4 large images: with a small array kept of each, the last 56 took 38 MiB; written in place, 0."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", PASS], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    batches, grown = run.stdout.split()
    assert int(batches) == 80
    assert float(grown) < 19
