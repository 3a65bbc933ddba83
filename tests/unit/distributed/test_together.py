"""Several processes give what one gives: all detectors on 3 processes with uneven shards, and one training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mspc_core.engine import distributed, shares
from tests.unit.distributed import everything

ROOT = Path(__file__).resolve().parents[3]
PROCESSES = 3
# Passes that every process makes for itself (a black image; the trusted images) are counted for each of them.
# Beyond the passes, these solve eigenproblems and cluster: BLAS rounds by where arrays happen to lie in memory.
ROUNDED = ("mixture", "second_opinion", "beatrix", "flare")
REPEATED = ("mspc.equivalents", "beatrix.equivalents")

Found = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def alone() -> Found:
    return everything.everything(shared=False)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What each of the processes found."""
    out = tmp_path_factory.mktemp("together")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    script = ["-m", everything.__name__, str(out)]
    done = subprocess.run([sys.executable, *launcher, *script], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    found = []
    for number in range(PROCESSES):
        with np.load(out / f"{number}.npz") as stored:
            found.append({key: stored[key] for key in stored.files})
    return found


def test_scores_flags_and_masks_are_those_of_one_process(alone: Found, together: list[Found]) -> None:
    """To the last bit where only forward passes and mask gradients count, and every process has them."""
    compared = [key for key in alone if key.partition(".")[2].split(".")[0] in ("scores", "flagged", "mask")]
    assert len(compared) >= 2 * len(everything.detectors())
    for found in together:
        for key in compared:
            rounded = key.endswith(".scores") and key.startswith(ROUNDED)
            np.testing.assert_allclose(
                found[key].astype(float),
                alone[key].astype(float),
                rtol=1e-6 * rounded,
                atol=1e-9 * rounded,
                err_msg=key,
            )
    assert np.ptp(alone["mspc.mask.mspc"][-1]) > 0
    assert np.ptp(alone["transplant.mask.transplant"]) > 0
    assert np.ptp(alone["pattern.mask.pattern"]) > 0


def test_nothing_is_computed_twice(alone: Found, together: list[Found]) -> None:
    for key in alone:
        if key.endswith(".equivalents") and key not in REPEATED:
            assert together[0][key] == alone[key], key


def test_a_training_step_is_that_of_the_whole_batch(alone: Found, together: list[Found]) -> None:
    """Four batches, the last one with 8 images for 3 processes: only the order of additions differs."""
    for key, value in alone.items():
        if key.startswith("trained."):
            np.testing.assert_allclose(together[0][key], value, rtol=1e-3, atol=5e-4, err_msg=key)
            for other in together[1:]:
                assert np.array_equal(together[0][key], other[key]), key
    np.testing.assert_allclose(together[0]["losses"], alone["losses"], atol=2e-3)
    assert together[0]["losses"].shape == (1, everything.COUNT)
    assert alone["losses"].min() > 0, "every image was met"


def test_what_processes_hand_each_other(together: list[Found]) -> None:
    for found in together:
        assert found["gathered"].tolist() == [[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]
        assert found["total"].tolist() == [0 + 1 + 2, 15]
        assert found["from leader"].tolist() == [0]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 64, 65, 200])
def test_batches_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch, size: int, count: int) -> None:
    monkeypatch.setattr(shares, "size", lambda: size)
    starts: list[int] = []
    for number in range(size):
        monkeypatch.setattr(shares, "number", lambda number=number: number)
        starts += distributed.batches(count, 16)
    assert starts == list(range(0, count, 16))
