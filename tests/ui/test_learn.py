"""The lesson and the page for teachers as readers meet them: with a run, without, without truth, from odd addresses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import atomic, jobs
from mspc_core.attacks.badnets import BadNets
from mspc_core.attacks.poison import make_recipe
from mspc_core.runs import DEMO, Run, ScanConfig
from tests.ui.conftest import REPOSITORY, TARGET, make_dataset, make_run, set_status
from tests.ui.consensus import add_consensus
from tests.ui.test_scores_mask import HOSTILE, text_of
from ui import cache, learn_compute, learn_quiz, learn_run, learn_sources, learn_walk
from ui.learn_figures import early_losses
from ui.learn_steps import STEPS
from ui.teach_exercises import EXERCISES
from ui.teach_words import PLAN

OpenPage = Callable[..., AppTest]
NUMBERS = range(1, len(STEPS) + 1)


def as_demo(run: Run) -> Run:
    """Let a run pass for a scan of the embedded demo."""
    run.save_config(replace(run.config(), source=DEMO))
    return run


@pytest.fixture
def demo_run() -> Run:
    run = as_demo(add_consensus(make_run(make_dataset("demo"))))
    about = atomic.read_json(run.folder / "model.json")
    curves = {"train_loss": [1.5, 0.5, 0.125], "train_accuracy_per_epoch": [0.25, 0.75, 1.0]}
    atomic.write_json(run.folder / "model.json", {**about, **curves})
    return run


@pytest.fixture
def no_truth() -> Run:
    return as_demo(make_run(make_dataset("demo", truth=False)))


def title_of(at: AppTest) -> str:
    return str(at.header[0].value)


def step_of(at: AppTest) -> str:
    """The step in the address."""
    found = at.query_params["step"]
    return str(found[0] if isinstance(found, list) else found)


class TestEveryStep:
    @pytest.mark.parametrize("number", NUMBERS)
    def test_opens_on_the_demo(self, number: int, open_page: OpenPage, demo_run: Run) -> None:
        at = open_page("learn", step=str(number))
        assert not at.exception
        assert not at.error
        assert title_of(at) == f"{number}. {STEPS[number - 1].title}"
        assert "Try it." in text_of(at)

    @pytest.mark.parametrize("number", NUMBERS)
    def test_can_be_read_without_a_run(self, number: int, open_page: OpenPage) -> None:
        at = open_page("learn", step=str(number))
        assert not at.exception
        assert not at.error
        assert title_of(at) == f"{number}. {STEPS[number - 1].title}"
        assert ("once the demo has been scanned" in text_of(at)) == STEPS[number - 1].needs_run
        assert at.radio(key=f"answer-{STEPS[number - 1].key}")

    @pytest.mark.parametrize("number", NUMBERS)
    def test_works_without_truth(self, number: int, open_page: OpenPage, no_truth: Run) -> None:
        at = open_page("learn", step=str(number))
        assert not at.exception
        assert not at.error
        assert "Poisoned images missed" not in [metric.label for metric in at.metric]

    @pytest.mark.parametrize("number", NUMBERS)
    def test_survives_hostile_names(self, number: int, open_page: OpenPage) -> None:
        as_demo(add_consensus(make_run(make_dataset("demo", HOSTILE))))
        at = open_page("learn", step=str(number))
        assert not at.exception
        assert not at.error
        assert "<script>" not in text_of(at)

    @pytest.mark.parametrize("number", NUMBERS)
    def test_says_that_the_data_set_was_deleted(self, number: int, open_page: OpenPage, demo_run: Run) -> None:
        shutil.rmtree(cache.dataset_of(demo_run).root)
        at = open_page("learn", step=str(number))
        assert not at.exception
        assert title_of(at) == f"{number}. {STEPS[number - 1].title}"

    def test_reasons_can_be_given_for_every_answer(self, demo_run: Run) -> None:
        lesson = learn_run.find()
        assert lesson.run is not None
        for step in STEPS:
            question = step.question(lesson.facts)
            assert 0 <= question.right < len(question.options)
            assert question.why(lesson)

    def test_cites_papers_that_are_listed(self) -> None:
        for step in STEPS:
            assert step.sources
            assert learn_sources.cited(step.sources).startswith("Sources: ")
        assert len({step.key for step in STEPS}) == len(STEPS)


class TestWhichRun:
    def test_only_a_finished_scan_of_the_demo_counts(self, demo_run: Run) -> None:
        make_run(make_dataset("other"))
        cleaned = as_demo(make_run(make_dataset("again")))
        cleaned.save_config(replace(cleaned.config(), parent=demo_run.id))
        stopped = as_demo(make_run(make_dataset("third")))
        set_status(stopped, "cancelled")
        found = learn_run.find()
        assert found.run is not None
        assert found.run.id == demo_run.id
        assert found.waiting is None

    @pytest.mark.parametrize(
        ("dataset", "source", "counts"),
        [("", DEMO, True), ("demo", "demo-clean", True), ("demo", "/data/demo", False), ("mine", "demo-clean", False)],
    )
    def test_the_demo_is_known_however_it_was_started(self, dataset: str, source: str, counts: bool) -> None:
        assert learn_run.is_demo(ScanConfig(source=source, dataset=dataset)) == counts

    def test_the_selected_one_of_two(self, demo_run: Run) -> None:
        newer = as_demo(make_run(make_dataset("second")))
        default, chosen = learn_run.find(), learn_run.find(demo_run.id)
        assert default.run is not None
        assert chosen.run is not None
        assert {default.run.id, chosen.run.id} == {newer.id, demo_run.id}

    def test_another_run_may_be_selected(self, open_page: OpenPage, demo_run: Run) -> None:
        other = make_run(make_dataset("other"))
        at = open_page("learn", run=other.id, step="10")
        assert not at.exception
        assert "Likely poisoned" in text_of(at)

    def test_starting_the_demo_stays_in_the_lesson(
        self, open_page: OpenPage, no_start: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mspc_core import job_status

        monkeypatch.setattr(job_status, "locked", lambda _: True)
        at = open_page("learn")
        at.button(key="learn-demo").click().run()
        assert not at.exception
        assert len(no_start) == 1
        assert jobs.read_config(no_start[0])["source"] == DEMO
        assert title_of(at) == f"1. {STEPS[0].title}"
        assert "You can read on meanwhile" in text_of(at)
        assert "learn-demo" not in [button.key for button in at.button]


class TestNumbers:
    def test_facts_are_counted_from_the_run(self, demo_run: Run) -> None:
        facts, scores = learn_run.facts_of(demo_run), demo_run.scores()
        truth = scores["is_backdoor"].to_numpy(dtype=bool)
        assert (facts.images, facts.poisoned, facts.clean) == (48, 6, 42)
        assert facts.target == TARGET
        for name in ("spc", "mspc", "transplant"):
            flagged = scores[f"{name}_flagged"].to_numpy(dtype=bool)
            found = facts.detections[name]
            assert found.flagged == sum(flagged)
            assert found.caught == sum(one and other for one, other in zip(flagged, truth, strict=True))
            assert found.alarms == sum(one and not other for one, other in zip(flagged, truth, strict=True))

    def test_the_class_with_most_false_alarms(self, demo_run: Run) -> None:
        scores = demo_run.scores()
        scores["spc_flagged"] = scores["is_backdoor"].astype(bool) | (scores["predicted"] == 1)
        demo_run.save_scores(scores)
        facts = learn_run.facts_of(demo_run)
        wrong = int(((scores["predicted"] == 1) & ~scores["is_backdoor"].astype(bool)).sum())
        assert facts.false_class == (1, wrong)

    def test_without_truth_nothing_is_called_right_or_wrong(self, no_truth: Run) -> None:
        facts = learn_run.facts_of(no_truth)
        assert facts.poisoned is None
        assert facts.rate is None
        assert all(found.caught is None and found.alarms is None for found in facts.detections.values())

    def test_attack_success_is_that_of_the_evaluation(self, demo_run: Run) -> None:
        from mspc_core import evaluate

        dataset = cache.dataset_of(demo_run)
        trigger = BadNets(size=4, pattern="sticker")
        atomic.write_json(
            dataset.root / "recipe.json", make_recipe(trigger, rate=0.1, target=TARGET, seed=0, source="demo-clean")
        )
        wanted = evaluate.attack_success_rate(cache.model_of(demo_run), dataset)
        found = learn_compute.attack_success(demo_run, trigger, TARGET)
        assert found.tested == 9
        assert found.after == pytest.approx(wanted)

    def test_losses_are_averaged_apart(self, demo_run: Run) -> None:
        truth = demo_run.scores()["is_backdoor"].to_numpy(dtype=bool)
        losses = np.where(truth, 0.25, 2.0)[None] * np.array([[1.0], [0.5]])
        np.savez(demo_run.folder / "early_losses.npz", losses=losses.astype(np.float32))
        found = early_losses(demo_run)
        assert found is not None
        assert found.means == [(0.25, 2.0), (0.125, 1.0)]

    def test_losses_that_do_not_fit_are_left_out(self, demo_run: Run) -> None:
        np.savez(demo_run.folder / "early_losses.npz", losses=np.zeros((2, 7), np.float32))
        assert early_losses(demo_run) is None
        (demo_run.folder / "early_losses.npz").write_bytes(b"not a zip")
        assert early_losses(demo_run) is None

    def test_a_rate_is_a_number_of_images(self, open_page: OpenPage, demo_run: Run) -> None:
        at = open_page("learn", step="2")
        at.slider(key="learn-rate").set_value(12.5).run()
        assert next(metric.value for metric in at.metric if metric.label == "Poisoned images") == "6 of 48"

    def test_samples_take_the_classes_in_turn_and_leave_out_the_target(self, demo_run: Run) -> None:
        rows = learn_compute.samples(demo_run, but=TARGET, most=6)
        assert learn_compute.labels_of(demo_run, rows).tolist() == [0, 1, 3, 0, 1, 3]
        assert set(cache.dataset_of(demo_run).manifest["split"].iloc[rows]) == {"test"}
        again = learn_compute.samples(demo_run, scanned=True, most=48)
        assert not set(again) & set(demo_run.scores().query("is_backdoor")["row"])

    def test_a_patch_too_large_is_made_to_fit(self) -> None:
        images = np.zeros((2, 4, 4, 3), np.uint8)
        assert learn_compute.stamp_trigger(images, BadNets(size=9, margin=3)).any()


class TestQuestion:
    def answer(self, at: AppTest, step: str, option: int) -> None:
        at.radio(key=f"answer-{step}").set_value(option).run()
        at.button(key=f"check-{step}").click().run()

    def test_choose_first_then_see(self, open_page: OpenPage, demo_run: Run) -> None:
        at = open_page("learn", step="1")
        assert at.button(key="check-backdoor").disabled
        assert not at.success
        at.radio(key="answer-backdoor").set_value(1).run()
        assert not at.success
        at.button(key="check-backdoor").click().run()
        assert at.success[0].value.startswith("**Right.**")

    def test_a_wrong_answer_is_told_the_right_one(self, open_page: OpenPage, demo_run: Run) -> None:
        at = open_page("learn", step="1")
        self.answer(at, "backdoor", 0)
        assert not at.success
        told = next(info.value for info in at.info if "Not quite" in info.value)
        assert "Nothing unusual" in told

    def test_the_answer_is_remembered(self, open_page: OpenPage) -> None:
        at = open_page("learn", step="5")
        self.answer(at, "scaling", 1)
        at.button(key="learn-next").click().run()
        assert title_of(at).startswith("6.")
        at.button(key="learn-back").click().run()
        assert at.radio(key="answer-scaling").value == 1
        assert at.success
        assert at.session_state[learn_quiz.CHOSEN] == {"scaling": 1}


class TestAddress:
    @pytest.mark.parametrize(
        ("asked", "number", "said"),
        [
            (None, 1, ""),
            ("3", 3, ""),
            ("0", 1, "first"),
            ("-4", 1, "first"),
            ("12", 11, "last"),
            ("999999999999", 1, "first"),
            ("two", 1, "first"),
            (" 5\x1d", 5, ""),
            ("", 1, "first"),
            ("<b>2</b>", 1, "first"),
        ],
    )
    def test_a_step_that_is_not_there(self, asked: str | None, number: int, said: str) -> None:
        found, problem = learn_walk.number_of(asked, 11)
        assert found == number
        assert bool(problem) == bool(said)
        assert said in problem
        assert "<b>" not in problem

    @pytest.mark.parametrize(("asked", "shown"), [("99", 11), ("nonsense", 1)])
    def test_says_so_on_the_page(self, asked: str, shown: int, open_page: OpenPage) -> None:
        at = open_page("learn", step=asked)
        assert title_of(at).startswith(f"{shown}.")
        assert "There is no step" in at.warning[0].value
        assert step_of(at) == str(shown)

    def test_walking_moves_the_address(self, open_page: OpenPage) -> None:
        at = open_page("learn")
        assert at.button(key="learn-back").disabled
        at.button(key="learn-next").click().run()
        assert step_of(at) == "2"
        at.button(key="learn-back").click().run()
        assert step_of(at) == "1"

    def test_the_last_step_has_no_next(self, open_page: OpenPage) -> None:
        assert open_page("learn", step=str(len(STEPS))).button(key="learn-next").disabled


class TestPrint:
    @pytest.mark.parametrize("kind", ["demo", "no run", "no truth"])
    def test_has_all_steps_with_answers(self, kind: str, open_page: OpenPage, request: pytest.FixtureRequest) -> None:
        if kind != "no run":
            request.getfixturevalue("demo_run" if kind == "demo" else "no_truth")
        at = open_page("learn", view="print")
        assert not at.exception
        assert not at.error
        assert [found.value for found in at.header] == [
            f"{n}. {step.title}" for n, step in zip(NUMBERS, STEPS, strict=True)
        ]
        text = text_of(at)
        assert len(re.findall(r"\*\*Answer: [A-C]\.\*\*", text)) == len(STEPS)
        assert len(re.findall(r"\*\*Question\.\*\*", text)) == len(STEPS)
        assert not at.radio
        assert not at.slider

    def test_and_back(self, open_page: OpenPage) -> None:
        at = open_page("learn", step="4")
        at.button(key="learn-print").click().run()
        assert len(at.header) == len(STEPS)
        at.button(key="learn-unprint").click().run()
        assert title_of(at).startswith("4.")


class TestTeach:
    @pytest.mark.parametrize("kind", ["demo", "no run", "no truth"])
    def test_opens(self, kind: str, open_page: OpenPage, request: pytest.FixtureRequest) -> None:
        if kind != "no run":
            request.getfixturevalue("demo_run" if kind == "demo" else "no_truth")
        at = open_page("teach")
        assert not at.exception
        assert not at.error
        assert {"Aims", "Exercises", "Further reading"} <= {found.value for found in at.header}

    @pytest.mark.parametrize("number", range(1, len(EXERCISES) + 1))
    @pytest.mark.parametrize("kind", ["demo_run", "no_truth"])
    def test_solutions_are_worked_out(
        self, kind: str, number: int, open_page: OpenPage, request: pytest.FixtureRequest
    ) -> None:
        request.getfixturevalue(kind)
        at = open_page("teach")
        before = len(text_of(at))
        at.session_state[f"solution-{number}"] = True
        at.run()
        assert not at.exception
        assert not at.error
        assert len(text_of(at)) > before

    def test_levels_rise(self) -> None:
        levels = [exercise.level for exercise in EXERCISES]
        assert levels == sorted(levels)
        assert set(levels) == {0, 1, 2}

    def test_the_plan_covers_every_step_in_time(self) -> None:
        covered = [n for part in PLAN if part.steps for n in range(part.steps[0], part.steps[1] + 1)]
        assert covered == list(NUMBERS)
        assert sum(part.minutes for part in PLAN) == 45

    def test_an_exercise_leads_to_its_step(self, open_page: OpenPage, demo_run: Run) -> None:
        at = open_page("teach")
        at.button(key="exercise-open-1").click().run()
        assert title_of(at) == f"4. {STEPS[3].title}"

    def test_the_sheet_has_no_solutions(self, open_page: OpenPage, demo_run: Run) -> None:
        at = open_page("teach", view="print")
        assert not at.exception
        assert not at.expander
        for number, exercise in enumerate(EXERCISES, start=1):
            assert f"**{number}. {exercise.title}**" in text_of(at)


def test_the_first_steps_load_no_torch(demo_run: Run, home: Path) -> None:
    """The pages open at once; the model is loaded when the reader asks for something that needs it."""
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
for page, query in (("learn", "1"), ("learn", "2"), ("teach", "1")):
    at = AppTest.from_file({str(REPOSITORY / "app.py")!r}, default_timeout=60)
    at.query_params["step"] = query
    at.run()
    at.switch_page(f"pages/{{page}}.py").run()
    assert not at.exception and not at.error
print([name for name in ("torch", "captum", "umap") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"
