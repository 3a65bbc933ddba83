"""`bench speed`: the published loop is what it says, its counts are right, and small settings run to the tables."""

from __future__ import annotations

import json
import mmap
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import measure, published_mspc, speed, speed_table, training_speed
from benchmarks.speed_data import Poisoned, made_up
from mspc_core import atomic
from mspc_core.bench import run
from mspc_core.cli import main
from mspc_core.detectors.mspc import PAPER, MSPCConfig
from mspc_core.detectors.transplant import TransplantConfig
from mspc_core.engine.forward import counting, frozen
from tests.lab import write_folder
from tests.unit.detectors import reference

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]
QUICK = speed.Plan(
    cells=(
        speed.Cell(30, size=16, epochs=1),
        speed.Cell(40, size=24, epochs=1, whole=0, exact=0, generated=True),
    ),
    seeds=(0,),
    turns=1,
    loop=(1, 1),
    mspc=MSPCConfig(rounds=1, inner_steps=2, batch_size=16),
    paper=replace(PAPER, rounds=1, inner_epochs=1),
    transplant=TransplantConfig(steps=2, images_per_step=20, partners=2),
    trainings=(training_speed.Recipe("small-cnn", 30, goal=0.0, epochs=2, plain_epochs=2),),
)


def test_the_loop_equals_the_slow_reference(
    tiny_model: nn.Module, random_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = random_images[:8]
    monkeypatch.setattr(published_mspc, "SPARSITY", 0.001)
    slow, mask = reference.published_loop(tiny_model, images, (2.0, 5.0), tau=0.1, sparsity=0.001, rounds=2, epochs=3)
    with frozen(tiny_model):
        ready = published_mspc.as_float(images, CPU)
        found, learned = published_mspc.published_mspc(tiny_model, ready, seed=0, rounds=2, epochs=3, scales=(2.0, 5.0))
    assert float(np.abs(learned - 1).max()) > 0.002, "the mask moved"
    np.testing.assert_allclose(learned, mask.numpy(), atol=1e-4)
    assert np.mean(np.abs(found - slow) < 1e-6) >= 0.9


def test_its_forwards_are_as_counted(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with counting(tiny_model) as count, frozen(tiny_model):
        images = published_mspc.as_float(random_images[:5], CPU)
        published_mspc.published_mspc(tiny_model, images, seed=0, rounds=2, epochs=3)
    assert count.equivalents == 5 * published_mspc.forward_equivalents(rounds=2, epochs=3)
    assert published_mspc.forward_equivalents() == 22 + 4 * (330 + 33), "about 1,440, by the paper's settings"


def test_a_part_of_the_loop_is_extrapolated(
    tiny_model: nn.Module, random_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_PART", 8)
    monkeypatch.setattr(speed, "seconds_of", lambda _, work: (work(), 3.0)[1])
    data = Poisoned(random_images, np.zeros(40, int), np.arange(40) < 4, 4, None)
    found = speed.published(tiny_model, data, 1, 0, (4, 10), whole=False)
    # 40 inner epochs and 4 ⅔ scorings of 3 s each for 8 images, five times as many images.
    assert found["seconds"] == found["seconds_extrapolated"] == pytest.approx((40 + 4 + 2 / 3) * 3 * 5)
    assert found["whole"] is False
    assert found["auroc"] is None
    assert "8 images" in found["extrapolated_from"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("speed")
    write_folder(folder / "pictures", 10, test_each=4)
    with run.home_at(folder / "home"):
        whole = run.open_source(str(folder / "pictures"), 16)
        about = {"benchmark": "speed", "command": "a command"}
        yield folder, speed.measure(QUICK, whole, folder / "made-up", folder / "out.json", about)


def test_small_settings_are_measured(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, result = measured
    assert json.loads((folder / "out.json").read_text()) == json.loads(json.dumps(result))
    real, generated = result["cells"]
    for row in (real, generated):
        assert row["scoring"]["forward_equivalents_per_image"] == 12.0, "a prediction and eleven scales"
        count, size = row["scoring"]["images"], row["cell"]["size"]
        assert row["scoring"]["bytes_read_per_image"] == 2 * 3 * size**2, (
            "read for the prediction, and once for all scales"
        )
        assert count == row["cell"]["count"]
        assert row["mspc"]["forward_equivalents_per_image"] > 12
        assert row["scoring_to_bare"] > 0
        for key in ("mspc", "transplant"):
            assert 0 <= row[key]["auroc"] <= 1
    assert real["published"]["whole"]
    assert real["published"]["forward_equivalents_per_image"] == 22 + 33 + 33
    assert 0 <= real["published"]["auroc"] <= 1
    assert (generated["published"]["auroc"], generated["mspc_paper"]) == (None, None)
    assert real["mspc_paper"]["forward_equivalents_per_image"] < real["published"]["forward_equivalents_per_image"]
    (training,) = result["training"]
    assert [len(training[name]["epochs"]) for name in ("ours", "plain")] == [1, 1], "the goal of 0 is reached at once"


def test_what_is_known_is_not_measured_again(
    measured: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, result = measured
    out = tmp_path / "out.json"
    atomic.write_json(out, result)
    asked: list[int] = []
    monkeypatch.setattr(
        speed, "_row", lambda _, cell, seed, *rest: (asked.append(seed), result["cells"][0] | {"seed": 1})[1]
    )
    with run.home_at(folder / "home"):
        whole = run.open_source(str(folder / "pictures"), 16)
        again = speed.measure(replace(QUICK, seeds=(0, 1)), whole, folder / "made-up", out, {})
    assert asked == [1, 1]
    assert [row["seed"] for row in again["cells"]] == [0, 1, 0, 1]
    assert again["training"] == result["training"]


def test_the_tables_show_it(measured: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, result = measured
    for row, faster, share in zip(result["cells"], (25.4, 3.2), (0.97, 0.9), strict=True):
        row["mspc_faster_than_published"], row["scoring_to_bare"] = faster, share
    page = tmp_path / "page.md"
    page.write_text(f"before\n{speed_table.START}\nold\n{speed_table.END}\nafter\n")
    speed_table.write(page, result)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{speed_table.END}\nafter\n")
    assert "old" not in text
    assert (
        "| whole MSPC scan ≥ 20 times as fast as the published loop | **3 times, extrapolated**, missed | 25 times |"
        in text
        or ("| 25 times | **3 times, extrapolated**, missed |" in text)
    )
    assert "0.97" in text
    assert "**0.90**, missed" in text
    assert "30 of 16 px, small-cnn" in text


def test_made_up_images_are_the_same_for_a_seed_and_carry_the_patch(tmp_path: Path) -> None:
    data, again = (made_up(tmp_path / name, 1100, 24, 3) for name in ("one", "two"))
    assert np.array_equal(data.images, again.images)
    assert data.images.shape == (1100, 24, 24, 3)
    assert 0.05 < data.truth.mean() < 0.15
    assert set(data.labels[data.truth]) == {1}
    corner = data.images[:, -6:-1, -6:-1]
    alike = (corner == corner[data.truth][0]).all((1, 2, 3))
    assert np.array_equal(alike, data.truth), "nothing but the poison has it, also beyond the first thousand"


def test_costs_are_counted(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    counted = random_images.view(measure.Counted)
    cost = measure.cost_of(tiny_model, lambda: tiny_model(torch.zeros(3, 3, 16, 16)) if counted[:7].size else None)
    assert (cost.equivalents, cost.bytes_read) == (3, 7 * 16 * 16 * 3)
    # Straight from the system: what an allocator gives out may have been this process's already.
    fresh = np.frombuffer(mmap.mmap(-1, 256 << 20), dtype=np.uint8)
    cost = measure.cost_of(tiny_model, lambda: fresh.fill(1))
    assert cost.peak_mib is None or 200 < cost.peak_mib < 300
    # One layer of 8 outputs from 3 · 16 · 16 inputs: 768 · 8 multiplications and as many additions.
    layer = nn.Sequential(nn.Flatten(), nn.Linear(768, 8))
    assert measure.flops_of_forward(layer, 16) == 2 * 768 * 8


def test_the_gpu_setting_is_what_the_targets_name() -> None:
    small, large = speed.SETTINGS["gpu"]
    assert (small.count, small.size, small.arch) == (50_000, 32, "resnet18")
    assert (large.count, large.size, large.generated) == (100_000, 224, True)


def test_bad_requests(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "speed", "--data", "x", "--setting", "toaster"]) == 2
    assert "Settings are cpu, gpu" in capsys.readouterr().err
    assert main(["bench", "speed", "--data", "x", "--counts", "many"]) == 2
    assert "--counts takes whole numbers" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "benchmarks.speed", None)
    assert main(["bench", "speed", "--data", "x"]) == 2
    assert "run this from there" in capsys.readouterr().err


def test_the_page_shows_the_result() -> None:
    page = (ROOT / speed_table.PAGE).read_text(encoding="utf-8")
    assert speed_table.filled(page, atomic.read_json(ROOT / speed_table.RESULT)) == page
