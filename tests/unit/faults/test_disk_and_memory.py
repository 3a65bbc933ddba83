"""A disk that is full, read-only or limited, and memory that runs out: one sentence, nothing lost or half-done."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import faults_memory
from mspc_core import atomic, cli, jobs, runs, work
from mspc_core import home as places
from mspc_core.data import store
from mspc_core.errors import MEMORY
from mspc_core.reviews.store import ReviewStore
from tests.ui.conftest import make_dataset
from tests.unit.exporting import cats_and_dogs
from tests.unit.test_jobs import start_process

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def failing_from(monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> Iterator[list[int]]:
    """Every fsync from the so-many-th on fails, as on a disk that is full (or read-only) from then on."""
    real, calls = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] >= number:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", fsync)
        yield calls


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(f"{atomic.TEMPORARY_PREFIX}*")]


def scan_job() -> Path:
    dataset = make_dataset()
    config = runs.ScanConfig(dataset.info.name, dataset.info.name, 16, epochs=1, detectors=("spc",), device="cpu")
    return jobs.create(places.runs_folder(), config.as_json(), "scan")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EROFS, "The disk is read-only"),
    ],
)
def test_a_scan_on_a_disk_that_fills_up_goes_on_later(
    home: Path, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str
) -> None:
    """Not even the status can be written any more: the sentence reaches whoever called."""
    undisturbed = scan_job()
    with failing_from(monkeypatch, 10_000, code) as calls:
        assert work.work_on(undisturbed).state == "finished"
    folder = jobs.create(places.runs_folder(), jobs.read_config(undisturbed), "again")
    with failing_from(monkeypatch, calls[0] // 2, code):
        status = work.work_on(folder)
    assert (status.state, str(status.error).startswith(sentence)) == ("failed", True)
    assert jobs.read_status(folder).state == "interrupted", "it could not be recorded, and it does not seem to work"
    assert temporaries(folder) == []
    assert work.work_on(folder).state == "finished"
    pd.testing.assert_frame_equal(runs.Run(folder).scores(), runs.Run(undisturbed).scores())


def test_a_status_that_cannot_be_written_does_not_end_the_work(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = jobs.create(places.runs_folder(), {"kind": "test"}, "x")

    def busy(folder: Path, reporter: jobs.Reporter) -> None:
        with failing_from(monkeypatch, 1, errno.ENOSPC):
            reporter.stage("work", "computing")(1, 2, "half")
            reporter.log("something")

    assert jobs.run(folder, busy).state == "finished"
    assert jobs.read_status(folder).state == "finished"


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_import_on_a_full_disk_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    source = cats_and_dogs(tmp_path / "source")
    with failing_from(monkeypatch, number, errno.ENOSPC):
        assert cli.main(["import", str(source), "--size", "16"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: The disk is full")
    assert error.count("\n") == 1
    assert list(places.datasets_folder().iterdir()) == []
    assert cli.main(["import", str(source), "--size", "16"]) == 0


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_limit_on_the_size_of_files(home: Path, tmp_path: Path) -> None:
    """The system's own refusal, in a process of its own: the pixels do not fit."""
    source = cats_and_dogs(tmp_path / "source")
    done = subprocess.run(
        [sys.executable, "-m", "mspc_core", "import", str(source), "--size", "128"],
        cwd=ROOT,
        env={**os.environ, "BACKDOOR_LENS_HOME": str(home)},
        preexec_fn=limited(300_000),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: A file would get larger than is allowed here")
    assert "Traceback" not in done.stderr
    assert list((home / "datasets").iterdir()) == []


def mounted(place: Path, options: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """The command with a small disk of its own at `place`, which is gone afterwards."""
    mount = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, str(place), *command],
        cwd=ROOT,
        env={**os.environ, "BACKDOOR_LENS_HOME": str(place / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("options", "sentence"), [("size=1m", "GiB free: free some space"), ("ro", "is read-only")])
def test_real_small_and_read_only_disks(tmp_path: Path, options: str, sentence: str) -> None:
    (tmp_path / "disk").mkdir()
    if shutil.which("unshare") is None or mounted(tmp_path / "disk", options, ["true"]).returncode:
        pytest.skip("nothing may be mounted here")
    source = cats_and_dogs(tmp_path / "source")
    command = [sys.executable, "-m", "mspc_core", "import", str(source), "--size", "16"]
    done = mounted(tmp_path / "disk", options, command)
    assert (done.returncode, sentence in done.stderr, len(done.stderr.splitlines())) == (2, True, 1), done.stderr


def test_a_decision_on_a_read_only_disk_is_refused_and_none_is_lost(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mspc_core.errors import InputError

    ReviewStore().decide("run", ["a"], "remove")
    database = home / "reviews.sqlite"
    uri = f"sqlite:///file:{database}?mode=ro&uri=true"
    with pytest.raises(InputError, match="read-only: nothing was changed"):
        ReviewStore(uri).decide("run", ["a"], "keep")
    assert ReviewStore().current("run") == {"a": "remove"}


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB, max allowed: 9.07 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ImportError("timedeltas.cpython-311.so: failed to map segment from shared object"),
    ],
)
def test_memory_that_runs_out_is_one_sentence(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    """In a job as on the command line."""
    folder = jobs.create(places.runs_folder(), {"kind": "test"}, "x")

    def work_(folder: Path, reporter: jobs.Reporter) -> None:
        raise error

    status = jobs.run(folder, work_)
    assert (status.state, status.error) == ("failed", MEMORY)

    def no_memory(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mspc_core.data.importing._store", no_memory)
    assert cli.main(["import", str(cats_and_dogs(tmp_path / "source")), "--size", "16"]) == 2
    assert capsys.readouterr().err == f"error: {MEMORY}\n"


def test_the_kernel_ends_a_job_that_takes_too_much(home: Path) -> None:
    """For real; `python -m benchmarks.faults_memory` does it with whole scans."""
    with faults_memory.group() as group:
        if group is None:
            pytest.skip("no memory group can be made here")
        group.limit(150 * 2**20)
        folder = jobs.create(places.runs_folder(), {"kind": "test"}, "x")
        joining = f"open({str(group.folder / 'cgroup.procs')!r}, 'w').write(str(__import__('os').getpid()))"
        process = start_process(folder, f"reporter.stage('work'); {joining}; bytearray(b'x') * 2**29")
        assert process.wait(60) == -signal.SIGKILL
        assert group.killed() == 1
    status = jobs.read_status(folder)
    assert (status.state, status.error, "memory ran out" in status.message) == ("interrupted", None, True)
    assert jobs.run(folder, lambda folder, reporter: None).state == "finished"


def test_another_runtime_error_is_not_taken_for_memory(home: Path) -> None:
    folder = jobs.create(places.runs_folder(), {"kind": "test"}, "x")

    def broken(folder: Path, reporter: jobs.Reporter) -> None:
        raise RuntimeError("shapes do not fit")

    assert str(jobs.run(folder, broken).error).startswith("Unexpected problem (RuntimeError: shapes do not fit)")


class TestSweeping:
    """What a dead process left is taken away; what is at work, and what is not ours, is not."""

    def test_by_the_lock_and_not_by_the_age(self, tmp_path: Path) -> None:
        dead, fresh, foreign = (
            tmp_path / name for name in (".tmp-0123456789ab-x", ".tmp-0123456789ac-x", ".tmp-my notes")
        )
        link = tmp_path / ".tmp-0123456789ad-link"
        link.symlink_to(foreign)
        for path in (dead, fresh, foreign):
            path.write_text("x")
        with atomic.replacing(tmp_path / "slow.json") as handle:
            handle.write(b"{}")
            slow = Path(handle.name)
            for path in (dead, foreign, slow):
                os.utime(path, (0, 0))
            assert atomic.sweep(tmp_path) == 1
            assert slow.exists()
        assert not dead.exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [fresh.name, foreign.name, link.name, "slow.json"]
        )

    def test_a_restarted_job_cleans_its_own_folder(self, home: Path) -> None:
        folder = jobs.create(places.runs_folder(), {"kind": "test"}, "x")
        (folder / "stages").mkdir()
        left = folder / "stages" / ".tmp-0123456789ab-spc.npz"
        left.write_bytes(b"half")
        os.utime(left, (0, 0))
        jobs.run(folder, lambda folder, reporter: None)
        assert not left.exists()

    def test_a_damaged_stage_is_computed_again(self, home: Path) -> None:
        run = runs.Run(scan_job())
        (run.folder / "stages").mkdir()
        whole = run.folder / "stages" / "spc.npz"
        np.savez_compressed(whole, scores=np.arange(400.0), flagged=np.zeros(400, bool))
        (run.folder / "stages" / "spc.json").write_text(json.dumps({"title": "SPC"}))
        assert run.stage("spc") is not None
        content = whole.read_bytes()
        for length in (0, 1, len(content) // 2, len(content) - 1):
            whole.write_bytes(content[:length])
            assert run.stage("spc") is None


def test_a_data_set_whose_pixels_are_cut_short_is_refused(home: Path) -> None:
    from mspc_core.errors import InputError

    dataset = make_dataset()
    pixels = dataset.root / "pixels.u8"
    os.truncate(pixels, pixels.stat().st_size - 1)
    with pytest.raises(InputError, match="damaged"):
        store.open_dataset(dataset.info.name)
