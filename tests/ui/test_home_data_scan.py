"""Home, Data and Scan as a browser gets them, through the router."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import home, runs, work
from mspc_core.data.store import Dataset, list_datasets
from mspc_core.runs import DEFAULT_DETECTORS, Run, ScanConfig
from tests.ui.conftest import REPOSITORY, make_dataset, make_run, set_status
from ui.state import distinct_labels, label_of

OpenPage = Callable[..., AppTest]


def words(at: AppTest) -> str:
    """All text of a page."""
    kinds = ("title", "markdown", "caption", "error", "warning", "info", "success")
    found = [element.value for kind in kinds for element in at.get(kind)]
    return "\n".join([*found, *(f"{metric.label} {metric.value}" for metric in at.metric)])


def button(at: AppTest, label: str):  # type: ignore[no-untyped-def]
    return next(button for button in at.button if button.label == label)


def errors(at: AppTest) -> list[str]:
    assert not at.exception
    return [error.value for error in at.error]


class TestHome:
    def test_empty_home_offers_the_demo_and_own_data(self, open_page: OpenPage) -> None:
        at = open_page()
        assert not errors(at)
        assert {"Open the demo", "Scan my own data"} <= {button.label for button in at.button}

    def test_the_demo_button_queues_a_demo_scan(self, open_page: OpenPage, no_start: list[Path]) -> None:
        at = button(open_page(), "Open the demo").click().run()
        (run,) = runs.list_runs()
        assert (run.config().kind, run.config().source, run.status().state) == ("scan", "demo", "queued")
        assert no_start == [run.folder]
        assert not errors(at)
        assert at.title[0].value == "Scan"
        assert at.query_params["run"] in (run.id, [run.id])

    def test_runs_are_listed_with_their_outcome(self, open_page: OpenPage, tiny_run: Run, no_start: list[Path]) -> None:
        failed = runs.create_run(ScanConfig(source="/x", dataset="broken"))
        set_status(failed, "failed", error="The disk is full: free some space, then start again.")
        dead = runs.create_run(ScanConfig(source="/x", dataset="killed"))
        set_status(dead, "running")
        damaged = runs.create_run(ScanConfig(source="/x", dataset="harmed"))
        (damaged.folder / "config.json").write_text("{", encoding="utf-8")
        at = open_page()
        assert not errors(at)
        text = words(at)
        for expected in ("yield", "91.7 %", "The disk is full: free", "Stopped at 40 %", "is not a readable run"):
            assert expected in text.replace("\\", "")

    def test_open_shows_the_scores(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page()
        at.button(key=f"open-{tiny_run.id}").click().run()
        assert at.query_params["run"] in (tiny_run.id, [tiny_run.id])

    def test_delete_asks_and_then_removes_the_folder(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page()
        at.button(key=f"delete-{tiny_run.id}").click().run()
        assert tiny_run.folder.is_dir()
        at.button(key="delete-yes").click().run()
        assert not tiny_run.folder.exists()
        assert not errors(at)
        assert not at.warning

    def test_a_damaged_run_can_be_deleted(self, open_page: OpenPage, tiny_run: Run) -> None:
        (tiny_run.folder / "status.json").write_text("{", encoding="utf-8")
        at = open_page()
        assert not errors(at)
        at.button(key=f"delete-{tiny_run.id}").click().run()
        at.button(key="delete-yes").click().run()
        assert not tiny_run.folder.exists()
        assert not errors(at)

    def test_many_runs_come_in_pages(self, open_page: OpenPage) -> None:
        for number in range(12):
            set_status(runs.create_run(ScanConfig(source="/x", dataset=f"set-{number}")), "cancelled")
        at = open_page()
        assert not errors(at)
        opened = [button for button in at.button if button.label == "Open"]
        assert len(opened) == 10

    def test_active_runs_show_their_progress(self, open_page: OpenPage) -> None:
        run = runs.create_run(ScanConfig(source="demo"))
        at = open_page()
        assert not errors(at)
        at.button(key=f"watch-{run.id}").click().run()
        assert at.title[0].value == "Scan"

    def test_a_run_id_that_is_gone_is_said_once(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("home", run="20200101-000000-gone-aaaa<b>")
        assert len(at.warning) == 1
        assert "<b>" not in at.warning[0].value.replace("\\<b\\>", "")
        assert not at.run().warning

    def test_a_run_deleted_while_viewed_does_not_break_the_page(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("scan")
        shutil.rmtree(tiny_run.folder)
        at.run()
        assert not errors(at)
        assert at.title[0].value == "New scan"


class TestData:
    def test_without_data_there_is_the_import_form(self, open_page: OpenPage) -> None:
        at = open_page("data")
        assert not errors(at)
        assert "No data set is stored yet" in words(at)

    def test_a_stored_set_with_what_was_skipped(self, open_page: OpenPage, tiny_dataset: Dataset) -> None:
        at = open_page("data")
        assert not errors(at)
        assert "Images 60" in words(at)
        tables = [table.value for table in at.dataframe]
        reasons = next(table for table in tables if list(table.columns) == ["reason", "files"])
        assert reasons.to_dict("list") == {
            "reason": ["not an image file", "larger than 64 million pixels"],
            "files": [2, 1],
        }
        classes = next(table for table in tables if "all" in table)
        assert classes["all"].tolist() == [9, 15, 21, 15]
        at.selectbox(key="data_class").select(2).run()
        at.selectbox(key="data_split").select("test").run()
        assert not errors(at)
        assert "3 images" in words(at)

    def test_scan_this_data_set_preselects_it(self, open_page: OpenPage) -> None:
        make_dataset("first")
        make_dataset("second")
        at = open_page("data")
        at.selectbox(key="data_choice").select("first").run()
        button(at, "Scan this data set").click().run()
        assert at.title[0].value == "New scan"
        assert at.selectbox(key="scan_dataset").value == "first"

    def test_hostile_class_names_are_only_text(self, open_page: OpenPage) -> None:
        names = ("<script>alert(1)</script>", "**bold** :red[x] $x^2$ [l](http://a.b)", "🛑 stop", "x" * 500)
        make_run(make_dataset("odd", classes=names))
        for page in ("home", "data", "scan"):
            at = open_page(page)
            assert not errors(at)
            text = words(at)
            assert "<script>" not in text
            assert "x" * 100 not in text

    def test_deleting_warns_about_scans_and_removes(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("data")
        button(at, "Delete").click().run()
        assert "1 scan of it" in words(at)
        at.button(key="delete-yes").click().run()
        assert list_datasets() == []

    def test_data_that_a_scan_is_reading_is_kept(self, open_page: OpenPage, tiny_dataset: Dataset) -> None:
        runs.create_run(ScanConfig(source="/x", dataset="tiny"))
        at = open_page("data")
        button(at, "Delete").click().run()
        at.button(key="delete-yes").click().run()
        assert "at work" in errors(at)[0]
        assert list_datasets()

    def test_a_wrong_path_is_one_sentence(self, open_page: OpenPage, no_start: list[Path]) -> None:
        at = open_page("data")
        at.text_input[0].input("/no/such/place")
        button(at, "Import").click().run()
        assert "There is no file, folder" in errors(at)[0]
        assert not no_start

    def test_import_runs_in_the_background(
        self, open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_start: list[Path]
    ) -> None:
        from PIL import Image

        for name in ("a", "b"):
            (tmp_path / "set" / name).mkdir(parents=True)
            Image.new("RGB", (20, 20), "red").save(tmp_path / "set" / name / "1.png")
        at = open_page("data")
        at.text_input[0].input(str(tmp_path / "set"))
        button(at, "Import").click().run()
        assert not errors(at)
        assert len(no_start) == 1
        assert "Importing" in words(at)
        work.work_on(no_start[0])
        at.run()
        assert "is stored: 2 images, 0 skipped" in words(at)
        assert at.selectbox(key="data_choice").value == "set"


class TestScan:
    def test_without_a_run_it_is_the_form(self, open_page: OpenPage) -> None:
        at = open_page("scan")
        assert not errors(at)
        assert at.title[0].value == "New scan"

    def test_start_creates_what_was_chosen(
        self, open_page: OpenPage, tiny_dataset: Dataset, no_start: list[Path]
    ) -> None:
        at = open_page("scan")
        at.checkbox(key="scan_use_mspc").uncheck().run()
        at.selectbox(key="scan_model").select("tiny-vit").run()
        at.number_input(key="scan_seed").set_value(7).run()
        at.button(key="start").click().run()
        assert not errors(at)
        config = Run(no_start[0]).config()
        assert (config.dataset, config.arch, config.seed, config.detectors) == (
            "tiny",
            "tiny-vit",
            7,
            tuple(name for name in DEFAULT_DETECTORS if name != "mspc"),
        )

    def test_several_gpus_are_offered_where_there_are_several(
        self, open_page: OpenPage, tiny_dataset: Dataset, no_start: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stand-in for a machine with four."""
        assert not [slider for slider in open_page("scan").select_slider if slider.key == "scan_gpus"]
        monkeypatch.setattr("mspc_core.gpus.visible", lambda: 4)
        at = open_page("scan")
        assert at.select_slider(key="scan_gpus").value == 1
        at.selectbox(key="scan_device").select("cpu").run()
        assert not [slider for slider in at.select_slider if slider.key == "scan_gpus"]
        at.selectbox(key="scan_device").select("auto").run()
        at.select_slider(key="scan_gpus").set_value(3).run()
        at.button(key="start").click().run()
        assert not errors(at)
        assert Run(no_start[0]).config().processes == 3

    @pytest.mark.parametrize("path", ["/no/such/weights.pt", "", "/tmp"])
    def test_a_bad_checkpoint_path_is_one_sentence(
        self, open_page: OpenPage, tiny_dataset: Dataset, no_start: list[Path], path: str
    ) -> None:
        at = open_page("scan")
        at.selectbox(key="scan_model").select("own").run()
        at.text_input(key="scan_checkpoint").input(path)
        at.button(key="start").click().run()
        assert len(errors(at)) == 1
        assert runs.list_runs() == []

    def test_no_detector_and_unknown_names_are_refused(self, open_page: OpenPage, tiny_dataset: Dataset) -> None:
        at = open_page("scan")
        for name in DEFAULT_DETECTORS:
            at.checkbox(key=f"scan_use_{name}").uncheck()
        at.run()
        at.button(key="start").click().run()
        assert "at least one detector" in errors(at)[0]
        at.checkbox(key="scan_use_spc").check()
        at.selectbox(key="scan_model").select("other").run()
        at.text_input(key="scan_arch").input("resnet81")
        at.button(key="start").click().run()
        assert "Did you mean resnet18" in errors(at)[0].replace("\\", "")
        assert runs.list_runs() == []

    def test_a_finished_run_shows_its_verdict(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("scan")
        assert not errors(at)
        assert "Likely poisoned" in words(at)
        at.button(key="verdict-scores").click().run()
        assert not errors(at)

    def test_a_verdict_that_lab_data_contradicts_is_called_wrong(self, open_page: OpenPage, tiny_run: Run) -> None:
        summary = tiny_run.summary()
        summary["verdict"].update(level="no_evidence", flagged=0, target_classes=[])
        tiny_run.save_summary(summary)
        at = open_page("scan")
        assert not errors(at)
        assert "6 of these images are in fact backdoored" in at.warning[0].value

    def test_a_queued_run_can_be_cancelled_and_resumed(self, open_page: OpenPage, no_start: list[Path]) -> None:
        run = runs.create_run(ScanConfig(source="demo"))
        at = open_page("scan")
        button(at, "Cancel").click().run()
        assert run.status().state == "cancelled"
        button(at, "Resume").click().run()
        assert no_start == [run.folder]

    def test_a_failed_run_says_why(self, open_page: OpenPage) -> None:
        run = runs.create_run(ScanConfig(source="demo"))
        set_status(run, "failed", error="Memory ran out: use a smaller image size.")
        at = open_page("scan", run=run.id)
        assert [text.replace("\\", "") for text in errors(at)] == ["Memory ran out: use a smaller image size."]
        assert "Try again" in {button.label for button in at.button}

    def test_a_damaged_run_is_one_sentence(self, open_page: OpenPage, tiny_run: Run) -> None:
        (tiny_run.folder / "config.json").write_text("[1", encoding="utf-8")
        assert len(errors(open_page("scan"))) == 1


def test_opening_the_app_does_not_load_torch(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "at = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "assert not at.error and not at.exception\n"
        "for page in ('data', 'scan', 'scores'):\n    at.switch_page(f'pages/{page}.py').run()\n"
        "print([name for name in ('torch', 'torchvision', 'captum', 'sklearn') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin", "HOME": str(tmp_path), "BACKDOOR_LENS_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert found.stdout.strip().splitlines()[-1] == "[]", found.stdout


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("http://localhost:1/scan?run=x", "scan"),
        ("http://localhost:1/", "home"),
        ("http://h/../../etc", "home"),
        ("http://[/scan", "home"),
    ],
)
def test_a_link_to_a_page_names_it(url: str, page: str) -> None:
    from ui.state import _page_of

    assert _page_of(url) == page


