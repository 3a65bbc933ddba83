"""Poison lab: every attack has its controls and a preview, the job gets what was chosen, bad input is one sentence."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from mspc_core import atomic, jobs, poison_job, poisoning, runs, work
from mspc_core import home as places
from mspc_core.attacks import base
from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import poison_dataset
from mspc_core.attacks.settings import settings_of
from mspc_core.data.store import Dataset, delete_dataset, open_dataset
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError
from mspc_core.poisoning import PoisonConfig
from mspc_core.runs import Run
from tests.ui.conftest import CLASSES, make_dataset, make_run
from tests.ui.test_home_data_scan import button, errors, words
from ui import lab_compute, lab_data, lab_figures, lab_jobs

OpenPage = Callable[..., AppTest]
HOSTILE = ("<script>alert(1)</script>", "🚦 **stop** :smile:", "x" * 500, "", "same", "same")


@pytest.fixture
def clean() -> Dataset:
    return make_dataset("vendor", truth=False)


@pytest.fixture
def lab_run(clean: Dataset) -> Run:
    """A finished run of a lab data set, with a model that was never trained."""
    return make_run(poison_dataset(clean, BadNets(size=3), rate=0.1, target=2, name="lab"))


def chosen(at: AppTest, key: str, value: object) -> AppTest:
    """Set a widget by its key, as a visitor would."""
    found = [widget for kind in ("selectbox", "slider", "number_input", "toggle", "checkbox", "text_input")
             for widget in at.get(kind) if widget.key == key]  # fmt: skip
    return found[0].set_value(value).run()


def create(at: AppTest):  # type: ignore[no-untyped-def]
    return button(at, "Create the data set")


class TestForm:
    def test_without_data_the_demo_is_offered(self, open_page: OpenPage, no_start: list[Path]) -> None:
        at = open_page("lab")
        assert not errors(at)
        assert "no clean data set to poison yet" in words(at)
        at = button(at, "Render the demo's clean images").click().run()
        assert not errors(at)
        (folder,) = no_start
        assert jobs.read_config(folder)["kind"] == "signs"
        assert "Rendering the demo" in words(at)

    @pytest.mark.parametrize("name", list(base.REGISTRY))
    def test_every_attack_has_controls_and_a_preview_or_says_what_it_needs(
        self, name: str, open_page: OpenPage, clean: Dataset
    ) -> None:
        at = chosen(open_page("lab"), "lab-attack", name)
        cls = base.attack_class(name)
        keys = {widget.key for kind in ("selectbox", "slider", "number_input", "toggle") for widget in at.get(kind)}
        assert {f"lab-{name}-{setting.name}" for setting in settings_of(name)} <= keys
        assert not at.exception
        learns = cls.learns
        assert ("has to learn its trigger" in words(at)) == learns
        assert [metric.label for metric in at.metric].count("PSNR") == (0 if learns else 1)

    def test_lab_data_is_not_offered(self, open_page: OpenPage, clean: Dataset, lab_run: Run) -> None:
        at = open_page("lab")
        assert [option.split(" · ")[0] for option in at.selectbox(key="lab-data").options] == ["vendor"]
        assert "1 data set made in the lab is not listed" in words(at)

    def test_a_link_chooses_the_data(self, open_page: OpenPage, clean: Dataset) -> None:
        make_dataset("zebra", truth=False)
        assert open_page("lab", dataset="vendor").selectbox(key="lab-data").value == "vendor"
        assert not errors(open_page("lab", dataset="../../etc", view="<b>"))

    def test_a_preset_sets_the_controls(self, open_page: OpenPage, clean: Dataset) -> None:
        at = open_page("lab")
        assert at.slider(key="lab-badnets-size").value == 5
        at = at.segmented_control(key="lab-preset-badnets").set_value("published").run()
        assert at.slider(key="lab-badnets-size").value == 3

    def test_numbers_follow_the_settings(self, open_page: OpenPage, clean: Dataset) -> None:
        def share(at: AppTest) -> str:
            return next(metric.value for metric in at.metric if metric.label == "Pixels changed")

        at = chosen(open_page("lab"), "lab-badnets-pattern", "white")
        assert share(at) == f"{100 * 25 / 256:.1f} %"
        at = chosen(at, "lab-badnets-size", 2)
        assert share(at) == f"{100 * 4 / 256:.1f} %"

    def test_the_job_gets_what_was_chosen(self, open_page: OpenPage, clean: Dataset, no_start: list[Path]) -> None:
        at = open_page("lab")
        for key, value in [
            ("lab-badnets-size", 3),
            ("lab-badnets-opacity", 0.5),
            ("lab-badnets-place", "centre"),
            ("lab-target-vendor", 3),
            ("lab-rate", 12.5),
            ("lab-seed", 7),
            ("lab-name", "my-lab"),
            ("lab-scan", False),
        ]:
            at = chosen(at, key, value)
        assert "6 of 48 training images will be poisoned." in words(at)
        at = create(at).click().run()
        assert not errors(at)
        (folder,) = no_start
        config = PoisonConfig.from_json(jobs.read_config(folder))
        settings = {**base.as_json(base.create("badnets")), "size": 3, "opacity": 0.5, "place": "centre"}
        assert config == PoisonConfig(
            "vendor", "badnets", settings, "", 0.125, 3, 7, "all-to-one", out="my-lab", scan=False
        )
        assert "Making my" in words(at)
        assert create(at).disabled, "one job at a time"

    def test_a_rate_of_three_in_a_thousand(self, open_page: OpenPage, clean: Dataset) -> None:
        at = chosen(open_page("lab"), "lab-rate", 0.3)
        assert any("less than one of 48" in message for message in errors(at))
        assert create(at).disabled

    def test_clean_labels_above_the_class_share(self, open_page: OpenPage, clean: Dataset) -> None:
        at = chosen(chosen(open_page("lab"), "lab-attack", "sig"), "lab-rate", 60.0)
        assert at.selectbox(key="lab-mode").value == "clean"
        assert any("at most 0" in message for message in errors(at))
        assert create(at).disabled

    def test_a_patch_that_does_not_fit(self, open_page: OpenPage, clean: Dataset) -> None:
        at = chosen(open_page("lab"), "lab-badnets-size", 16)
        assert any("does not fit into 16×16 px" in message for message in errors(at))

    def test_names_that_are_taken_or_no_names(self, open_page: OpenPage, clean: Dataset) -> None:
        at = chosen(open_page("lab"), "lab-name", "vendor")
        assert any("exists already" in message for message in errors(at))
        at = chosen(at, "lab-name", "../x<b>")
        assert any("cannot be a name" in message for message in errors(at))
        assert create(at).disabled

    def test_a_full_disk(self, open_page: OpenPage, clean: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage("/")._replace(free=10)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        assert any("MB are free on the disk" in message for message in errors(open_page("lab")))

    def test_data_deleted_in_another_tab(self, open_page: OpenPage, clean: Dataset, no_start: list[Path]) -> None:
        at = open_page("lab")
        delete_dataset("vendor")
        at = create(at).click().run()
        assert not at.exception
        assert not no_start
        assert "no clean data set" in words(at) or errors(at)

    def test_a_single_class(self, open_page: OpenPage) -> None:
        with DatasetWriter("one", size=16, classes=["only"], kind="test", source="test") as writer:
            writer.add(np.zeros((16, 16, 3), np.uint8), identity="0" * 16, path="0.png", label=0)
            writer.commit(source_key="test")
        assert any("single class" in message for message in errors(open_page("lab")))

    def test_hostile_class_names(self, open_page: OpenPage, no_start: list[Path]) -> None:
        make_dataset("odd", HOSTILE, truth=False)
        at = open_page("lab")
        assert not errors(at)
        options = at.selectbox(key="lab-target-odd").options
        assert len(set(options)) == 6
        assert max(map(len, options)) <= 70
        at = create(chosen(at, "lab-target-odd", 0)).click().run()
        assert not errors(at)
        assert "<script>" not in words(at)
        assert jobs.read_config(no_start[0])["target"] == 0

    def test_a_thousand_classes(self, open_page: OpenPage) -> None:
        make_dataset("many", tuple(f"class {number}" for number in range(1000)), truth=False)
        at = open_page("lab")
        assert not errors(at)
        assert len(at.selectbox(key="lab-target-many").options) == 1000


class TestLearning:
    def test_learning_in_the_background_then_a_preview(
        self, open_page: OpenPage, clean: Dataset, no_start: list[Path]
    ) -> None:
        at = open_page("lab")
        for key, value in [("lab-attack", "dfst"), ("lab-dfst-steps", 2)]:
            at = chosen(at, key, value)
        at = button(at, "Learn the trigger now").click().run()
        assert not errors(at)
        (folder,) = no_start
        config = jobs.read_config(folder)
        assert (config["kind"], config["attack"], config["settings"]["steps"]) == ("trigger", "dfst", 2)
        assert "Learning the trigger of dfst from vendor" in words(at)
        assert work.work_on(folder).state == "finished"
        at = at.run()
        assert "The trigger is learned" in words(at)
        assert "has to learn its trigger" not in words(at)
        assert "PSNR" in [metric.label for metric in at.metric]
        at = chosen(at, "lab-seed", 1)
        assert "has to learn its trigger" in words(at), "another seed learns another trigger"

    def test_the_test_time_form_may_need_nothing(self, open_page: OpenPage, clean: Dataset) -> None:
        at = chosen(open_page("lab"), "lab-attack", "label-consistent")
        at = at.segmented_control(key="lab-form-label-consistent").set_value("applied").run()
        assert not errors(at)
        assert "PSNR" in [metric.label for metric in at.metric]


class TestJob:
    def made(self, config: PoisonConfig) -> Path:
        folder = jobs.create(places.lab_folder(), config.as_json(), "lab")
        assert work.work_on(folder).state in ("finished", "failed", "cancelled")
        return folder

    def opened(self, open_page: OpenPage, folder: Path) -> AppTest:
        at = open_page("lab")
        at.session_state["lab-job"] = folder.name
        return at.run()

    def test_what_it_made_and_the_way_to_the_run(
        self, open_page: OpenPage, clean: Dataset, no_start: list[Path]
    ) -> None:
        folder = self.made(PoisonConfig("vendor", "wanet", rate=0.1, target=1, out="lab", scan=True))
        at = self.opened(open_page, folder)
        assert "5 poisoned images and 10 covers among 60" in words(at)
        (run,) = runs.list_runs()
        assert no_start == [run.folder]
        at = button(at, "Watch the scan").click().run()
        assert at.title[0].value == "Scan"
        assert at.query_params["run"] in (run.id, [run.id])

    def test_without_a_scan_it_is_offered(self, open_page: OpenPage, clean: Dataset) -> None:
        at = self.opened(open_page, self.made(PoisonConfig("vendor", rate=0.1, out="lab")))
        at = button(at, "Scan it").click().run()
        assert at.selectbox(key="scan_dataset").value == "lab"

    def test_a_failure_is_said_and_can_be_tried_again(
        self, open_page: OpenPage, clean: Dataset, no_start: list[Path]
    ) -> None:
        folder = self.made(PoisonConfig("vendor", rate=0.1, out="vendor"))
        at = self.opened(open_page, folder)
        assert any("exists already" in message for message in errors(at))
        button(at, "Try again").click().run()
        assert no_start == [folder]

    @pytest.mark.parametrize("state", ["cancelled", "interrupted"])
    def test_a_stopped_job(self, open_page: OpenPage, clean: Dataset, state: str) -> None:
        folder = jobs.create(places.lab_folder(), PoisonConfig("vendor", out="lab").as_json(), "lab")
        kept = "running" if state == "interrupted" else state
        status = jobs.JobStatus(state=kept, stage="poison", stages=["poison"], pid=1)
        atomic.write_json(folder / "status.json", asdict(status))
        at = self.opened(open_page, folder)
        assert not errors(at)
        assert "nothing half-written is left" in words(at)
        assert "Resume" in [found.label for found in at.button]

    def test_a_job_at_work_is_found_by_a_new_visitor(self, clean: Dataset) -> None:
        folder = jobs.create(places.lab_folder(), PoisonConfig("vendor", out="lab").as_json(), "lab")
        assert lab_jobs.current(None) == folder, "queued is at work"
        atomic.write_json(folder / "status.json", asdict(jobs.JobStatus(state="finished")))
        assert lab_jobs.current(None) is None
        assert lab_jobs.current(folder.name) == folder
        (folder / "status.json").write_text("{")
        assert lab_jobs.current("../../etc") is None

    def test_titles(self) -> None:
        assert lab_jobs.title_of({"kind": "trigger", "attack": "dfst", "dataset": "x"}).startswith("Learning")
        assert lab_jobs.title_of({"kind": "poison", "out": "lab", "attack": "sig", "dataset": "x"}) == (
            "Making lab: sig in x"
        )


class TestPlayground:
    def opened(self, open_page: OpenPage, run: Run) -> AppTest:
        return open_page("lab", view="try", run=run.id)

    def test_without_a_lab_run_the_next_step_is_said(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("lab", view="try")
        assert not errors(at)
        assert "no trained model of a lab data set" in words(at)

    def test_prediction_before_and_after_and_how_often(self, open_page: OpenPage, lab_run: Run) -> None:
        at = self.opened(open_page, lab_run)
        assert not errors(at)
        text = words(at)
        assert "BadNets patch, planted in 10.0 % of the training images" in text
        assert "stays" in text or "flips" in text
        dataset = open_dataset("lab")
        tally = lab_compute.tally_of(lab_run, None, 0)
        assert tally.count == 9  # 12 test images, a quarter of the target class
        assert f"Predicted as the attacker wants {tally.hits} of 9" in text
        assert (dataset.manifest["split"].iloc[tally.rows] == "test").all()

    def test_the_strength_is_the_attacks_own(self, open_page: OpenPage, lab_run: Run) -> None:
        at = self.opened(open_page, lab_run)
        slider = at.slider(key="lab-strength-badnets")
        assert (slider.label, slider.value, slider.max) == ("Strength of the trigger: opacity", 1.0, 1.0)
        assert not errors(slider.set_value(0.2).run())

    def test_a_damaged_recipe(self, open_page: OpenPage, lab_run: Run) -> None:
        (open_dataset("lab").root / "recipe.json").write_text('{"attack": "no-such"')
        (message,) = errors(self.opened(open_page, lab_run))
        assert "recipe of" in message

    def test_data_that_was_deleted(self, open_page: OpenPage, lab_run: Run, tiny_run: Run) -> None:
        delete_dataset("lab")
        assert "no trained model of a lab data set" in words(self.opened(open_page, lab_run))

    def test_another_data_set_under_the_name(self, open_page: OpenPage, lab_run: Run, clean: Dataset) -> None:
        lab_run.save_config(replace(lab_run.config(), content_key=open_dataset("lab").info.content_key))
        assert not errors(self.opened(open_page, lab_run))
        delete_dataset("lab")
        poison_dataset(clean, BadNets(size=4), rate=0.2, target=1, name="lab")
        assert len(errors(self.opened(open_page, lab_run))) == 1

    def test_a_learned_attack_finds_its_trigger(self, open_page: OpenPage, clean: Dataset) -> None:
        config = PoisonConfig("vendor", "dfst", {"steps": 2}, rate=0.1, out="styled")
        prepared = poisoning.prepare(config)
        made = poisoning.write(prepared, poisoning.learn(prepared))
        at = self.opened(open_page, make_run(made))
        assert not errors(at)
        (made.root / "trigger.npz").write_bytes(b"junk")
        import streamlit as st

        st.cache_resource.clear()
        st.cache_data.clear()
        assert any("cannot be read" in message for message in errors(at.run()))

    def test_hostile_class_names(self, open_page: OpenPage) -> None:
        odd = make_dataset("odd", HOSTILE, truth=False)
        run = make_run(poison_dataset(odd, BadNets(size=3), rate=0.1, target=0, name="lab"))
        at = self.opened(open_page, run)
        assert not errors(at)
        assert "<script>" not in words(at)


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(file, format=kind)
    return file.getvalue()


class TestUpload:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_a_picture_becomes_what_the_model_gets(self, kind: str) -> None:
        found = lab_compute.decoded(picture(kind), 16)
        assert (found.shape, found.dtype) == ((16, 16, 3), np.uint8)
        assert np.abs(found.astype(int) - (200, 10, 10)).max() < 8

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"not a picture",
            picture()[:60],
            b"%!PS-Adobe-3.0 EPSF-3.0\n",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"\x89PNG\r\n\x1a\n" + bytes(200),
            bytes(lab_compute.UPLOAD_BYTES + 1),
        ],
        ids=["empty", "text", "cut", "postscript", "svg", "zeros", "large"],
    )
    def test_rubbish_is_one_sentence(self, content: bytes) -> None:
        with pytest.raises(InputError, match=r"^This file .*: choose a [\w ]+\.$"):
            lab_compute.decoded(content, 16)

    def test_on_the_page(self, open_page: OpenPage, lab_run: Run) -> None:
        at = open_page("lab", view="try", run=lab_run.id)
        at = at.segmented_control(key="lab-from").set_value("Upload").run()
        assert not errors(at)
        at = at.file_uploader[0].set_value(("a.png", picture(), "image/png")).run()
        assert not errors(at)
        assert "your picture" in words(at)
        at = at.file_uploader[0].set_value(("<b>.png", b"rubbish", "image/png")).run()
        (message,) = errors(at)
        assert "cannot be used as a picture" in message


class TestValues:
    def test_pages_of_rows(self, clean: Dataset) -> None:
        rows = lab_data.ordered_rows(clean, 1, "train", None)
        labels = clean.manifest["label"].to_numpy()
        assert (labels[rows] == 1).all()
        shuffled = lab_data.ordered_rows(clean, 1, "train", 5)
        assert sorted(shuffled.tolist()) == rows.tolist()
        assert shuffled.tolist() != rows.tolist()
        seen = [lab_data.page_of(rows, page, 5)[0].tolist() for page in range(1, 4)]
        assert [row for page in seen for row in page] == rows[:15].tolist()
        assert lab_data.page_of(rows, 99, 5)[1:] == (3, 3)
        assert lab_data.page_of(rows[:0], 1, 5)[1:] == (1, 1)

    def test_pixels_keep_their_order(self, clean: Dataset) -> None:
        rows = np.array([7, 2, 40])
        assert (lab_data.pixels_of(clean, rows) == np.stack([clean.pixels[row] for row in rows])).all()

    def test_bars_show_the_likeliest_and_the_target(self) -> None:
        probabilities = np.zeros((2, 9), np.float32)
        probabilities[0, [3, 4, 5]] = 0.5, 0.3, 0.2
        probabilities[1, [6, 3]] = 0.9, 0.1
        assert lab_data.top_classes(probabilities, target=6)[:2] == [6, 3]
        found = lab_data.top_classes(probabilities, target=8)
        assert len(found) == 5
        assert 8 in found

    def test_the_table_says_what_the_bars_show(self) -> None:
        from mspc_core.playground import Trial

        trial = Trial(np.zeros((2, 4, 4, 3), np.uint8), np.array([[0.75, 0.25], [0.1, 0.9]], np.float32))
        table = lab_figures.probability_table(trial, ["<b>a</b>", "b"], target=1)
        assert table.to_dict("list") == {
            "class": ["b", "<b>a</b>"],
            "clean": [0.25, 0.75],
            "with the trigger": [0.9, 0.1],
            "target": [True, False],
        }
        figure = lab_figures.probability_figure(trial, ["<b>a</b>", "b"], target=1)
        assert list(figure.layout.yaxis.ticktext) == ["&lt;b&gt;a&lt;/b&gt;", "b (target)"]
        assert [list(np.round(bar.x, 2)) for bar in figure.data] == [[0.1, 0.9], [0.75, 0.25]]

    def test_amounts_in_words(self) -> None:
        assert lab_data.amount_words(1, 0, 300) == "1 of 300 training images will be poisoned."
        assert lab_data.amount_words(400, 800, 4000).endswith("800 more get a cover form with their label kept.")

    def test_runs_with_a_lab_data_set(self, lab_run: Run, tiny_run: Run) -> None:
        assert list(lab_data.lab_runs()) == [lab_run.id]
        assert CLASSES[2] == "yield"
        assert poison_job.result_of(lab_run.folder) == {}
