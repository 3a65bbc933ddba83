"""Mixed precision: where it is used, that it can be turned off, and that the run says so."""

from __future__ import annotations

import pytest
import torch

from mspc_core.engine import device as devices
from mspc_core.engine.forward import frozen

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
