"""The map as a job and as a command: what it writes, what it refuses, that nothing is made twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mspc_core import jobs, runs, work
from mspc_core.cli import main
from mspc_core.errors import InputError
from mspc_core.job_status import held
from mspc_core.maps import job, store
from mspc_core.runs import Run


def key_of(run: Run) -> str | None:
    return store.key_of(run, run.scores()["row"].to_numpy())


def test_features_and_pca_then_umap_without_features_again(run: Run) -> None:
    folder = job.prepare(run)
    status = work.work_on(folder)
    assert (status.state, status.stages) == ("finished", ["features", "pca"])
    assert store.map_of(run, store.UMAP, key_of(run)) is None
    features = (folder / "features.npy").stat().st_mtime_ns
    assert work.work_on(job.prepare(run, umap=True)).state == "finished"
    assert (folder / "features.npy").stat().st_mtime_ns == features
    found = store.map_of(run, store.UMAP, key_of(run))
    assert found is not None
    assert found.points.shape == (48, 2)
    assert "features" in (folder / "log.txt").read_text()


def test_umap_leaves_the_number_of_threads_alone(run: Run) -> None:
    import torch

    before = torch.get_num_threads()
    assert work.work_on(job.prepare(run, umap=True)).state == "finished"
    assert torch.get_num_threads() == before


def test_another_model_makes_everything_again(run: Run) -> None:
    import torch

    from mspc_core.models.checkpoint import load_saved_model, save_model
    from mspc_core.models.zoo import ModelSpec

    work.work_on(job.prepare(run))
    before = store.map_of(run, store.PCA, key_of(run))
    model, about = load_saved_model(run.folder)
    torch.nn.init.normal_(model.backbone.features[0][0].weight)  # type: ignore[index]
    save_model(run.folder, model, ModelSpec.from_json(about), about)
    assert store.map_of(run, store.PCA, key_of(run)) is None
    assert work.work_on(job.prepare(run)).state == "finished"
    after = store.map_of(run, store.PCA, key_of(run))
    assert before is not None
    assert after is not None
    assert not np.allclose(before.points, after.points)


def test_a_map_with_features_does_not_wait_for_the_device(run: Run) -> None:
    work.work_on(job.prepare(run))
    with held(work.home.home() / "device-cpu.lock") as mine:
        assert mine
        assert work.work_on(job.prepare(run, umap=True)).device == "map"


def test_what_is_in_the_way_is_said(run: Run) -> None:
    with held_job(run), pytest.raises(InputError, match="being made already"):
        job.prepare(run)
    with held_job(run), pytest.raises(InputError, match="cancel that first"):
        runs.delete_run(run)
    (run.folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="keeps no model"):
        job.prepare(run)


def held_job(run: Run):  # type: ignore[no-untyped-def]
    """A lock as a working job holds it."""
    folder = job.prepare(run)
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "running"}))
    return held(folder / ".lock")


def test_a_deleted_data_set_is_the_reason_given(run: Run) -> None:
    import shutil

    folder = job.prepare(run)
    shutil.rmtree(run.dataset().root)
    status = work.work_on(folder)
    assert status.state == "failed"
    assert status.error
    assert "Traceback" not in status.error


def test_the_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", run.id]) == 0
    out = capsys.readouterr().out
    assert "features: 48 images × 256, float16" in out
    assert "PCA" in out
    assert "UMAP" not in out
    assert main(["map", run.id, "--umap", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["width"], found["umap_fitted"]) == (48, 256, 48)
    assert main(["resume", f"{run.folder}/map", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_the_command_refuses_in_one_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (run.folder / "model.safetensors").unlink()
    for arguments in (["map", run.id], ["map", "no-such-run"], ["map", run.id, "--device", "cuda:99"]):
        assert main(arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("error: ")


def test_a_cancelled_command_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mspc_core import reporter

    monkeypatch.setattr(reporter.Reporter, "should_stop", lambda self: True)
    assert main(["map", run.id]) == 130
    assert jobs.read_status(store.folder_of(run)).state == "cancelled"
    assert store.features_of(run, key_of(run)) is None


def test_the_worker_process_does_it(run: Run) -> None:
    folder = job.prepare(run)
    command = [sys.executable, "-m", "mspc_core", "work", str(folder)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3], capture_output=True)
    assert jobs.read_status(folder).state == "finished"


@pytest.mark.parametrize("module", ["mspc_core.maps.store", "mspc_core.maps.job", "mspc_core.maps.nearest"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([n for n in ('torch', 'sklearn', 'umap', 'numba') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