def test_the_form_knows_every_normalisation() -> None:
    from mspc_core.models.normalise import KNOWN
    from ui.scan_form import NORMALISATIONS

    assert set(NORMALISATIONS) == {"auto", "data", *KNOWN}


def test_the_newest_run_comes_first_whatever_its_name(tiny_dataset: Dataset, open_page: Callable[..., AppTest]) -> None:
    """A run with a name of somebody's own (`scan --out`) is as old as its status says, not as its first letter."""
    config = ScanConfig(source="tiny", dataset="tiny")
    old, older, broken = (runs.create_run(config, home.runs_folder() / name) for name in ("zebra", "older", "zz"))
    set_status(old, "finished", created=1_700_000_000.0)
    set_status(older, "finished", created=1_600_000_000.0)
    (broken.folder / "status.json").write_text("[]")
    new = runs.create_run(config)
    set_status(new, "failed")
    assert [run.id for run in runs.list_runs()] == [new.id, "zebra", "older", "zz"]
    assert open_page("home").query_params["run"] == new.id


@pytest.mark.parametrize("page", ["data", "scan"])
def test_a_link_to_a_data_set_that_is_gone_is_said(page: str, tiny_dataset: Dataset) -> None:
    at = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60).run()
    at.query_params["dataset"] = "gone"
    at.switch_page(f"pages/{page}.py").run()
    assert not at.exception
    assert "“gone” is not stored here" in at.warning[0].value


