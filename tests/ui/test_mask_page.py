"""The Mask page as a user meets it: choosing a mask and an image, pasting, attributions, odd states, files."""

import ast
import io
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from mspc_core.attribution import METHODS, Attribution
from mspc_core.errors import InputError
from mspc_core.overlap import overlap_of
from mspc_core.runs import Run
from tests.ui.conftest import REPOSITORY, SIZE, TARGET, TRIGGER, make_dataset, make_run, set_status
from tests.ui.test_scores_mask import text_of, unfinish
from ui import attribution_views, compute_paste, image_choice, mask_files, mask_player, mask_views, shared_filter
from ui.filters import SampleFilter, View

OpenPage = Callable[..., AppTest]
ATTRIBUTE = "Compute attributions of this image"


def open_mask(open_page: OpenPage, run: Run, **query: str) -> AppTest:
    at = open_page("mask", run=run.id, **query)
    assert not at.exception
    assert not at.error
    return at


def button(at: AppTest, label: str) -> object:
    return next(found for found in at.button if found.label == label)


def png_of(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def running(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    from mspc_core import job_status

    unfinish(tiny_run)
    monkeypatch.setattr(job_status, "locked", lambda _: True)
    return tiny_run


class TestChoosing:
    def test_starts_with_the_targets_mask_on_its_strongest_image(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        scores = tiny_run.scores()
        own = scores[scores["predicted"] == TARGET].sort_values("transplant_score", ascending=False, kind="stable")
        assert "learned for the class “yield”" in text_of(at)
        assert f"Image 1 of {len(own)}, strongest first" in text_of(at)
        assert own["path"].iloc[0] in text_of(at)
        assert f"Marked: 16 pixels, {100 * 16 / SIZE**2:.1f} %" in text_of(at)

    def test_steps_to_the_next_image_and_keeps_it_in_the_address(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        at.button("mask-step-1").click().run()
        scores = tiny_run.scores()
        own = scores[scores["predicted"] == TARGET].sort_values("transplant_score", ascending=False, kind="stable")
        assert at.query_params["sample"] == own["sample_id"].iloc[1]
        assert "Image 2 of" in text_of(at)

    def test_shows_the_sample_that_a_link_names(self, open_page: OpenPage, tiny_run: Run) -> None:
        row = tiny_run.scores().iloc[17]
        at = open_mask(open_page, tiny_run, sample=str(row["sample_id"]))
        assert row["path"] in text_of(at)
        assert "Selected · label" in text_of(at)

    def test_finds_an_image_by_its_name(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        at.text_input(f"mask-search-{tiny_run.id}").set_value("/013").run()
        assert "1 image" in text_of(at)
        at.button("mask-take-found").click().run()
        assert at.query_params["sample"] == tiny_run.scores()["sample_id"].iloc[13]
        at.text_input(f"mask-search-{tiny_run.id}").set_value("no such thing").run()
        assert "Nothing in this run" in text_of(at)

    def test_follows_the_shared_filter(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run, **shared_filter.to_query(SampleFilter(classes=(1,))))
        count = int((tiny_run.scores()["predicted"] == 1).sum())
        assert f"Image 1 of {count}, strongest first" in text_of(at)
        at = open_mask(open_page, tiny_run, **shared_filter.to_query(SampleFilter(text="no such file")))
        assert "No image passes the filter" in text_of(at)

    def test_the_shared_mask_has_its_rounds(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        at.segmented_control(f"mask-kind-{tiny_run.id}").set_value("Shared mask").run()
        assert at.select_slider[0].options == ["start", "round 1", "round 2", "round 3", "round 4"]
        assert at.select_slider[0].value == 4
        at.select_slider[0].set_value(0).run()
        assert f"Marked: {SIZE**2} pixels, 100.0 %" in text_of(at)

    def test_opacity_and_cut_change_what_is_marked(self, open_page: OpenPage, tiny_run: Run) -> None:
        masks = tiny_run.masks()
        masks["transplant"][TARGET][0, :3] = 0.5
        tiny_run.save_masks(masks)
        at = open_mask(open_page, tiny_run)
        assert "Marked: 19 pixels" in text_of(at)
        at.slider(f"cut-{tiny_run.id}").set_value(0.6).run()
        assert "Marked: 16 pixels" in text_of(at)
        at.slider(f"opacity-{tiny_run.id}").set_value(0.0).run()
        assert not at.exception

    @pytest.mark.parametrize("kind", ["Suspects", "Random", "Class"])
    def test_the_wall_shows_what_was_asked_for(self, kind: str, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        at.segmented_control(f"mask-on-{tiny_run.id}").set_value(kind).run()
        assert not at.exception
        assert "No images there" not in text_of(at)


class TestUpload:
    def test_a_picture_becomes_the_image_of_the_page(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        picture = np.zeros((40, 60, 3), np.uint8)
        at.file_uploader[0].set_value(("my *picture*.png", png_of(picture), "image/png")).run()
        assert not at.exception
        assert "Your own image, my \\*picture\\*.png" in text_of(at)
        assert "The model calls the image" in text_of(at)
        at.button("mask-drop-upload").click().run()
        assert "Your own image" not in text_of(at)
        assert "strongest first" in text_of(at)

    def test_what_is_no_picture_is_refused_in_one_sentence(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        at.file_uploader[0].set_value(("cat.png", b"\x89PNG but nothing else", "image/png")).run()
        assert not at.exception
        assert "cannot be used" in at.error[0].value
        assert "strongest first" in text_of(at)

    def test_decoding_checks_kind_and_size(self) -> None:
        good = image_choice.decode_upload(png_of(np.full((3, 9, 3), 7, np.uint8)), SIZE, "x.png")
        assert good.pixels.shape == (SIZE, SIZE, 3)
        assert (good.pixels == 7).all()
        assert good.position is None
        with pytest.raises(InputError, match="not a PNG or JPEG"):
            image_choice.decode_upload(b"GIF89a", SIZE, "x.gif")
        with pytest.raises(InputError, match="larger than 10 MiB"):
            image_choice.decode_upload(bytes(10 * 2**20 + 1), SIZE, "x.png")

    def test_of_many_files_the_good_ones_are_used(self) -> None:
        class File:
            def __init__(self, name: str, data: bytes) -> None:
                self.name, self.data = name, data

            def getvalue(self) -> bytes:
                return self.data

        picture = png_of(np.zeros((4, 4, 3), np.uint8))
        good, bad = image_choice.decode_all([File("a.png", picture), File("b.png", b"no")], SIZE)
        assert [found.name for found in good] == ["a.png"]
        assert bad == ["“b.png” is not a PNG or JPEG image."]


class TestTransplant:
    def test_counts_what_turned(self, open_page: OpenPage, tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a model that looks at the trigger alone, all 16 images of the scan turn."""

        def only_the_trigger(_: object, images: np.ndarray) -> np.ndarray:
            carries = (images[(slice(None), *TRIGGER)] == 255).all((1, 2, 3))
            return np.where(carries[:, None], np.eye(4)[TARGET], np.eye(4)[0]).astype(np.float32)

        monkeypatch.setattr("mspc_core.pasting.probabilities", only_the_trigger)
        at = open_mask(open_page, tiny_run)
        assert "This region, cut from this image, turned **16 of 16** other images into *yield*" in text_of(at)
        assert "+100 percentage points" in text_of(at)
        assert at.segmented_control(f"paste-on-{tiny_run.id}").value == "As in the scan"

    def test_agrees_with_the_detector(self, tiny_run: Run) -> None:
        from mspc_core.detectors.regions import cut_region
        from mspc_core.detectors.transplant import Transplant
        from ui import cache, compute

        masks, scores = tiny_run.masks()["transplant"], tiny_run.scores()
        images = np.array(tiny_run.dataset().pixels[scores["row"].to_numpy()])
        predicted = scores["predicted"].to_numpy()
        regions = np.stack([cut_region(mask, 0.2) for mask in masks])
        expected = Transplant()._score(cache.model_of(tiny_run), images, predicted, regions, lambda *_: None, None)
        found = [compute.transplant_of(tiny_run, position).turned.mean() for position in range(0, 48, 7)]
        assert found == pytest.approx(expected[::7])

    def test_on_a_class_and_on_random_images(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        at.segmented_control(f"paste-on-{tiny_run.id}").set_value("A class").run()
        at.selectbox(f"paste-class-{tiny_run.id}").set_value(0).run()
        assert not at.exception
        assert not at.error
        at.segmented_control(f"paste-on-{tiny_run.id}").set_value("Random").run()
        at.button("paste-draw").click().run()
        assert not at.exception
        assert "The model calls the image" in text_of(at)

    def test_on_images_that_are_clicked(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        at.segmented_control(f"paste-on-{tiny_run.id}").set_value("Click them").run()
        assert "Click up to 16 images" in text_of(at)
        at.session_state[f"paste-chosen-{tiny_run.id}"] = tiny_run.scores()["sample_id"].iloc[:3].tolist()
        at.run()
        assert not at.exception
        assert button(at, "Clear the 3 choices")
        assert "The model calls the image" in text_of(at)

    def test_on_uploaded_images(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        at.segmented_control(f"paste-on-{tiny_run.id}").set_value("Upload").run()
        assert "Upload up to 16 images" in text_of(at)
        field = next(found for found in at.file_uploader if found.key == f"paste-files-{tiny_run.id}")
        field.set_value([("a.png", png_of(np.zeros((9, 9, 3), np.uint8)), "image/png")]).run()
        assert not at.exception
        assert "The model calls the image" in text_of(at)

    def test_draws_others_each_time_and_never_the_donor(self) -> None:
        predicted = np.arange(50) % 5
        first, second = (compute_paste.draw(predicted, 2, 7, 4, seed) for seed in (0, 1))
        assert len(first) == len(set(first.tolist())) == 4
        assert (predicted[first] == 2).all()
        assert set(first.tolist()) != set(second.tolist())
        assert all(7 not in compute_paste.draw(predicted, 2, 7, 50, seed) for seed in range(5))
        assert (
            compute_paste.draw(predicted, None, None, 50, 3) == compute_paste.draw(predicted, None, None, 50, 3)
        ).all()


class TestAttributions:
    def test_nothing_is_computed_until_asked(
        self, open_page: OpenPage, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        from mspc_core import attribution

        real = attribution.attribute
        monkeypatch.setattr(attribution, "attribute", lambda *given: calls.append(given[3]) or real(*given))
        at = open_mask(open_page, tiny_run)
        assert calls == []
        toggle = next(found for found in at.toggle if found.label == ATTRIBUTE)
        toggle.set_value(True).run()
        assert not at.exception
        assert calls == list(METHODS)
        at.run()
        assert calls == list(METHODS)  # cached
        table = next(found.value for found in at.dataframe if "attribution" in found.value)
        assert table["attribution"].tolist() == ["Integrated Gradients", "Grad-CAM", "Occlusion"]
        assert table["share by chance"].tolist() == ["6.2 %"] * 3

    def test_another_class_can_be_explained(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        next(found for found in at.toggle if found.label == ATTRIBUTE).set_value(True).run()
        field = next(found for found in at.selectbox if found.label == "Explain the class")
        assert len(field.options) == 4
        field.set_value(next(number for number in range(4) if number != field.value)).run()
        assert not at.exception
        assert not at.error

    def test_a_transformer_says_that_it_has_no_convolutional_block(self, open_page: OpenPage, tiny_run: Run) -> None:
        import torch

        from mspc_core.models.checkpoint import save_model
        from mspc_core.models.zoo import ModelSpec, build_model

        torch.manual_seed(0)
        spec = ModelSpec("tiny-vit", 4, SIZE)
        save_model(
            tiny_run.folder, build_model(spec), spec, {"classes": list("abcd"), "trained_here": True, "notes": []}
        )
        at = open_mask(open_page, tiny_run)
        next(found for found in at.toggle if found.label == ATTRIBUTE).set_value(True).run()
        assert not at.exception
        assert "no convolutional block" in text_of(at)
        table = next(found.value for found in at.dataframe if "attribution" in found.value)
        assert table["attribution"].tolist() == ["Integrated Gradients", "Occlusion"]

    def test_the_words_follow_the_numbers(self) -> None:
        region = np.zeros((10, 10), bool)
        region[:2] = True
        there, even = np.where(region, 1.0, 0.0), np.ones((10, 10))
        assert "Occlusion puts 5.0 times as much" in attribution_views.reading(
            {"occlusion": overlap_of(there, region), "grad_cam": overlap_of(even, region)}
        )
        assert "disagree" in attribution_views.reading({"grad_cam": overlap_of(even, region)})
        assert "No attribution speaks" in attribution_views.reading({"grad_cam": overlap_of(-even, region)})
        assert "nothing to compare" in attribution_views.reading({"grad_cam": overlap_of(even, region & False)})

    def test_the_table_says_dash_where_nothing_is_defined(self) -> None:
        one = Attribution(np.zeros((4, 4), np.float32), (4, 4))
        table = attribution_views.table(
            {"occlusion": one}, {"occlusion": overlap_of(one.values, np.zeros((4, 4), bool))}
        )
        assert table.iloc[0][["IoU with the mask", "share inside the mask"]].tolist() == ["–", "–"]

    def test_an_outlier_does_not_darken_the_heat_map(self) -> None:
        values = np.linspace(0.1, 1, 400).reshape(20, 20)
        values[0, 0] = 1000
        assert attribution_views.heat_of(values)[-1, -1].tolist() == [252, 255, 164]
        assert (attribution_views.heat_of(-values) == attribution_views.heat_of(np.zeros((20, 20)))).all()


class TestStates:
    def test_says_when_a_mask_is_still_to_come(self, open_page: OpenPage, running: Run) -> None:
        at = open_mask(open_page, running)
        assert "when MSPC has finished" in text_of(at)
        assert "when Transplant has finished" in text_of(at)

    def test_says_when_a_detector_was_not_asked_for(self, open_page: OpenPage, tiny_run: Run) -> None:
        unfinish(tiny_run, state="finished")
        tiny_run.save_config(replace(tiny_run.config(), detectors=("spc",)))
        assert "not part of this scan" in text_of(open_mask(open_page, tiny_run))

    def test_class_masks_that_collapsed_leave_the_shared_one(self, open_page: OpenPage, tiny_run: Run) -> None:
        masks = tiny_run.masks()
        masks["transplant"][:] = 0
        tiny_run.save_masks(masks)
        at = open_mask(open_page, tiny_run)
        assert "“yield” let go of every pixel" in text_of(at)
        at.segmented_control(f"mask-kind-{tiny_run.id}").set_value("Class mask").run()
        assert not at.exception
        assert "there is nothing to cut out" in text_of(at)
        assert "there is no region to cut out" in text_of(at)

    @pytest.mark.parametrize("left", ["mspc", "transplant"])
    def test_one_kind_of_mask_is_enough(self, left: str, open_page: OpenPage, tiny_run: Run) -> None:
        tiny_run.save_masks({left: tiny_run.masks()[left]})
        at = open_mask(open_page, tiny_run)
        assert at.segmented_control(f"mask-kind-{tiny_run.id}").value == (
            "Shared mask" if left == "mspc" else "Class mask"
        )

    def test_without_a_model_the_masks_are_still_there(self, open_page: OpenPage, tiny_run: Run) -> None:
        (tiny_run.folder / "model.safetensors").unlink()
        at = open_mask(open_page, tiny_run)
        assert "Marked: 16 pixels" in text_of(at)
        next(found for found in at.toggle if found.label == ATTRIBUTE).set_value(True).run()
        assert not at.exception
        assert not at.error
        assert "model" in " ".join(found.value for found in at.info)

    def test_without_the_data_set_an_upload_still_works(self, open_page: OpenPage, tiny_run: Run) -> None:
        shutil.rmtree(tiny_run.dataset().root)
        at = open_mask(open_page, tiny_run)
        assert "You can still upload one" in text_of(at)
        at.file_uploader[0].set_value(("x.png", png_of(np.zeros((8, 8, 3), np.uint8)), "image/png")).run()
        assert not at.exception
        assert not at.error
        assert "Marked: 16 pixels" in text_of(at)

    def test_a_cancelled_scan_with_a_mask_shows_it(self, open_page: OpenPage, tiny_run: Run) -> None:
        set_status(tiny_run, "cancelled")
        assert "Marked: 16 pixels" in text_of(open_mask(open_page, tiny_run))

    def test_without_suspects_the_highest_scores_are_cut_out(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset("calm"))
        scores = run.scores()
        scores["suspect"] = False
        for name in ("spc", "mspc", "transplant"):
            scores[f"{name}_flagged"] = False
        run.save_scores(scores)
        at = open_mask(open_page, run)
        assert "Marked: 16 pixels" in text_of(at)

    def test_no_page_module_loads_torch(self) -> None:
        heavy = {"torch", "captum", "torchvision"}
        for name in ("attribution", "pasting", "overlap", "trigger_crop"):
            tree = ast.parse((REPOSITORY / "mspc_core" / f"{name}.py").read_text())
            for node in tree.body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                    assert not {found.split(".")[0] for found in names} & heavy


class TestParts:
    def test_the_strongest_are_suspects_of_the_class_in_order(self, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        everything = View(SampleFilter(), np.arange(len(scores)))
        found, words = mask_views.strongest(scores, TARGET, 3, everything)
        rows = scores.iloc[found]
        assert words == "strongest suspect"
        assert (rows["predicted"] == TARGET).all()
        assert rows["suspect"].all()
        assert rows["transplant_score"].is_monotonic_decreasing
        calm = scores.assign(suspect=False)
        assert mask_views.strongest(calm, TARGET, 3, everything)[1] == "strongest flagged image"
        assert len(mask_views.strongest(scores, TARGET, 3, View(SampleFilter(), np.zeros(0, np.int64), "x"))[0]) == 0

    def test_the_others_are_neither_suspects_nor_of_the_class(self, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        found = mask_views.elsewhere(scores, np.array([0, 1]), TARGET, 20)
        assert not set(found.tolist()) & {0, 1}
        assert not scores["suspect"].iloc[found].any()
        assert (scores["predicted"].iloc[found] != TARGET).all()

    def test_frames_are_bytes_and_large_masks_are_thinned_out(self) -> None:
        rounds = np.stack([np.ones((4, 4)), np.full((4, 4), 0.5)])
        assert mask_player.frames(rounds).tolist() == [[[255] * 4] * 4, [[128] * 4] * 4]
        assert mask_player.frames(np.zeros((2, 224, 224))).shape == (2, 112, 112)
        assert mask_player.frames(np.full((1, 2, 2), np.nan)).max() == 0

    def test_each_round_is_said_in_words(self) -> None:
        mask = np.zeros((4, 4))
        assert mask_views.round_words(np.ones((4, 4)), 0) == "Start: nothing is hidden yet"
        assert "let go of every pixel" in mask_views.round_words(mask, 1)
        mask[0] = 0.9
        assert mask_views.round_words(mask, 2) == "Round 2: keeps 25 % of the image (weights above one half)"


class TestFiles:
    def test_names_are_safe_whatever_they_are_made_of(self) -> None:
        assert mask_files.file_name("run-1", "../../etc/passwd", suffix=".png") == "run-1-etc-passwd.png"
        assert mask_files.file_name("a", "<b>|:\u202e\0", "", suffix=".npz") == "a-b.npz"
        assert len(mask_files.file_name(*["x" * 500] * 9, suffix=".png")) <= 120
        assert mask_files.file_name("..", suffix=".png") == "file.png"

    def test_masks_come_back_without_unpickling(self, tiny_run: Run) -> None:
        masks = tiny_run.masks()
        data = mask_files.masks_npz(masks, ["<b>", "é" * 500])
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            assert set(found.files) == {*masks, "class_names"}
            assert (found["transplant"] == masks["transplant"]).all()
            assert found["class_names"].tolist() == ["<b>", "é" * 200]

    def test_arrays_of_objects_are_refused(self) -> None:
        with pytest.raises(TypeError, match="pickled"):
            mask_files.npz(names=np.array(["a", None], dtype=object))

    def test_a_png_holds_the_pixels(self) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        assert (np.asarray(Image.open(io.BytesIO(mask_files.png(picture)))) == picture).all()

    def test_the_page_offers_them(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_mask(open_page, tiny_run)
        next(found for found in at.toggle if found.label == ATTRIBUTE).set_value(True).run()
        labels = {found.proto.label for found in at.get("download_button")}
        assert labels >= {
            "Overlay (PNG)",
            "All masks (NPZ)",
            "Cut-out (PNG)",
            "Attributions (PNG)",
            "Attributions (NPZ)",
        }


def test_the_page_says_where_the_suspects_agree(open_page: OpenPage, tiny_run: Run) -> None:
    """In the test data the trigger is a white square of 16 pixels, in noise that no two images share."""
    at = open_mask(open_page, tiny_run)
    assert "In **16 of 16** marked pixels" in text_of(at)
    assert "as with a sticker" in text_of(at)
    masks = tiny_run.masks()
    masks["transplant"][TARGET] = 0
    masks["transplant"][TARGET][:4, :4] = 1
    tiny_run.save_masks(masks)
    at.run()
    assert "In **0 of 16** marked pixels" in text_of(at)
    assert "no fixed picture" in text_of(at)
