"""The verdict of several tests, and the newer ones of them, as a user meets them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core.runs import DEFAULT_DETECTORS, Run
from tests.ui.conftest import TARGET, make_dataset, make_run, set_status
from tests.ui.consensus import add_consensus
from tests.ui.test_scores_mask import HOSTILE
from ui import cache, compute_pattern, filters

OpenPage = Callable[..., AppTest]
PAGES = ("scan", "scores", "mask", "inspect", "review", "compare")


def text_of(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.header, at.title)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def clean(at: AppTest) -> AppTest:
    assert not at.exception
    assert not at.error
    return at


def quiet(run: Run) -> None:
    """Make the verdict "no evidence", with a few flags left."""
    scores, summary = run.scores(), run.summary()
    scores["suspect"], scores["suspect_score"] = False, 0.1
    run.save_scores(scores)
    verdict = {**summary["verdict"], "level": "no_evidence", "by": [], "target_classes": [], "flagged": 0}
    run.save_summary({**summary, "verdict": verdict})


@pytest.mark.parametrize("page", PAGES)
class TestEveryPage:
    def test_opens_a_new_run(self, page: str, open_page: OpenPage, new_run: Run) -> None:
        clean(open_page(page, run=new_run.id))

    def test_works_without_the_data_set(self, page: str, open_page: OpenPage, new_run: Run) -> None:
        shutil.rmtree(new_run.dataset().root)
        clean(open_page(page, run=new_run.id))

    def test_no_page_takes_the_suspect_score_for_a_detector(self, page: str, open_page: OpenPage, new_run: Run) -> None:
        at = open_page(page, run=new_run.id)
        columns = [str(name) for table in at.dataframe for name in table.value.columns]
        assert not any("Suspect flags" in name for name in columns)


@pytest.mark.parametrize("page", PAGES)
def test_hostile_class_names_stay_text(page: str, open_page: OpenPage) -> None:
    run = add_consensus(make_run(make_dataset(classes=HOSTILE)))
    at = clean(open_page(page, run=run.id))
    words = "\n".join(str(element.value) for kind in (at.markdown, at.caption, at.info) for element in kind)
    assert "<script>" not in words.replace("\\<script\\>", "")
    assert "x" * 200 not in words


class TestVerdict:
    def test_a_line_for_each_test(self, open_page: OpenPage, new_run: Run) -> None:
        text = text_of(clean(open_page("scan", run=new_run.id)))
        assert (
            "Found by the transplant test, the pattern transplant, the feature mixture and the second opinion." in text
        )
        assert "**Pattern transplant**: its pattern turns 90 % of other images into “yield”" in text
        assert "42 nats of evidence, 13.8 are asked for" in text

    def test_an_old_run_says_what_it_did_not_have(self, open_page: OpenPage, tiny_run: Run) -> None:
        text = text_of(clean(open_page("scan", run=tiny_run.id)))
        assert "Found by the transplant test." in text
        assert "**Second opinion**: not part of this scan" in text

    def test_every_evidence_page_names_the_tests(self, open_page: OpenPage, new_run: Run, tiny_run: Run) -> None:
        said = "found by the transplant test, the pattern transplant, the feature mixture and the second opinion"
        assert said in text_of(open_page("scores", run=new_run.id))
        old = text_of(open_page("mask", run=tiny_run.id))
        assert "found by the transplant test." in old
        lacking = "the pattern transplant, the feature mixture and the second opinion have not run"
        assert f"rests on the transplant test alone; {lacking}" in old

    def test_flags_without_a_case_are_mentioned(self, open_page: OpenPage, new_run: Run) -> None:
        quiet(new_run)
        text = text_of(clean(open_page("scores", run=new_run.id)))
        assert "No test has a case against the 48 images" in text
        assert "6 images by Pattern transplant" in text

    def test_while_scanning_the_verdict_is_said_to_be_preliminary(
        self, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mspc_core import job_status

        run = add_consensus(make_run(make_dataset()), second_opinion=False)
        run.save_config(replace(run.config(), detectors=(*run.config().detectors, "second_opinion")))
        set_status(run, "running")
        monkeypatch.setattr(job_status, "locked", lambda _: True)
        assert "Not all of its tests have finished." in text_of(clean(open_page("scores", run=run.id)))
        quiet(run)
        run.save_summary({**run.summary(), "complete": False})
        text = text_of(clean(open_page("scores", run=run.id)))
        assert "No evidence so far" in text
        assert "No evidence found" not in text, "a green badge would speak for tests that are still to come"

    def test_nothing_found_in_a_model_that_learned_little_is_not_green(self, open_page: OpenPage, new_run: Run) -> None:
        quiet(new_run)
        pages = [("scores", {"run": new_run.id}), ("scan", {"run": new_run.id}), ("home", {})]
        for page, address in pages:
            assert "No evidence found" in text_of(clean(open_page(page, **address)))
        summary = new_run.summary()
        new_run.save_summary({**summary, "model": {**summary["model"], "poor": True}})
        for page, address in pages:
            text = text_of(clean(open_page(page, **address)))
            assert "No evidence, but a poor model" in text
            assert "No evidence found" not in text
            assert page == "home" or "train longer, or choose another model" in text


class TestPicker:
    @pytest.mark.usefixtures("tiny_run")
    def test_says_what_the_choice_means_for_the_verdict(self, open_page: OpenPage) -> None:
        at = open_page("scan", new="1")
        assert "verdict will rest" not in text_of(at)
        at.checkbox(key="scan_use_pattern").uncheck().run()
        assert "rest on the transplant test, the feature mixture and the second opinion alone" in text_of(at)
        at.checkbox(key="scan_use_transplant").uncheck().run()
        at.checkbox(key="scan_use_mixture").uncheck().run()
        at.checkbox(key="scan_use_second_opinion").uncheck().run()
        assert "no verdict and no target class" in text_of(clean(at))


class TestScores:
    def test_starts_with_the_test_that_flags_most_suspects(self, open_page: OpenPage, new_run: Run) -> None:
        at = open_page("scores", run=new_run.id)
        scores = new_run.scores()
        shared = {name: (scores[f"{name}_flagged"] & scores["suspect"]).sum() for name in ("transplant", "pattern")}
        assert shared["transplant"] >= shared["pattern"]
        assert at.segmented_control(key=f"detector-{new_run.id}").value == "transplant"

    def test_the_second_opinion_shows_its_evidence(self, open_page: OpenPage, new_run: Run) -> None:
        at = clean(open_page("scores", run=new_run.id))
        metrics = {found.label: found.value for found in at.metric}
        assert (metrics["Evidence"], metrics["Asked for"], metrics["Agreement"]) == ("42", "13.8", "72 %")
        table = next(found.value for found in at.dataframe if "contradicted (flagged)" in found.value)
        assert table["label"].iloc[0] == "yield"
        assert table["flagged"].tolist() == [6, 0, 0, 0]
        assert table["contradicted (flagged)"].iloc[0] == 0.95
        assert table["contradicted (flagged)"].isna().sum() == 3

    def test_the_feature_mixture_shows_its_evidence(self, open_page: OpenPage, new_run: Run) -> None:
        at = clean(open_page("scores", run=new_run.id))
        assert "The network sees two groups of images under one label" in text_of(at)
        table = next(found.value for found in at.dataframe if "explained" in found.value)
        assert table["label"].iloc[0] == "yield"
        assert table["flagged"].tolist() == [6, 0, 0, 0]
        assert table["gain"].iloc[0] == 61.5
        assert table["index"].tolist() == [33.25, 0.75, 0.25, 0.0]

    def test_without_a_mixed_class_it_says_so(self, open_page: OpenPage, new_run: Run) -> None:
        summary = new_run.summary()
        summary["detectors"]["mixture"]["flagged"] = 0
        new_run.save_summary(summary)
        assert "no class falls into two groups that stand out" in text_of(open_page("scores", run=new_run.id))

    def test_little_evidence_is_said_to_be_little(self, open_page: OpenPage, new_run: Run) -> None:
        summary = new_run.summary()
        record = summary["detectors"]["second_opinion"]
        record["flagged"] = 0
        record["tables"]["evidence"] = [{"nats": 2.0, "first": 2.0, "asked": 13.8, "agreement": 0.7}]
        record["tables"]["refinements"] = [{"flagged": 3.0, "evidence": 2.0}]
        new_run.save_summary(summary)
        assert "nothing is flagged" in text_of(clean(open_page("scores", run=new_run.id)))

    def test_the_table_of_classes_tells_what_each_test_says(self, open_page: OpenPage, new_run: Run) -> None:
        at = open_page("scores", run=new_run.id)
        table = next(found.value for found in at.dataframe if "transplant rate" in found.value)
        row = table.iloc[0]
        assert row["class"] == "◆ yield"
        assert (row["pattern turns"], row["two groups"], row["contradicted"]) == (0.9, 33.25, 0.95)


class TestReview:
    def test_sorts_by_the_verdicts_own_score(self, open_page: OpenPage, new_run: Run) -> None:
        at = clean(open_page("review", run=new_run.id))
        assert at.selectbox(key=f"sort-{new_run.id}").value == "suspect_score"

    def test_an_old_run_is_sorted_by_its_test(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = clean(open_page("review", run=tiny_run.id))
        assert at.selectbox(key=f"sort-{tiny_run.id}").value == "transplant_score"


class TestPattern:
    def test_shows_the_share_and_one_image(self, open_page: OpenPage, new_run: Run) -> None:
        text = text_of(clean(open_page("mask", run=new_run.id)))
        assert "### 90 %" in text
        assert "**6 of 18** images of the class have it" in text

    def test_a_run_without_it_says_so(self, open_page: OpenPage, tiny_run: Run) -> None:
        assert "Pattern transplant, which was not part of this scan" in text_of(open_page("mask", run=tiny_run.id))

    def test_a_refusal_is_passed_on(self, open_page: OpenPage, tiny_run: Run) -> None:
        asked = (*tiny_run.config().detectors, "pattern")
        tiny_run.save_config(replace(tiny_run.config(), detectors=asked))
        tiny_run.save_summary({**tiny_run.summary(), "not_run": {"pattern": "it needs gradients"}})
        assert "could not be learned: it needs gradients" in text_of(open_page("mask", run=tiny_run.id))

    def test_a_class_without_a_difference_is_explained(self, open_page: OpenPage, new_run: Run) -> None:
        at = open_page("mask", run=new_run.id)
        at.session_state[f"chosen-pattern-{new_run.id}"] = 0
        assert "stands apart from the rest" in text_of(clean(at.run()))

    def test_the_difference_is_that_of_the_images(self, new_run: Run) -> None:
        found = compute_pattern.addition_of(new_run, TARGET)
        pixels, table = new_run.dataset().pixels, new_run.scores()
        planted = [row for row in range(48) if row % 8 == 0]
        honest = [row for row in range(48) if row % 4 == 2]
        assert sorted(table.loc[table["predicted"] == TARGET, "row"]) == sorted(planted + honest)
        expected = np.mean([pixels[row] / 255 for row in planted], 0) - np.mean(
            [pixels[row] / 255 for row in honest], 0
        )
        assert found.pattern == pytest.approx(expected, abs=1e-6)
        assert found.pattern[11:15, 11:15].mean() > 3 * abs(found.pattern[:8, :8].mean())

    def test_the_images_are_those_of_the_scan_with_the_pattern_added(self, new_run: Run) -> None:
        found = compute_pattern.addition_of(new_run, TARGET)
        table, pixels = new_run.scores(), new_run.dataset().pixels
        others = np.flatnonzero(table["predicted"].to_numpy() != TARGET)
        drawn = np.random.default_rng([0, 32, TARGET]).permutation(others)[: compute_pattern.SHOWN]
        assert found.others.tolist() == drawn.tolist()
        plain = pixels[table["row"].to_numpy()[drawn]] / 255
        expected = np.clip(plain + found.pattern, 0, 1) * 255
        assert np.abs(found.images.astype(float) - expected).max() <= 0.51

    def test_what_it_turns_agrees_with_the_detector(self, new_run: Run) -> None:
        import torch

        from mspc_core.detectors.pattern import Pattern, PatternConfig

        found, model = compute_pattern.addition_of(new_run, TARGET), cache.model_of(new_run)
        predicted = new_run.scores()["predicted"].to_numpy()
        images = np.array(new_run.dataset().pixels[new_run.scores()["row"].to_numpy()])
        detector = Pattern(PatternConfig(partners=compute_pattern.SHOWN))
        assert found.turned.mean() == pytest.approx(detector._turned(model, images, predicted, TARGET, found.pattern))
        mixed = np.clip(images[found.others].astype(np.float32) / 255 + found.pattern, 0, 1).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            answers = model(torch.from_numpy(np.ascontiguousarray(mixed))).softmax(1).max(1)
        assert found.after.tolist() == answers.indices.tolist()
        assert found.confidence_after == pytest.approx(answers.values.numpy(), abs=1e-4)

    def test_the_split_is_that_of_the_highest_scores(self) -> None:
        scores = np.array([0.0, 0.45, 0.9, 0.46, 0.0])
        assert compute_pattern.with_pattern(scores, 2).tolist() == [False, False, True, True, False]
        assert not compute_pattern.with_pattern(scores, 0).any()

    def test_scores_that_do_not_fit_are_refused(self, open_page: OpenPage, new_run: Run) -> None:
        summary = new_run.summary()
        for row in summary["detectors"]["pattern"]["tables"]["classes"]:
            row["with_pattern"] = 18
        new_run.save_summary(summary)
        assert "cannot be read as a split" in text_of(clean(open_page("mask", run=new_run.id)))


def test_the_verdict_has_figures_of_its_own_in_compare(new_run: Run, tiny_run: Run) -> None:
    from ui import compare_data, compare_runs

    rows, broken = compare_runs.gather([new_run, tiny_run])
    assert broken == 0
    by_run = {row.id: row.figures[compare_data.VERDICT] for row in rows}
    scores = new_run.scores()
    bad, good = (scores.loc[scores["is_backdoor"] == kind, "suspect_score"].to_numpy() for kind in (True, False))
    pairs = (bad[:, None] > good).mean() + 0.5 * (bad[:, None] == good).mean()
    assert by_run[new_run.id].auroc == pytest.approx(pairs)
    assert by_run[tiny_run.id].auroc is None
    assert sorted(filters.detector_names(scores.columns)) == sorted(DEFAULT_DETECTORS)
