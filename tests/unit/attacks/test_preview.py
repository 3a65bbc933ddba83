"""What a trigger changes, in numbers and pictures, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mspc_core.attacks import base, preview
from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.preview import Form
from mspc_core.errors import InputError


def test_numbers_of_a_known_change() -> None:
    clean = np.full((2, 2, 3), 100, np.uint8)
    changed = clean.copy()
    changed[0, 0, 1] = 130
    changed[0, 1] = 90
    found = preview.change_of(clean, changed)
    squares = (30**2 + 3 * 10**2) / 12
    assert (found.largest, found.mean, found.share) == (30, 60 / 12, 0.5)
    assert found.psnr == pytest.approx(20 * np.log10(255 / np.sqrt(squares)))


def test_nothing_changed() -> None:
    clean = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert preview.change_of(clean, clean) == preview.Change(0, 0.0, float("inf"), 0.0)
    assert (preview.amplified(clean, clean, 64) == 128).all()


def test_amplified_saturates_and_never_wraps() -> None:
    clean, changed = np.array([[[10, 10, 10]]], np.uint8), np.array([[[13, 7, 250]]], np.uint8)
    assert preview.amplified(clean, changed, 8)[0, 0].tolist() == [152, 104, 255]
    assert preview.amplified(changed, clean, 8)[0, 0].tolist() == [104, 152, 0]


def test_a_weaker_and_a_stronger_trigger() -> None:
    clean, changed = np.array([[[100, 200, 5]]], np.uint8), np.array([[[120, 250, 0]]], np.uint8)
    assert (preview.between(clean, changed, 0.0) == clean).all()
    assert (preview.between(clean, changed, 1.0) == changed).all()
    assert preview.between(clean, changed, 0.5)[0, 0].tolist() == [110, 225, 2]
    assert preview.between(clean, changed, 1.5)[0, 0].tolist() == [130, 255, 0]


def test_the_spectrum_of_a_wave_has_two_peaks() -> None:
    """A cosine of k periods across the width is frequency ±k; the mean stands in the middle."""
    side, k = 16, 3
    wave = 128 + 100 * np.cos(2 * np.pi * k * np.arange(side) / side)
    image = np.rint(np.broadcast_to(wave[None, :, None], (side, side, 3))).astype(np.uint8)
    found = preview.spectrum(image[None])[0]
    order = np.argsort(-found.ravel())[:3]
    places = {divmod(int(place), side) for place in order}
    assert places == {(8, 8), (8, 8 - k), (8, 8 + k)}


def test_the_dct_agrees_with_its_definition() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    grey = image[0] @ np.array([0.299, 0.587, 0.114])
    n = np.arange(8)
    basis = np.sqrt(2 / 8) * np.cos(np.pi * (2 * n[None] + 1) * n[:, None] / 16)
    basis[0] /= np.sqrt(2)
    assert preview.spectrum(image, "DCT")[0] == pytest.approx(np.log1p(np.abs(basis @ grey @ basis.T)))


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("badnets", ("planted",)),
        ("wanet", ("planted", "cover")),
        ("adaptive-patch", ("planted", "applied", "cover")),
        ("label-consistent", ("planted", "applied")),
    ],
)
def test_forms_that_differ(name: str, forms: tuple[str, ...]) -> None:
    assert preview.forms_of(base.create(name)) == forms


def test_covers_can_be_switched_off() -> None:
    assert "cover" not in preview.forms_of(base.create("wanet", {"noise_mode": False}))


@pytest.mark.parametrize("name", list(base.REGISTRY))
def test_what_can_be_drawn_without_learning(name: str) -> None:
    """Forms that need nothing learned are drawn; the others say in one sentence that they cannot be."""
    attack = base.create(name)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for form in preview.forms_of(attack):
        if preview.needs_learning(attack, form):
            with pytest.raises(InputError):
                preview.draw(attack, images, np.zeros(3, np.int64), form)
        else:
            first, again = (preview.draw(attack, images, np.zeros(3, np.int64), form, seed=7) for _ in range(2))
            assert (first == again).all()
            assert (first != images).any()


def test_an_unknown_form() -> None:
    wrong: Form = "other"  # type: ignore[assignment]
    with pytest.raises(InputError, match="Forms of a trigger"):
        preview.draw(BadNets(), np.zeros((1, 16, 16, 3), np.uint8), np.zeros(1, np.int64), wrong)
