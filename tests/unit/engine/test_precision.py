"""Mixed precision: where it is used, that it can be turned off, and that the run says so."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mspc_core.engine import device as devices
from mspc_core.engine.forward import allow_half, counting, frozen, predict_logits
from mspc_core.engine.precision import Precision, choose_precision

CPU = torch.device("cpu")


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, tiny_model: torch.nn.Module) -> None:
    monkeypatch.setenv("BACKDOOR_LENS_PRECISION", "float32")
    assert not devices.half_precision(CPU)
    assert devices.device_name(CPU).endswith("float32)")
    with frozen(tiny_model):
        assert tiny_model(torch.rand(2, 3, 16, 16)).dtype == torch.float32


@pytest.mark.parametrize("units", [True, False])
def test_it_is_used_where_the_processor_has_units_for_it(
    units: bool, monkeypatch: pytest.MonkeyPatch, tiny_model: torch.nn.Module
) -> None:
    monkeypatch.setenv("BACKDOOR_LENS_PRECISION", "auto")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)
    assert devices.half_precision(CPU) is units
    assert ("bfloat16" in devices.device_name(CPU)) is units
    with frozen(tiny_model):
        assert (tiny_model(torch.rand(2, 3, 16, 16)).dtype == torch.bfloat16) is units
    assert not torch.is_autocast_enabled("cpu"), "left as it was"


@pytest.fixture
def with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKDOOR_LENS_PRECISION", "auto")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)


class Rounded(nn.Module):
    """Class 1 where the first pixel is above a border; under mixed precision everything that passes `moved` images is
    class 2, as if rounding had changed it."""

    def __init__(self, moved: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.moved = moved

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, 0, 0, 0]
        classes = (first > 0.5).long()
        if torch.is_autocast_enabled(images.device.type):
            classes = torch.where(first < self.moved, 2, classes)
        return nn.functional.one_hot(classes, 3).float()


def shades(count: int) -> np.ndarray:
    """Images of one shade each, evenly from black to white."""
    return np.broadcast_to(np.linspace(0, 255, count).astype(np.uint8)[:, None, None, None], (count, 4, 4, 3)).copy()


@pytest.mark.usefixtures("with_units")
def test_a_model_that_rounding_changes_computes_in_float32() -> None:
    model = Rounded(moved=0.25)
    with counting(model) as count:
        found = choose_precision(model, shades(16), (2.0, 4.0))
    # 16 shades k/15, scaled by 1, 2, 4: below a quarter are k = 0 … 3, then 0 … 1, then 0 alone.
    assert found.used == "float32"
    assert found.sample == 16
    assert found.changed_predictions == pytest.approx((4 + 2 + 1) / 48)
    # Scores of k = 1, 2, 3 are 1, ½, ½ exactly and ½, 0, 0 rounded; all others stay.
    assert (found.changed_scores, found.largest_change) == (3 / 16, 0.5)
    assert "14.6% of this model's predictions" in found.note()[0]
    assert count.forwards == 16 * 3 * 2
    with frozen(model), frozen(copy.deepcopy(model)):
        assert not torch.is_autocast_enabled("cpu"), "copies, such as detectors make, do alike"
    plain = Rounded(moved=0.0)
    assert torch.equal(predict_logits(model, shades(16)), predict_logits(plain, shades(16)))


@pytest.mark.usefixtures("with_units")
def test_a_model_that_does_not_mind_uses_it(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    model = Rounded(moved=0.0)
    found = choose_precision(model, shades(2000), (2.0, 4.0))
    assert found == Precision("bfloat16", sample=31)
    assert not found.note()
    with frozen(model):
        assert torch.is_autocast_enabled("cpu")
    again = [choose_precision(tiny_model, random_images, (2.0, 5.0), seed=3) for _ in range(2)]
    assert again[0] == again[1], "the same sample, and whatever was chosen before does not matter"


def test_nothing_is_compared_where_there_is_one_precision(tiny_model: nn.Module, random_images: np.ndarray) -> None:
    with counting(tiny_model) as count:
        assert choose_precision(tiny_model, random_images, (2.0,)) == Precision("float32")
    assert count.forwards == 0


@pytest.mark.usefixtures("with_units")
def test_what_was_chosen_can_be_said_of_a_model(tiny_model: nn.Module) -> None:
    for allowed in (False, True):
        allow_half(tiny_model, allowed)
        with frozen(tiny_model):
            assert torch.is_autocast_enabled("cpu") is allowed
