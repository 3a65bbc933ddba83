"""Weights from files, without ever running code that a file brings: safetensors, or `torch.load(weights_only=True)`."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mspc_core import atomic
from mspc_core.engine.forward import allow_half
from mspc_core.errors import InputError, one_line
from mspc_core.files import check_regular
from mspc_core.models.zoo import ModelSpec, Normalised, build_model

_NESTED_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "netC", "weights", "params", "module")
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "net.", "encoder.")


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Atomically write a safetensors file."""
    from safetensors.torch import save

    content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, metadata)
    atomic.write_bytes(path, content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises `InputError` when it is not one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}, dict(handle.metadata() or {})  # noqa: SIM118
    except (SafetensorError, ValueError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path.name} is not a whole safetensors file ({one_line(error)}): export the weights again."
        ) from None


def save_model(folder: Path, model: Normalised, spec: ModelSpec, about: dict[str, Any]) -> None:
    """`model.safetensors` and `model.json` (architecture, classes, normalisation, accuracies) into a run folder."""
    write_tensors(folder / "model.safetensors", dict(model.state_dict()), {"arch": spec.arch})
    atomic.write_json(folder / "model.json", {**spec.as_json(), **about})


def load_saved_model(folder: Path, device: torch.device | str = "cpu") -> tuple[Normalised, dict[str, Any]]:
    """The model of a run folder, in evaluation mode, and its `model.json`."""
    try:
        about = atomic.read_object(folder / "model.json")
        spec = ModelSpec.from_json(about)
    except (OSError, KeyError, ValueError, TypeError):
        raise InputError("This run has no usable model: run the scan again.") from None
    model = build_model(spec)
    try:
        check_regular(folder / "model.safetensors")
    except OSError:
        raise InputError("The model file of this run is gone: run the scan again.") from None
    tensors, _ = read_tensors(folder / "model.safetensors")
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise InputError("The model file of this run does not fit its description: run the scan again.") from None
    allow_half(model, about.get("precision", {}).get("used") != "float32")
    return model.to(device).eval(), about


def load_checkpoint(path: Path, spec: ModelSpec) -> Normalised:
    """A user's own weights in the architecture of `spec`.

    Understands safetensors files and PyTorch state dicts, nested in dictionaries and with the prefixes that
    DataParallel, torch.compile and common training scripts add. Raises `InputError` with what does not fit.
    """
    state = _plain_state(_read(path), path)
    model = build_model(spec)
    own = "mean" in state and "std" in state and any(key.startswith("backbone.") for key in state)
    target = model if own else model.backbone
    wanted = target.state_dict()
    if not own:
        state = _without_prefixes(state, set(wanted))
    _check_fit(state, wanted, spec, path)
    target.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)
    return model.eval()


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"There is no checkpoint at {path}: check the path.")
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path.name} holds more than weights, and loading it could run code hidden in it, so it was not opened: "
            "save the state dict alone (torch.save(model.state_dict(), …)) or use safetensors."
        ) from None
    except Exception as error:
        reason = one_line((str(error).splitlines() or ["unknown format"])[0])
        raise InputError(f"{path.name} cannot be read as PyTorch weights ({reason}): is it a state dict?") from None


def _plain_state(loaded: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(4):
        if not isinstance(loaded, dict):
            break
        tensors = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
        if len(tensors) > 1:
            return tensors
        inner = next((loaded[key] for key in _NESTED_KEYS if isinstance(loaded.get(key), dict)), None)
        if inner is None:
            break
        loaded = inner
    raise InputError(f"{path.name} holds no weights that could be found: save the model's state dict.")


def _without_prefixes(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Strip common prefixes while that brings more names into agreement with the architecture's."""
    best = state
    for _ in range(3):
        candidates = [
            {key.removeprefix(prefix): value for key, value in best.items()}
            for prefix in _PREFIXES
            if any(key.startswith(prefix) for key in best)
        ]
        if not candidates:
            return best
        better = max(candidates, key=lambda option: len(wanted & option.keys()))
        if len(wanted & better.keys()) < len(wanted & best.keys()) or better.keys() == best.keys():
            return best
        best = better
    return best


def _check_fit(state: dict[str, Tensor], wanted: dict[str, Tensor], spec: ModelSpec, path: Path) -> None:
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    if len(missing) > len(wanted) // 2:
        raise InputError(
            f"{path.name} is not a {spec.arch}: {len(missing)} of its {len(wanted)} tensors are missing "
            f"(for example {missing[0]}); name the architecture it was trained with (--arch)."
        )
    if missing:
        raise InputError(f"{path.name} lacks {len(missing)} tensors of {spec.arch}, for example {missing[0]}.")
    extra = [key for key in state if key not in wanted and not key.startswith(("aux", "AuxLogits"))]
    if extra:
        first = one_line(extra[0], 60)
        raise InputError(
            f"{path.name} holds {len(extra)} tensors that {spec.arch} does not have, for example {first}: it "
            "belongs to another (perhaps larger) architecture; name that with --arch."
        )
    different = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if not different:
        return
    last = different[-1]
    have, want = list(state[last].shape), list(wanted[last].shape)
    if have[1:] == want[1:] and want[:1] == [spec.num_classes] and len(different) <= 2:
        raise InputError(
            f"{path.name} knows {have[0]} classes, but the data set has {spec.num_classes}: "
            "scan with a model trained on these classes."
        )
    shown = different[0]
    raise InputError(
        f"{path.name} does not fit {spec.arch} at {spec.image_size} px: {shown} is {list(state[shown].shape)} in the "
        f"file and {list(wanted[shown].shape)} here; check the architecture, and whether it has a CIFAR stem."
    )
