"""How much each user of a served app may keep and run at once: checked before work starts and while it goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mspc_core import home as places
from mspc_core import jobs, quotas, runs, work
from mspc_core.data import store
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError
from mspc_core.runs import Run, ScanConfig
from tests.unit.test_access import acting as acting
from ui import data_view

As = Callable[[str | None], None]


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: None)


def limit(monkeypatch: pytest.MonkeyPatch, **values: float) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"BACKDOOR_LENS_QUOTA_{name}", str(value))


def new_scan() -> Run:
    return runs.create_run(ScanConfig(source="demo"))


def write(name: str, count: int, size: int = 16) -> store.Dataset:
    with DatasetWriter(name, size=size, classes=["a", "b"], kind="folder", source="/x") as writer:
        for number in range(count):
            image = np.full((size, size, 3), number % 256, np.uint8)
            writer.add(image, identity=f"{number:016x}", path=str(number), label=number % 2)
        return writer.commit(source_key=name)


def test_jobs_at_once_are_counted_for_each_user(acting: As, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, JOBS=2)
    acting("ann")
    first = new_scan()
    work.submit_import("/nothing", size=16)
    for more in (new_scan, lambda: work.submit_import("/nothing", size=16)):
        before = set(quotas.job_folders())
        with pytest.raises(InputError, match="You have 2 jobs waiting or at work"):
            more()
        assert set(quotas.job_folders()) == before  # nothing half-made is left
    acting("bob")
    new_scan()
    acting("ann")
    jobs.cancel(first.folder)
    second = new_scan()
    with pytest.raises(InputError, match="2 jobs"):
        jobs.start(first.folder)  # resuming counts, too
    assert jobs.read_status(first.folder).state == "cancelled"
    jobs.start(second.folder)  # it is one of the two


def test_jobs_asked_for_at_the_same_moment_do_not_pass_together(acting: As, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, JOBS=3)
    acting("ann")

    def attempt(_: int) -> bool:
        try:
            new_scan()
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 3


def test_runs_are_counted_for_each_user(acting: As, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, RUNS=2)
    new_scan()  # from before anybody had to log in: nobody's
    acting("ann")
    mine = [new_scan(), new_scan()]
    with pytest.raises(InputError, match="You keep 2 scans"):
        new_scan()
    work.submit_import("/nothing", size=16)  # an import is no scan
    acting("bob")
    new_scan()
    acting("ann")
    jobs.cancel(mine[0].folder)
    runs.delete_run(mine[0])
    new_scan()


def test_nothing_is_counted_without_a_login(acting: As, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, RUNS=1, JOBS=1, UPLOAD_MB=0.000001, DATASETS_GB=0.000000001)
    for _ in range(3):
        new_scan()
    write("any", 4)
    data_view.save_upload("set.npz", memoryview(b"more than a byte"))
    assert quotas.room_for_pixels() is None


def test_data_sets_stop_growing_at_the_limit(acting: As, monkeypatch: pytest.MonkeyPatch) -> None:
    acting("ann")
    first = write("first", 10)
    kept = sum(path.stat().st_size for path in first.root.iterdir())
    limit(monkeypatch, DATASETS_GB=(kept + 5 * 16 * 16 * 3) / 1e9)
    assert quotas.room_for_pixels() == 5 * 16 * 16 * 3
    quotas.check_images(5, 16)
    with pytest.raises(InputError, match="Your data sets may take"):
        quotas.check_images(6, 16)
    with pytest.raises(InputError, match="Your data sets may take"):
        write("second", 6)
    assert [folder.name for folder in places.datasets_folder().iterdir()] == ["first"]
    write("second", 5)
    with pytest.raises(InputError, match=r"0\.00 GB of it are free"):
        work.submit_import("/nothing", size=16)
    assert list(places.imports_folder().iterdir()) == []
    acting("bob")
    write("his", 6)


def test_uploads_are_limited_by_the_day(acting: As, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, UPLOAD_MB=0.0015)
    acting("ann")
    first = data_view.save_upload("set.npz", memoryview(bytes(1000)))
    left = len((first.parent / "owner.json").read_bytes())
    with pytest.raises(InputError, match=r"You may upload 0\.0015 MB a day"):
        data_view.save_upload("set.npz", memoryview(bytes(501 - left)))
    assert len(list(first.parent.parent.iterdir())) == 1
    acting("bob")
    data_view.save_upload("set.npz", memoryview(bytes(1400)))
    acting("ann")
    data_view.save_upload("set.npz", memoryview(bytes(500 - left)))
