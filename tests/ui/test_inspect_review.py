"""Inspect shows how a score comes about."""

from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core.runs import Run
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
