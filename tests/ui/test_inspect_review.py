"""Inspect shows how a score comes about; Review writes decisions that survive, and can take them back."""

from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run
from tests.ui.test_scores_mask import text_of

OpenPage = Callable[..., AppTest]


def suspects(run: Run) -> list[str]:
    """Suspects in the order of the default queue."""
    scores = run.scores()
    chosen = scores[scores["suspect"]].sort_values("transplant_score", ascending=False, kind="stable")
    return list(chosen["sample_id"])


def sample(at: AppTest) -> str | None:
    found = at.query_params.get("sample")
    return found[0] if isinstance(found, list) else found


def progress(at: AppTest) -> str:
    return str(at.get("progress")[0].proto.text)


class TestInspect:
    def test_scores_built_up_on_the_page_equal_those_worked_out_by_hand(self, tiny_run: Run) -> None:
        import torch

        from ui import cache, compute_series

        scores, model = tiny_run.scores(), cache.model_of(tiny_run)
        row, predicted = int(scores["row"].iloc[5]), int(scores["predicted"].iloc[5])
        pixels = torch.from_numpy(np.array(tiny_run.dataset().pixels[row])).permute(2, 0, 1)[None].float() / 255
        mask = torch.from_numpy(tiny_run.masks()["mspc"][-1])
        spc = mspc = 0
        with torch.no_grad():
            for n in range(2, 13):
                spc += int(model((pixels * n).clamp(0, 1)).argmax() == predicted)
                mspc += 1 if model(((pixels - 0.1) * mask * n).clamp(0, 1)).argmax() == predicted else -1
        found = compute_series.build_ups(tiny_run, row, predicted)
        assert found["spc"].score == pytest.approx(spc / 11)
        assert found["mspc"].score == pytest.approx(mspc / 11)
        assert found["spc"].running_mean[-1] == pytest.approx(found["spc"].score)

    def test_the_series_is_the_scaled_image_and_its_clipped_share(self, tiny_run: Run) -> None:
        from ui import cache, compute_series

        image = np.zeros((16, 16, 3), dtype=np.uint8)
        image[:8] = 100  # half of the values reach 300 at n = 3 and are cut off
        found = compute_series.scaled_series(cache.model_of(tiny_run), image, np.array([1.0, 2.0, 3.0]))
        assert found.images[:, 0, 0, 0].tolist() == [100, 200, 255]
        assert found.clipped.tolist() == [0.0, 0.0, 0.5]
        assert found.probabilities.sum(1) == pytest.approx(1.0, abs=1e-5)
        masked = compute_series.scaled_series(
            cache.model_of(tiny_run), image, np.array([2.0]), np.full((16, 16), 0.5), 0.1
        )
        assert masked.images[0, 0, 0, 0] == round((100 - 25.5) * 0.5 * 2)
        assert masked.images[0, 15, 0, 0] == 0

    def test_a_sample_in_the_address_is_shown(self, open_page: OpenPage, tiny_run: Run) -> None:
        wanted = tiny_run.scores()["sample_id"].iloc[3]
        at = open_page("inspect", run=tiny_run.id, sample=wanted)
        assert wanted in text_of(at)

    def test_a_strange_sample_in_the_address_does_no_harm(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("inspect", run=tiny_run.id, sample="<img src=x onerror=alert(1)>")
        assert not at.exception
        assert "not part of this run" in text_of(at)

    def test_next_walks_along_the_suspects(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("inspect", run=tiny_run.id)
        queue = suspects(tiny_run)
        assert "This image is 1 of" in text_of(at)
        next(button for button in at.button if button.label == "Next").click().run()
        assert sample(at) == queue[1]
        assert queue[1] in text_of(at)

    def test_search_finds_by_path(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("inspect", run=tiny_run.id)
        at.text_input("find-sample").set_value("013.png").run()
        box = at.selectbox("found-sample")
        assert len(box.options) == 1
        wanted = tiny_run.scores().set_index("path")["sample_id"].filter(like="013.png").iloc[0]
        box.set_value(wanted).run()
        assert sample(at) == wanted
        at.text_input("find-sample").set_value("no such thing").run()
        assert "No image has that" in text_of(at)

    def test_n_mask_and_shift_change_the_answer(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("inspect", run=tiny_run.id)
        at.slider("inspect-n").set_value(2.7).run()
        assert "At n = 2.7 the model" in text_of(at)
        at.toggle("inspect-mask").set_value(True).run()
        at.toggle("inspect-tau").set_value(True).run()
        assert not at.exception
        assert not at.error

    def test_it_says_when_the_stored_score_differs(self, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        scores["spc_score"] = 0.123
        tiny_run.save_scores(scores)
        assert "they differ" in text_of(open_page("inspect", run=tiny_run.id))


class TestReview:
    def test_a_decision_is_stored_and_the_next_suspect_comes_up(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        queue = suspects(tiny_run)
        at.button("key-remove").click().run()
        assert ReviewStore().current(tiny_run.id) == {queue[0]: "remove"}
        assert sample(at) == queue[1]

    def test_a_reload_finds_sample_and_decision_again(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        queue = suspects(tiny_run)
        at.button("key-unsure").click().run()
        again = open_page("review", run=tiny_run.id, sample=queue[0])
        assert f"sample {queue[0]}" in text_of(again)
        assert "unsure" in text_of(again)
        assert f"1 of {len(queue)} decided" in progress(again)

    def test_undo_takes_the_decision_back_and_shows_the_sample(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        queue = suspects(tiny_run)
        at.button("key-keep").click().run()
        at.button("key-undo").click().run()
        assert ReviewStore().current(tiny_run.id) == {}
        assert sample(at) == queue[0]
        at.button("key-undo").click().run()
        assert not at.exception

    def test_decisions_carry_the_reviewer_and_undo_respects_the_other_one(
        self, open_page: OpenPage, tiny_run: Run
    ) -> None:
        other = suspects(tiny_run)[-1]
        ReviewStore().decide(tiny_run.id, [other], "keep", "ben")
        at = open_page("review", run=tiny_run.id)
        at.text_input("reviewer").set_value("ann").run()
        at.button("key-remove").click().run()
        assert ReviewStore().history(tiny_run.id)[-1].reviewer == "ann"
        at.button("key-undo").click().run()
        at.button("key-undo").click().run()
        assert ReviewStore().current(tiny_run.id) == {other: "keep"}

    def test_next_and_back_move_without_deciding(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        queue = suspects(tiny_run)
        at.button("key-next").click().run()
        assert sample(at) == queue[1]
        at.button("key-previous").click().run()
        assert sample(at) == queue[0]
        assert ReviewStore().current(tiny_run.id) == {}

    def test_keys_are_bound_and_none_is_reserved(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        keys = [button.proto.shortcut for button in at.button if button.proto.shortcut]
        assert sorted(keys) == ["k", "left", "o", "right", "u", "x", "z"]

    def test_marking_many_needs_a_confirmation_and_is_one_undo(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        assert at.button("bulk-queue").disabled
        at.checkbox("bulk-sure").check().run()
        at.button("bulk-queue").click().run()
        assert ReviewStore().current(tiny_run.id) == dict.fromkeys(suspects(tiny_run), "remove")
        assert not at.checkbox("bulk-sure").value
        at.button("key-undo").click().run()
        assert ReviewStore().current(tiny_run.id) == {}

    def test_filters_and_order_change_the_queue(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        at.segmented_control(f"queue-{tiny_run.id}").set_value("All").run()
        assert "Image 1 of 48" in text_of(at)
        at.multiselect("filter-classes").set_value([1]).run()
        count = int((tiny_run.scores()["predicted"] == 1).sum())
        assert f"of {count} decided" in progress(at)
        at.text_input("filter-text").set_value("no such path").run()
        assert "No image passes this filter" in text_of(at)

    def test_a_score_range_from_scores_is_applied_and_can_be_cleared(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id, score="spc:0.6:1.0")
        count = int((tiny_run.scores()["spc_score"] >= 0.6).sum())
        assert f"of {count} decided" in progress(at)
        at.button("chip-0").click().run()
        assert "of 48 decided" in progress(at)

    @pytest.mark.parametrize("score", ["spc", "spc:a:b", "no:0:1", "spc:nan:inf", ":::", "<b>:0:1"])
    def test_a_strange_score_range_is_ignored(self, score: str, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id, score=score)
        assert not at.exception
        assert "chip-0" not in [button.key for button in at.button]

    def test_truth_is_hidden_until_asked_for(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        assert "Truth" not in text_of(at)
        at.toggle("reveal-truth").set_value(True).run()
        assert "Truth" in text_of(at)

    def test_truth_is_not_offered_where_nobody_knows_it(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset(truth=False))
        at = open_page("review", run=run.id)
        assert "reveal-truth" not in [toggle.key for toggle in at.toggle]

    def test_a_broken_database_is_one_sentence(
        self, open_page: OpenPage, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BACKDOOR_LENS_REVIEWS_URL", "sqlite:////no/such/folder/reviews.sqlite")
        at = open_page("review", run=tiny_run.id)
        assert not at.exception
        assert len(at.error) == 1
        assert "review database" in at.error[0].value
