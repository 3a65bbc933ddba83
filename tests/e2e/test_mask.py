"""Mask in a real Chromium: the rounds play without asking the server, and one image is followed to files on disk."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Served
from tests.e2e.steps import MINUTE, photograph, settle
from tests.ui.conftest import SIZE, TARGET

pytestmark = pytest.mark.browser


def test_the_rounds_play_in_the_browser_alone(served: Served, page: Page) -> None:
    sent: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.goto(served.url("mask"))
    player = page.locator(".player")
    caption, button, slider = (player.locator(part) for part in (".caption", "button", "input"))
    expect(caption).to_have_text(re.compile("^Round 4: keeps"), timeout=MINUTE)
    settle(page)
    before = len(sent)
    button.click()
    for words in ("Start: nothing is hidden yet", "Round 1:", "Round 2:", "Round 3:", "Round 4:"):
        expect(caption).to_have_text(re.compile(f"^{words}"), timeout=MINUTE)
    expect(button).to_have_text("▶ Play", timeout=MINUTE)  # it stops at the end
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(caption).to_have_text(re.compile("^Round 3:"))
    page.keyboard.press("Home")
    expect(caption).to_have_text("Start: nothing is hidden yet")
    assert len(sent) == before
    first = player.locator("canvas").first
    white = first.evaluate("drawn => Array.from(drawn.getContext('2d').getImageData(0, 0, 1, 1).data)")
    assert white == [252, 255, 164, 255]  # the bright end of the heat colours: a weight of 1


def test_one_image_from_the_wall_to_the_files(
    served: Served, page: Page, tmp_path: Path, made_by_hand: Path | None
) -> None:
    page.goto(served.url("mask"))
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text(f"Marked: 16 pixels, {1600 / SIZE**2:.1f} %")).to_be_visible(timeout=MINUTE)
    wall = page.get_by_role("list", name="The mask on images")
    wall.locator("button.tile").nth(2).click()
    expect(page).to_have_url(re.compile("sample=[0-9a-f]{16}"), timeout=MINUTE)
    settle(page)

    slider = main.get_by_role("slider", name="Cut")
    slider.focus()
    page.keyboard.press("End")
    expect(main.get_by_text("Marked: 16 pixels")).to_be_visible(timeout=MINUTE)

    main.get_by_text("Compute attributions of this image").click()
    expect(main.get_by_role("img", name="Heat map: Occlusion")).to_be_visible(timeout=MINUTE)
    photograph(page, made_by_hand, "mask-attributions")

    found = {}
    for label in ("Overlay (PNG)", "All masks (NPZ)", "Cut-out (PNG)", "Attributions (NPZ)", "Attributions (PNG)"):
        with page.expect_download(timeout=MINUTE) as download:
            main.get_by_role("button", name=label).click()
        assert re.fullmatch(r"[A-Za-z0-9._-]+", download.value.suggested_filename)
        download.value.save_as(tmp_path / label)
        found[label] = (tmp_path / label).read_bytes()
    for label in ("Overlay (PNG)", "Cut-out (PNG)", "Attributions (PNG)"):
        assert Image.open(io.BytesIO(found[label])).format == "PNG"
    with np.load(io.BytesIO(found["All masks (NPZ)"]), allow_pickle=False) as masks:
        assert masks["transplant"].shape == (4, SIZE, SIZE)
    with np.load(io.BytesIO(found["Attributions (NPZ)"]), allow_pickle=False) as arrays:
        assert arrays["region"].sum() == 16
        assert {"integrated_gradients", "grad_cam", "occlusion"} <= set(arrays.files)


def test_an_uploaded_picture_and_another_class(served: Served, page: Page) -> None:
    page.goto(served.url("mask"))
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text("Image 1 of").first).to_be_visible(timeout=MINUTE)
    settle(page)
    buffer = io.BytesIO()
    Image.new("RGB", (50, 30), (200, 30, 30)).save(buffer, format="JPEG")
    main.get_by_role("button", name="Upload an image").click()
    page.locator("input[type=file]").first.set_input_files(
        {"name": "<b>mine</b>.jpg", "mimeType": "image/jpeg", "buffer": buffer.getvalue()}
    )
    expect(main.get_by_text("Your own image, <b>mine</b>.jpg")).to_be_visible(timeout=MINUTE)
    page.keyboard.press("Escape")
    main.get_by_role("button", name="Back to the data set").click()
    expect(main.get_by_text("Image 1 of").first).to_be_visible(timeout=MINUTE)
    settle(page)
    page.get_by_role("list", name="Class masks").locator("button.tile").nth(1).click()
    expect(main.get_by_text("learned for the class")).not_to_contain_text(
        served.run.summary()["dataset"]["classes"][TARGET], timeout=MINUTE
    )
