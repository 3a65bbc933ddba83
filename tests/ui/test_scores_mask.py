"""Scores and Mask as a user meets them: finished, running, without truth, without masks, deleted, hostile names."""

import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core.runs import Run
from tests.ui.conftest import REPOSITORY, TARGET, make_dataset, make_run, set_status
from ui import figures_data

HOSTILE = ("<script>alert(1)</script>", "**bold** :material/delete: $x$", "=cmd|' /C calc'!A0", "long " + "x" * 500)
OpenPage = Callable[..., AppTest]


def text_of(at: AppTest) -> str:
    """All words on the page, as Markdown."""
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.header, at.title)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def metric(at: AppTest, label: str) -> str:
    return next(found.value for found in at.metric if found.label == label)


def unfinish(run: Run, *, state: str = "running") -> None:
    """Turn a finished run into one where only SPC has finished so far."""
    scores = run.scores()
    run.save_scores(scores[[name for name in scores if not name.startswith(("mspc", "transplant", "suspect"))]])
    run.save_masks({"agreement_per_scale": run.masks()["agreement_per_scale"]})
    summary = run.summary()
    summary["detectors"] = {"spc": summary["detectors"]["spc"]}
    summary["verdict"] = {"level": "unknown", "text": "no verdict yet", "target_classes": []}
    run.save_summary({**summary, "complete": False})
    set_status(run, state)


@pytest.fixture
def running(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of which only SPC has finished, seen as alive."""
    from mspc_core import job_status

    unfinish(tiny_run)
    monkeypatch.setattr(job_status, "locked", lambda _: True)
    return tiny_run


@pytest.mark.parametrize("page", ["scores", "mask", "inspect", "review"])
class TestEveryPage:
    def test_says_what_to_do_without_a_run(self, page: str, open_page: OpenPage) -> None:
        at = open_page(page)
        assert not at.exception
        assert "no scan yet" in text_of(at)

    def test_shows_a_finished_run(self, page: str, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page(page, run=tiny_run.id)
        assert not at.exception
        assert not at.error
        assert at.title[0].value.lower() == page

    def test_works_without_truth(self, page: str, open_page: OpenPage) -> None:
        run = make_run(make_dataset(truth=False))
        at = open_page(page, run=run.id)
        assert not at.exception
        assert not at.error
        assert "Truth" not in text_of(at)

    def test_works_while_only_spc_has_finished(self, page: str, open_page: OpenPage, running: Run) -> None:
        at = open_page(page, run=running.id)
        assert not at.exception
        assert not at.error
        assert "Still scanning" in text_of(at)

    def test_works_when_the_scan_was_cancelled_early(self, page: str, open_page: OpenPage, tiny_run: Run) -> None:
        unfinish(tiny_run, state="cancelled")
        at = open_page(page, run=tiny_run.id)
        assert not at.exception
        assert not at.error

    def test_works_without_masks(self, page: str, open_page: OpenPage, tiny_run: Run) -> None:
        (tiny_run.folder / "masks.npz").unlink()
        at = open_page(page, run=tiny_run.id)
        assert not at.exception
        assert not at.error

    def test_survives_the_data_set_being_deleted(self, page: str, open_page: OpenPage, tiny_run: Run) -> None:
        shutil.rmtree(tiny_run.dataset().root)
        at = open_page(page, run=tiny_run.id)
        assert not at.exception
        assert not at.error
        assert "was deleted" in text_of(at)

    def test_survives_the_run_being_deleted_while_viewed(self, page: str, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page(page, run=tiny_run.id)
        shutil.rmtree(tiny_run.folder)
        at.run()
        assert not at.exception
        assert "not here any more" in text_of(at)

    def test_shows_hostile_class_names_as_text(self, page: str, open_page: OpenPage) -> None:
        run = make_run(make_dataset(classes=HOSTILE))
        at = open_page(page, run=run.id)
        assert not at.exception
        assert not at.error
        assert "<script>" not in text_of(at).replace("\\<script\\>", "")
        assert "x" * 200 not in text_of(at)

    def test_survives_scores_that_are_missing(self, page: str, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        for name in ("spc", "mspc", "transplant"):
            scores.loc[::2, f"{name}_score"] = np.nan
        tiny_run.save_scores(scores)
        at = open_page(page, run=tiny_run.id)
        assert not at.exception
        assert not at.error


class TestScores:
    def test_counts_follow_the_threshold_and_the_way_back(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("scores", run=tiny_run.id)
        scores = tiny_run.scores()
        values, truth = scores["transplant_score"].to_numpy(), scores["is_backdoor"].to_numpy(bool)
        assert metric(at, "Would flag") == str((values > 0.5).sum())
        at.slider(f"threshold-{tiny_run.id}-transplant").set_value(0.1).run()
        expected = figures_data.counts_at(values, truth, 0.1)
        assert metric(at, "Would flag") == str(expected.flagged) != str((values > 0.5).sum())
        assert metric(at, "Would keep") == str(expected.kept)
        assert f"{100 * (expected.fpr or 0):.1f} %" == metric(at, "FPR")
        at.button(f"threshold-{tiny_run.id}-transplant-reset").click().run()
        assert metric(at, "Would flag") == str((values > 0.5).sum())

    def test_another_detector_has_its_own_threshold(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("scores", run=tiny_run.id)
        at.segmented_control(f"detector-{tiny_run.id}").set_value("mspc").run()
        assert at.slider(f"threshold-{tiny_run.id}-mspc").value == 0.0
        assert metric(at, "Would flag") == str((tiny_run.scores()["mspc_score"] > 0).sum())

    def test_a_selection_filters_the_images_and_leads_to_review(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("scores", run=tiny_run.id)
        values = tiny_run.scores()["transplant_score"]
        at.query_params["score"] = "transplant:0.4:1.1"
        at.run()
        said = f"**{int((values > 0.4).sum())} images** with Transplant from"
        assert said in text_of(at)
        at.slider(f"threshold-{tiny_run.id}-transplant").set_value(0.9).run()
        assert said in text_of(at)
        next(button for button in at.button if button.label == "Clear").click().run()
        assert "Highest Transplant scores" in text_of(at)

    def test_unfinished_detectors_are_shown_greyed_out(self, open_page: OpenPage, running: Run) -> None:
        at = open_page("scores", run=running.id)
        waiting = at.segmented_control(f"waiting-{running.id}")
        assert waiting.disabled
        assert [option.content for option in waiting.proto.options] == [
            "MSPC · still running",
            "Transplant · still running",
        ]

    def test_truth_is_needed_for_rates_and_curves(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset(truth=False))
        at = open_page("scores", run=run.id)
        assert {found.label for found in at.metric} == {"Would flag", "Would keep"}
        assert "nobody knows for sure" in text_of(at)

    def test_the_suspected_target_leads_the_table_of_classes(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("scores", run=tiny_run.id)
        table = next(found.value for found in at.dataframe if {"class", "images"} <= set(found.value))
        assert table["class"].iloc[0] == "◆ yield"
        assert TARGET == 2

    def test_opening_it_does_not_load_torch(self, home: object, tiny_run: Run) -> None:
        code = (
            "import sys; from streamlit.testing.v1 import AppTest\n"
            f"at = AppTest.from_file({str(REPOSITORY / 'app.py')!r}, default_timeout=60).run()\n"
            "at.switch_page('pages/scores.py').run(); at.switch_page('pages/review.py').run()\n"
            "assert not at.exception; print('torch' in sys.modules, at.title[0].value)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False Review"