def test_without_held_out_images_the_verdict_comes_with_the_training_accuracy(
    tiny_run: Run, open_page: Callable[..., AppTest]
) -> None:
    """Else nothing would tell that the model has learned next to nothing."""
    summary = tiny_run.summary()
    tiny_run.save_summary({**summary, "model": {**summary["model"], "train_accuracy": 0.5, "val_accuracy": None}})
    shown = {metric.label: metric.value for metric in open_page("scan", run=tiny_run.id).metric}
    assert shown["Training accuracy"] == "50.0 %"
    assert "Test accuracy" not in shown


def test_the_state_of_a_run_is_named_until_it_has_finished(tiny_dataset: Dataset) -> None:
    run = runs.create_run(ScanConfig(source="tiny", dataset="tiny"))
    set_status(run, "failed", created=1_700_000_000.0)
    assert label_of(run).endswith(" · failed")
    set_status(run, "finished", created=1_700_000_000.0)
    assert label_of(run).startswith("tiny · ")
    assert "finished" not in label_of(run), "the sidebar would cut it off"


def test_runs_with_equal_labels_can_be_told_apart(tiny_dataset: Dataset) -> None:
    """Two scans of one data set in one minute: the browser would take the second for the first."""
    config = ScanConfig(source="tiny", dataset="tiny")
    found = {run.id: run for run in (runs.create_run(config), runs.create_run(config))}
    for run in found.values():
        set_status(run, "finished", created=1_700_000_000.0)
    assert len({label_of(run) for run in found.values()}) == 1
    labels = distinct_labels(found)
    assert len(set(labels.values())) == 2
    assert all(label.endswith(run_id[-4:]) for run_id, label in labels.items())
