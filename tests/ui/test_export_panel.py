"""The export panel: choices, counts, refusals, the background job and its result."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import home as places
from mspc_core import jobs, work
from mspc_core.data import store
from mspc_core.data.importing import import_source
from mspc_core.export.config import FORMATS, ExportConfig
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run
from tests.ui.conftest import REPOSITORY, make_dataset, make_run
from tests.ui.test_scores_mask import text_of
from tests.unit import exporting
from ui import export_data


def panel(run: Run) -> AppTest:
    def page(folder: str) -> None:
        from mspc_core.runs import open_run
        from ui.export_views import export_panel

        export_panel(open_run(folder))

    return AppTest.from_function(page, args=(str(run.folder),), default_timeout=60).run()


def metric(at: AppTest, label: str) -> str:
    return next(found.value for found in at.metric if found.label == label)


def choose(at: AppTest, run: Run, *, rule: str = "", format: str = "", keep: str = "") -> AppTest:
    if rule:
        at.selectbox(key=f"export-rule-{run.id}").select(rule)
    if format:
        at.selectbox(key=f"export-format-{run.id}").select(format)
    at.run()
    if keep:
        now = at.selectbox(key=f"export-format-{run.id}").value
        at.segmented_control(key=f"export-keep-{run.id}-{FORMATS[now].keep}").set_value(keep).run()
    return at


def submit(at: AppTest, run: Run, out: str) -> AppTest:
    next(box for box in at.text_input if box.key.startswith(f"export-out-{run.id}")).set_value(out)
    next(button for button in at.button if button.label == "Export").click()
    return at.run()


@pytest.fixture
def real_run(home: Path, tmp_path: Path) -> Run:
    """A run whose source is on the disk."""
    source = exporting.cats_and_dogs(tmp_path / "source")
    return exporting.scanned(source, ("cat/1.jpg", "dog/4.png"))[1]


def test_it_shows_what_would_be_dropped(real_run: Run) -> None:
    at = panel(real_run)
    assert not at.exception
    assert [metric(at, name) for name in ("Scanned", "Dropped", "Kept", "Corrected by people")] == [
        "12",
        "2",
        "10",
        "0",
    ]
    table = at.dataframe[0].value
    assert table[["class", "samples", "dropped", "kept"]].to_dict("list") == {
        "class": ["cat", "dog"],
        "samples": [6, 6],
        "dropped": [1, 1],
        "kept": [5, 5],
    }


def test_decisions_count_at_once(real_run: Run) -> None:
    scores = real_run.scores()
    ReviewStore().decide(real_run.id, scores.loc[scores["suspect"], "sample_id"].tolist(), "keep")
    at = panel(real_run)
    assert (metric(at, "Dropped"), metric(at, "Corrected by people")) == ("0", "2")
    assert "Nothing is dropped" in text_of(at)
    assert metric(choose(at, real_run, rule="flagged"), "Dropped") == "2"
    assert metric(choose(at, real_run, rule="detector:spc"), "Dropped") == "10"


def test_a_whole_class_is_warned_about(home: Path, tmp_path: Path) -> None:
    source = exporting.cats_and_dogs(tmp_path / "source")
    at = panel(exporting.scanned(source, [f"cat/{n}.jpg" for n in range(6)])[1])
    assert any("Every sample of the class" in warning.value for warning in at.warning)


def test_nothing_to_export(real_run: Run) -> None:
    at = choose(panel(real_run), real_run, rule="rejected", keep="flagged")
    assert "Nothing would be exported" in text_of(at)
    assert not [button for button in at.button if button.label == "Export"]


def test_tables_can_be_downloaded(real_run: Run) -> None:
    at = choose(panel(real_run), real_run, format="csv")
    assert not at.exception
    assert at.get("download_button")
    config = ExportConfig(run=str(real_run.folder), format="csv", out="x.csv")
    found = pd.read_csv(io.BytesIO(export_data.download(real_run, config)))
    assert len(found) == 12
    assert not choose(at, real_run, format="folder").get("download_button")


@pytest.mark.parametrize("format", list(FORMATS))
def test_an_export_runs_as_a_job_and_shows_its_checksum(
    real_run: Run, tmp_path: Path, no_start: list[Path], format: str
) -> None:
    at = choose(panel(real_run), real_run, format=format)
    out = tmp_path / f"out{FORMATS[format].suffix}"
    submit(at, real_run, str(out))
    assert not at.exception
    assert len(no_start) == 1
    work.work_on(no_start[0])
    at.run()
    found = work.result_of(no_start[0])
    assert found["sha256"] in [code.value for code in at.code]
    checked = out if out.is_file() else out / "checksums.sha256"
    assert hashlib.sha256(checked.read_bytes()).hexdigest() == found["sha256"]
    assert ("byte-identical" in text_of(at)) == FORMATS[format].images


def test_refusals_are_one_sentence_and_start_nothing(real_run: Run, tmp_path: Path, no_start: list[Path]) -> None:
    (tmp_path / "mine").mkdir()
    for out, sentence in (
        (str(tmp_path / "mine"), "exists already"),
        (str(tmp_path / "source" / "out"), "inside the source"),
        ("relative/path", "Give the whole path"),
        ("", "Give the whole path"),
        (str(tmp_path / "none" / "out"), "There is no folder"),
    ):
        at = submit(panel(real_run), real_run, out)
        assert not at.exception
        assert any(sentence in error.value for error in at.error), sentence
    assert not no_start
    assert not list(places.exports_folder().iterdir())


def test_changed_files_fail_with_the_reason_and_the_way_out(
    real_run: Run, tmp_path: Path, no_start: list[Path]
) -> None:
    (tmp_path / "source" / "cat" / "0.jpg").unlink()
    at = submit(panel(real_run), real_run, str(tmp_path / "out"))
    work.work_on(no_start[0])
    at.run()
    assert any("1 of 10 images cannot be exported" in error.value for error in at.error)
    assert "cat/0.jpg: not in the source any more" in " ".join(code.value for code in at.code)
    at.toggle(key=f"export-skip-{real_run.id}").set_value(True)
    submit(at, real_run, str(tmp_path / "out"))
    work.work_on(no_start[1])
    at.run()
    assert work.result_of(no_start[1])["samples"] == 9
    assert "1 image was left out" in text_of(at)


def test_a_running_export_can_be_stopped(real_run: Run, tmp_path: Path, no_start: list[Path]) -> None:
    at = submit(panel(real_run), real_run, str(tmp_path / "out"))
    next(button for button in at.button if button.label == "Cancel").click()
    at.run()
    assert jobs.read_status(no_start[0]).state == "cancelled"
    assert "The export was stopped" in text_of(at)
    assert not (tmp_path / "out").exists()


def test_options_reach_the_job(real_run: Run, tmp_path: Path, no_start: list[Path]) -> None:
    at = panel(real_run)
    at.toggle(key=f"export-link-{real_run.id}").set_value(True)
    submit(at, real_run, str(tmp_path / "out"))
    assert jobs.read_config(no_start[0])["link"] is True


def test_lab_data_says_that_it_becomes_png(home: Path) -> None:
    dataset = make_dataset("plain")
    raw = json.loads((dataset.root / "dataset.json").read_text())
    (dataset.root / "dataset.json").write_text(json.dumps({**raw, "kind": "lab"}))
    at = panel(make_run(dataset))
    assert "become PNG" in text_of(at)
    assert "Leave out changed files" not in [toggle.label for toggle in at.toggle]
    assert "With the other splits" in [toggle.label for toggle in at.toggle]


def test_a_deleted_data_set_leaves_the_tables(real_run: Run) -> None:
    store.delete_dataset(real_run.config().dataset)
    at = panel(real_run)
    assert not at.exception
    assert "only tables and lists" in text_of(at)
    assert choose(at, real_run, format="csv").get("download_button")


def test_a_run_without_a_verdict_has_the_other_rules(real_run: Run) -> None:
    real_run.save_scores(real_run.scores().drop(columns=["suspect", "suspect_score"]))
    at = panel(real_run)
    assert not at.exception
    assert at.selectbox(key=f"export-rule-{real_run.id}").value == "rejected"


def test_class_names_are_shown_as_text(home: Path, tmp_path: Path) -> None:
    files = {f"**b** :fire: $x$/{n}.png": exporting.picture(n) for n in range(3)}
    source = exporting.write_tree(tmp_path / "source", {**files, "ok/1.png": exporting.picture(9)})
    run = exporting.scanned(source, list(files))[1]
    at = panel(run)
    assert "\\*\\*b\\*\\*" in " ".join(warning.value for warning in at.warning)


def test_the_export_is_read_back(real_run: Run, tmp_path: Path, no_start: list[Path]) -> None:
    submit(panel(real_run), real_run, str(tmp_path / "out"))
    work.work_on(no_start[0])
    again = import_source(str(tmp_path / "out"), size=16).dataset
    kept = real_run.scores().query("not suspect")
    assert set(again.manifest["sample_id"]) == set(kept["sample_id"])


def test_importing_the_panel_loads_no_torch() -> None:
    code = "import sys, ui.export_views; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert found.stdout.strip() == "False"
