"""Other people's weights: what is understood, what is refused and in which words."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mspc_core.errors import InputError
from mspc_core.models.checkpoint import load_checkpoint, load_saved_model, save_model, write_tensors
from mspc_core.models.normalise import KNOWN, load_with_normalisation
from mspc_core.models.zoo import ModelSpec, Normalised, build_model

SPEC = ModelSpec("small-cnn", 4, 16)
RESNET = ModelSpec("resnet18", 4, 32)


def equal(left: nn.Module, right: nn.Module) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"net": {f"module.{key}": value for key, value in state.items()}, "acc": 0.9},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"model.{key}": value for key, value in state.items()}},
    ],
    ids=["plain", "nested", "DataParallel", "compiled DataParallel", "lightning-like"],
)
def test_forms_of_state_dicts(tmp_path: Path, wrap) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    backbone = build_model(SPEC).backbone
    torch.save(wrap(backbone.state_dict()), tmp_path / "w.pth")
    assert equal(load_checkpoint(tmp_path / "w.pth", SPEC).backbone, backbone)


def test_torchvision_resnet_as_safetensors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = build_model(RESNET).backbone
    write_tensors(tmp_path / "w.safetensors", {f"module.{k}": v for k, v in backbone.state_dict().items()}, {})
    assert equal(load_checkpoint(tmp_path / "w.safetensors", RESNET).backbone, backbone)


def test_own_run_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec("small-cnn", 4, 16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    model = build_model(spec)
    save_model(tmp_path, model, spec, {"classes": ["a", "b", "c", "d"]})
    again, about = load_saved_model(tmp_path)
    assert equal(model, again)
    assert about["classes"] == ["a", "b", "c", "d"]
    as_checkpoint = load_checkpoint(tmp_path / "model.safetensors", SPEC)
    assert equal(as_checkpoint, model), "its normalisation comes along"


def test_a_missing_model_file_is_said(tmp_path: Path) -> None:
    save_model(tmp_path, build_model(SPEC), SPEC, {"classes": list("abcd")})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="model file of this run is gone"):
        load_saved_model(tmp_path)


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (Path.touch, (self.target,))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(_Evil(trap)))
    torch.save({"state_dict": _Evil(trap)}, tmp_path / "zip.pth")
    for name in ("raw.pth", "zip.pth"):
        with pytest.raises(InputError, match=r"could run code|cannot be read"):
            load_checkpoint(tmp_path / name, SPEC)
        assert not trap.exists()


def test_a_whole_pickled_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(InputError, match="state dict"):
        load_checkpoint(tmp_path / "model.pth", SPEC)


def test_another_architecture(tmp_path: Path) -> None:
    torch.save(build_model(RESNET).backbone.state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="is not a small-cnn"):
        load_checkpoint(tmp_path / "w.pth", SPEC)


def test_a_larger_sibling_is_not_cut_down(tmp_path: Path) -> None:
    """Every tensor of a ResNet-18 is in a ResNet-34 too; leaving the rest out would be another network."""
    torch.save(build_model(ModelSpec("resnet34", 4, 32)).backbone.state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="another \\(perhaps larger\\) architecture"):
        load_checkpoint(tmp_path / "w.pth", RESNET)


def test_another_number_of_classes(tmp_path: Path) -> None:
    torch.save(build_model(ModelSpec("small-cnn", 10, 16)).backbone.state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="knows 10 classes, but the data set has 4"):
        load_checkpoint(tmp_path / "w.pth", SPEC)


def test_imagenet_stem_where_a_cifar_stem_is_wanted(tmp_path: Path) -> None:
    torch.save(build_model(ModelSpec("resnet18", 4, 96)).backbone.state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="CIFAR stem"):
        load_checkpoint(tmp_path / "w.pth", RESNET)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not a zip", b"\x80\x04" + b"x" * 50])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_rubbish(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(InputError):
        load_checkpoint(tmp_path / f"w{suffix}", SPEC)


def test_what_the_file_says_of_itself_stays_out_of_the_message(tmp_path: Path, tiny_model: Normalised) -> None:
    """A PyTorch file names its byte order, and the error quotes it: control characters must not reach a terminal."""
    torch.save(tiny_model.backbone.state_dict(), tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as old, zipfile.ZipFile(tmp_path / "w.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"\x1b[31m\x00" if name.endswith("byteorder") else old.read(name))
    with pytest.raises(InputError, match="cannot be read") as caught:
        load_checkpoint(tmp_path / "w.pth", SPEC)
    assert str(caught.value).isprintable()


def test_names_of_tensors_stay_on_one_line(tmp_path: Path, tiny_model: Normalised) -> None:
    torch.save({**tiny_model.backbone.state_dict(), "a\r\nb\x1b": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="for example a b: it belongs to another"):
        load_checkpoint(tmp_path / "w.pth", SPEC)


def test_missing_file_and_no_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path / "nowhere.pth", SPEC)
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(InputError, match="holds no weights"):
        load_checkpoint(tmp_path / "empty.pth", SPEC)


def test_normalisation_is_found_out(tmp_path: Path, tiny_model: Normalised) -> None:
    """Labels made by the model under ImageNet's normalisation: `auto` must find just that one."""
    generator = np.random.default_rng(2)
    light = generator.uniform(0.2, 1.0, (60, 1, 1, 3))
    random_images = (generator.integers(0, 256, (60, 16, 16, 3)) * light).astype(np.uint8)
    model = tiny_model
    torch.save(model.backbone.state_dict(), tmp_path / "w.pth")
    mean, std = KNOWN["imagenet"]
    model.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
    model.std.copy_(torch.tensor(std).view(1, 3, 1, 1))
    from mspc_core.engine.forward import predict_logits

    labels = predict_logits(model.eval(), random_images).argmax(1).numpy()
    _, choice = load_with_normalisation(tmp_path / "w.pth", SPEC, "auto", random_images, labels, torch.device("cpu"))
    assert (choice.mean, choice.std) == (mean, std)
    assert len(np.unique(labels)) > 1
    wrong = (labels + 1) % 4
    _, doubtful = load_with_normalisation(
        tmp_path / "w.pth", SPEC, "imagenet", random_images, wrong, torch.device("cpu")
    )
    assert "may be in another order" in " ".join(doubtful.notes)
