"""Clean & retrain as a browser gets it: what would be removed, every state of a retraining, labels, the chain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import atomic, jobs, runs
from mspc_core.data.store import delete_dataset
from mspc_core.retrain import chain, confirmed, plan
from mspc_core.retrain.config import RetrainConfig, Retraining, create, list_retrainings
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run, set_status
from tests.ui.test_home_data_scan import button, errors, words
from ui import clean_figures, clean_labels

OpenPage = Callable[..., AppTest]


def new_retraining(run: Run) -> Retraining:
    planned = plan.make_plan(run, RetrainConfig())
    return create(run, planned.config, planned.choice)


def finished_retraining(run: Run) -> Retraining:
    """Really done, with one epoch on 42 tiny images: the figures mean nothing, their form is the real one."""
    from mspc_core.work import work_on

    run.save_config(replace(run.config(), epochs=1))
    retraining = new_retraining(run)
    assert work_on(retraining.folder).state == "finished", retraining.status().error
    return retraining


def set_state(retraining: Retraining, state: str, **more: object) -> None:
    status = jobs.JobStatus(state=state, stage="Kept images", stages=["Kept images", "Measure"], progress=0.4, pid=1)
    atomic.write_json(retraining.folder / "status.json", {**asdict(status), **more})


def tables(at: AppTest) -> list[pd.DataFrame]:
    return [element.value for element in at.dataframe]


class TestWhatToRemove:
    def test_without_a_scan_it_leads_home(self, open_page: OpenPage) -> None:
        at = open_page("clean")
        assert not errors(at)
        assert "There is no scan yet" in words(at)

    def test_counts_and_classes(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("clean")
        assert not errors(at)
        suspects = int(tiny_run.scores()["suspect"].sum())
        assert f"Remove {suspects}" in words(at)
        assert "Missed poison 0" in words(at)
        table = next(table for table in tables(at) if "share removed" in table)
        assert table["remove"].sum() == suspects
        assert table["keep"].sum() == len(tiny_run.scores()) - suspects

    def test_start_fixes_the_selection_and_starts_the_job(
        self, open_page: OpenPage, tiny_run: Run, no_start: list[Path]
    ) -> None:
        at = open_page("clean")
        at.button(key="start-retrain").click().run()
        assert not errors(at)
        (retraining,) = list_retrainings(tiny_run)
        assert no_start == [retraining.folder]
        scores = tiny_run.scores()
        assert retraining.choice().dropped == frozenset(scores["sample_id"][scores["suspect"]])
        assert at.button(key="start-retrain").disabled, "one at a time"
        assert "Waiting" in words(at)

    def test_review_decisions_come_first_where_there_are_any(self, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        kept = scores["sample_id"][scores["suspect"]].tolist()[:2]
        ReviewStore().decide(tiny_run.id, kept, "keep")
        at = open_page("clean")
        assert f"Remove {int(scores['suspect'].sum()) - 2}" in words(at)

    def test_nothing_flagged_is_said_and_other_choices_stay(self, open_page: OpenPage, tiny_run: Run) -> None:
        tiny_run.save_scores(tiny_run.scores().assign(suspect=False))
        at = open_page("clean")
        assert not errors(at)
        assert "nothing to drop" in words(at)
        at.session_state[f"rule-{tiny_run.id}"] = "detector"
        at.run()
        assert not errors(at)
        assert any(label.label.startswith("Retrain without") for label in at.button)

    def test_a_vanished_class_asks_twice(self, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        tiny_run.save_scores(scores.assign(suspect=scores["label"] == 1))
        at = open_page("clean")
        assert "Every image of stop" in words(at)
        assert at.button(key="start-retrain").disabled
        at.checkbox(key=f"vanished-{tiny_run.id}").check().run()
        assert not at.button(key="start-retrain").disabled

    def test_a_scan_at_work_or_stopped(self, open_page: OpenPage, tiny_run: Run) -> None:
        tiny_run.save_summary({**tiny_run.summary(), "complete": False})
        set_status(tiny_run, "cancelled")
        at = open_page("clean")
        assert not errors(at)
        assert "ended before its verdict" in words(at)
        assert button(at, "Go to the scan")

    def test_deleted_data(self, open_page: OpenPage, tiny_run: Run) -> None:
        delete_dataset("tiny")
        at = open_page("clean")
        assert not errors(at)
        assert "no stored data set" in words(at)


class TestStates:
    def test_failed_says_why_and_offers_another_try(self, open_page: OpenPage, tiny_run: Run) -> None:
        set_state(new_retraining(tiny_run), "failed", error="Training diverged in epoch 3.")
        at = open_page("clean")
        assert errors(at) == ["Training diverged in epoch 3."]
        assert button(at, "Try again")

    def test_killed_can_be_resumed(self, open_page: OpenPage, tiny_run: Run, no_start: list[Path]) -> None:
        retraining = new_retraining(tiny_run)
        set_state(retraining, "running")
        at = open_page("clean")
        assert not errors(at)
        button(at, "Resume").click().run()
        assert no_start == [retraining.folder]

    def test_finished(self, open_page: OpenPage, tiny_run: Run) -> None:
        retraining = finished_retraining(tiny_run)
        at = open_page("clean")
        assert not errors(at)
        text = words(at)
        for part in ("Accuracy", "Attack success, estimated", "Removed", "Before and after", "Learning curves"):
            assert part in text
        result = retraining.result()
        comparison = next(table for table in tables(at) if "model" in table)
        assert comparison["images"].iloc[1] == result["kept"]
        assert "Lab data, whose truth is recorded" in text

    def test_names_of_classes_cannot_bring_markup(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset("nasty", ("<b>x</b>", "![a](b)", "=1+1", "**d**")))
        finished_retraining(run)
        at = open_page("clean", run=run.id)
        assert not errors(at)
        assert "into =1+1" not in words(at), "escaped"

    def test_a_damaged_result_is_one_sentence(self, open_page: OpenPage, tiny_run: Run) -> None:
        retraining = new_retraining(tiny_run)
        set_state(retraining, "finished")
        (retraining.folder / "retrain.json").write_text("{")
        at = open_page("clean")
        assert len(errors(at)) == 1


class TestLabels:
    def test_saving_a_page_confirms_what_is_ticked(self, tiny_run: Run) -> None:
        names = ["speed 30", "stop", "yield", "no entry"]
        confirmed.confirm(tiny_run, {"c": 0})
        edited = pd.DataFrame({"confirm": [True, False, False], "new label": ["stop", "yield", "stop"]})
        clean_labels.save(tiny_run, ["a", "b", "c"], edited, names)
        assert confirmed.read(tiny_run) == {"a": 1}

    def test_confirming_many_asks_twice_and_offers_to_keep_them(self, open_page: OpenPage, tiny_run: Run) -> None:
        retraining = finished_retraining(tiny_run)
        table = retraining.suggestions().assign(suggested_label=1, confidence=0.95)
        table.to_csv(retraining.folder / "suggestions.csv", index=False)
        at = open_page("clean")
        many = at.button(key=f"labels-many-{tiny_run.id}")
        assert many.disabled
        at.checkbox(key=f"labels-sure-{tiny_run.id}").check().run()
        at.button(key=f"labels-many-{tiny_run.id}").click().run()
        assert not errors(at)
        assert confirmed.read(tiny_run) == dict.fromkeys(table["sample_id"], 1)
        at.checkbox(key=f"relabel-{tiny_run.id}").check().run()
        assert not errors(at)


class TestChain:
    def test_what_is_kept_can_be_scanned(self, open_page: OpenPage, tiny_run: Run, no_start: list[Path]) -> None:
        finished_retraining(tiny_run)
        at = open_page("clean")
        at.button(key="rescan").click().run()
        assert not errors(at)
        child = next(run for run in runs.list_runs() if run.id != tiny_run.id)
        assert no_start == [child.folder]
        assert child.config().parent == tiny_run.id
        assert at.title[0].value == "Scan"
        at = open_page("clean", run=tiny_run.id)
        assert any("left out before" in table for table in tables(at))
        assert len(chain.chain_of(tiny_run)) == 2

    @pytest.mark.parametrize("left", [True, False])
    def test_an_end_without_evidence_is_doubted_where_the_trigger_still_works(
        self, open_page: OpenPage, tiny_run: Run, left: bool
    ) -> None:
        child = chain.rescan(finished_retraining(tiny_run))
        child.save_summary({**tiny_run.summary(), "verdict": {"level": "no_evidence", "scanned": 42, "flagged": 0}})
        origin = chain.origin_of(child)
        assert origin["run"] == tiny_run.id
        origin |= {"still_works": left, "estimated_asr": {"before": 1.0, "after": 0.9 if left else 0.0}}
        atomic.write_json(child.folder / "origin.json", origin)
        set_status(child, "finished")
        text = words(open_page("clean", run=tiny_run.id))
        assert ("Round 2 found no evidence any more" in text) != left
        assert ("poison was kept" in text) == left

    def test_two_that_point_at_each_other_end(self, tiny_run: Run) -> None:
        tiny_run.save_config(replace(tiny_run.config(), parent=tiny_run.id))
        assert [link.id for link in chain.chain_of(tiny_run)] == [tiny_run.id]


class TestTables:
    @pytest.fixture
    def figures(self) -> dict[str, object]:
        shares = {"accuracy": 0.9, "attack_success_rate": None, "per_class_accuracy": {"a": 1.0, "b": None}}
        return {**shares, "sd": {"accuracy": 0.015, "attack_success_rate": None}, "by_seed": [1, 2, 3], "images": 10}

    def test_comparison(self, figures: dict[str, object]) -> None:
        result = {
            "before": figures,
            "after": figures,
            "references": {"everything": None, "clean_part": None},
            "estimated_asr": {"before": None, "after": None},
        }
        table = clean_figures.comparison_table(result)
        assert list(table.columns) == ["model", "images", "accuracy", "trainings"], "unknown figures have no column"
        assert table["accuracy"].tolist() == ["90.0 % ± 1.5 %"] * 2

    def test_curves_of_unequal_length(self) -> None:
        curves = {"before": None, "after": {"loss": [2.0, 1.0], "accuracy": [0.1, 0.5]}}
        table = clean_figures.curves_table(curves)
        assert table.to_dict("list") == {"epoch": [1, 2], "loss after": [2.0, 1.0], "accuracy after": [0.1, 0.5]}
        figure = clean_figures.curves_figure({**curves, "before": {"loss": [3.0], "accuracy": [0.0]}})
        assert [trace.line.dash for trace in figure.data] == ["dash", "dash", "solid", "solid"]
