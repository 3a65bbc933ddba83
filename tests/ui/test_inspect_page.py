"""Inspect: own scales, τ and masks as values, several samples side by side, others like this, and every state."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from streamlit.testing.v1 import AppTest

from mspc_core import atomic, work
from mspc_core.maps import job, store
from mspc_core.runs import Run
from tests.ui.conftest import SIZE, make_dataset, make_run, set_status
from tests.ui.test_scores_mask import text_of

OpenPage = Callable[..., AppTest]


def param(at: AppTest, name: str) -> str | None:
    found = at.query_params.get(name)
    return found[0] if isinstance(found, list) else found


def texts(at: AppTest) -> str:
    return "\n".join([text_of(at), *(box.value for box in at.info), *(box.value for box in at.error)])


def tables(at: AppTest) -> list[list[str]]:
    """The scales of every table that builds a score up."""
    return [list(found.value["n"]) for found in at.dataframe if "mean so far" in found.value]


def galleries(at: AppTest) -> list[str]:
    return [str(element.proto.component_name) for element in at.get("bidi_component")]


class TestControls:
    def test_own_scales_stand_beside_the_scans_and_in_the_address(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("inspect", run=tiny_run.id)
        published = [f"{n}" for n in range(2, 13)]
        assert tables(at) == [published, published]
        assert "of 11** without n = 1." in text_of(at), "as many as the scores are made of"
        at.text_input("inspect-scales").set_value("5, 2 3.5;2").run()
        assert param(at, "scales") == "2,3.5,5"
        assert tables(at) == [published, ["2", "3.5", "5"], published, ["2", "3.5", "5"]]
        assert "of 3**" in text_of(at)
        again = open_page("inspect", run=tiny_run.id, scales="2,3.5,5")
        assert tables(again) == tables(at)
        at.text_input("inspect-scales").set_value("").run()
        assert param(at, "scales") is None

    @pytest.mark.parametrize("text", ["0", "-1", "51", "nan", "1e1", "two", "<b>", ",".join(map(str, range(1, 14)))])
    def test_what_is_no_set_of_scales_is_said_and_changes_nothing(
        self, text: str, open_page: OpenPage, tiny_run: Run
    ) -> None:
        at = open_page("inspect", run=tiny_run.id, scales=text)
        assert not at.exception
        assert len(tables(at)) == 2
        assert "at most 12" in text_of(at) or "is no scale" in text_of(at)
        assert param(at, "scales") is None

    def test_the_scores_with_own_settings_are_those_worked_out_by_hand(
        self, open_page: OpenPage, tiny_run: Run
    ) -> None:
        import torch

        from ui import cache

        at = open_page("inspect", run=tiny_run.id, scales="1.5,4")
        at.toggle("inspect-mask").set_value(True).run()
        at.slider("inspect-strength").set_value(40).run()
        at.toggle("inspect-tau").set_value(True).run()
        at.slider("inspect-tau-0.1").set_value(0.2).run()
        scores = tiny_run.scores().set_index("sample_id")
        shown = open_first(at, tiny_run)
        row = scores.loc[shown]
        pixels = torch.from_numpy(np.array(tiny_run.dataset().pixels[row["row"]])).permute(2, 0, 1)[None].float() / 255
        mask = 1 - 0.4 * (1 - torch.from_numpy(tiny_run.masks()["mspc"][-1]))
        model, total = cache.model_of(tiny_run), 0
        with torch.no_grad():
            for n in (1.5, 4):
                kept = model(((pixels - 0.2) * mask * n).clamp(0, 1)).argmax() == row["predicted"]
                total += 1 if kept else -1
        assert f"{total} ÷ 2 = **{total / 2:.3f}**" in text_of(at)
        assert "τ = 0.2, shared mask at 40 %" in text_of(at).replace("\\", "")

    def test_a_class_mask_is_that_of_the_predicted_class(self, tiny_run: Run) -> None:
        from ui import compute_series
        from ui.compute_series import CLASS, SHARED, Treatment

        masks = tiny_run.masks()
        found = compute_series.mask_for(tiny_run, Treatment(CLASS), 2)
        assert (found == masks["transplant"][2]).all()
        half = compute_series.mask_for(tiny_run, Treatment(SHARED, 0.5), 2)
        np.testing.assert_allclose(half, 0.5 + 0.5 * masks["mspc"][-1])
        assert compute_series.mask_for(tiny_run, Treatment(), 2) is None
        assert compute_series.mask_for(tiny_run, Treatment(CLASS), 99) is None

    def test_a_run_without_masks_says_so_and_goes_on(self, open_page: OpenPage, tiny_run: Run) -> None:
        (tiny_run.folder / "masks.npz").unlink()
        at = open_page("inspect", run=tiny_run.id)
        assert not at.exception
        assert "This run has no shared mask" in text_of(at)
        assert at.toggle("inspect-mask").disabled
        assert len(tables(at)) == 1

    def test_several_images_in_one_pass_are_as_each_alone(self, tiny_run: Run) -> None:
        from ui import cache
        from ui.compute_series import scaled_series, scaled_together

        images = np.array(tiny_run.dataset().pixels[:5])
        masks = [None, np.full((SIZE, SIZE), 0.5), None, np.zeros((SIZE, SIZE)), None]
        scales = np.array([1.0, 2.5, 7.0])
        model = cache.model_of(tiny_run)
        together = scaled_together(model, images, scales, masks, 0.05)
        for image, mask, found in zip(images, masks, together, strict=True):
            alone = scaled_series(model, image, scales, mask, 0.05)
            assert (found.images == alone.images).all()
            assert (found.clipped == alone.clipped).all()
            np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=1e-5)


def open_first(at: AppTest, run: Run) -> str:
    """The sample that is shown, from the caption below the table of scores."""
    ids = run.scores()["sample_id"]
    return str(next(name for name in ids if f"sample {name}" in text_of(at)))


class TestPins:
    def test_pins_are_kept_in_the_address_and_compared(self, open_page: OpenPage, tiny_run: Run) -> None:
        ids = list(tiny_run.scores()["sample_id"])
        at = open_page("inspect", run=tiny_run.id, sample=ids[3])
        before = len(galleries(at))
        assert "Pin this image" in text_of(at)
        at.button("pin").click().run()
        assert param(at, "pins") == ids[3]
        at.query_params["sample"] = ids[5]
        at.run()
        at.button("pin").click().run()
        assert param(at, "pins") == f"{ids[3]},{ids[5]}"
        assert len(galleries(at)) == before + 2
        at.button(f"unpin-{ids[3]}").click().run()
        assert param(at, "pins") == ids[5]
        at.button("unpin-all").click().run()
        assert param(at, "pins") is None

    def test_a_seventh_pin_is_not_offered(self, open_page: OpenPage, tiny_run: Run) -> None:
        ids = list(tiny_run.scores()["sample_id"])
        at = open_page("inspect", run=tiny_run.id, sample=ids[9], pins=",".join(ids[:8]))
        assert param(at, "pins") == ",".join(ids[:6])
        assert at.button("pin").disabled

    def test_unknown_pins_are_said_and_dropped(self, open_page: OpenPage, tiny_run: Run) -> None:
        known = tiny_run.scores()["sample_id"].iloc[4]
        at = open_page("inspect", run=tiny_run.id, pins=f"nobody,{known},<script>")
        assert "2 pinned images of the link are not part of this run" in texts(at)
        assert param(at, "pins") == known
        assert "pinned images of the link" not in texts(at.run())

    def test_a_pin_leads_to_its_image(self, open_page: OpenPage, tiny_run: Run) -> None:
        ids = list(tiny_run.scores()["sample_id"])
        at = open_page("inspect", run=tiny_run.id, sample=ids[1], pins=ids[7])
        at.button(f"look-{ids[7]}").click().run()
        assert param(at, "sample") == ids[7]

    def test_another_run_starts_without_pins(self, open_page: OpenPage, tiny_run: Run) -> None:
        other = make_run(make_dataset("other"))
        ids = list(tiny_run.scores()["sample_id"])
        at = open_page("inspect", run=tiny_run.id, pins=ids[2])
        at.query_params["run"] = other.id
        at.run()
        assert not at.exception
        assert param(at, "run") == other.id
        assert param(at, "pins") is None
        assert "not part of this run" not in texts(at)


class TestQueue:
    def test_it_is_what_passes_the_shared_filter(self, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        own = scores[scores["predicted"] == 1].sort_values("transplant_score", ascending=False, kind="stable")
        at = open_page("inspect", run=tiny_run.id, **{"class": "1"})
        assert f"This image is 1 of {len(own)} filtered images" in text_of(at)
        next(button for button in at.button if button.label == "Next").click().run()
        assert param(at, "sample") == own["sample_id"].iloc[1]

    def test_an_image_outside_of_it_is_shown_all_the_same(self, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        other = scores.loc[scores["predicted"] == 0, "sample_id"].iloc[0]
        at = open_page("inspect", run=tiny_run.id, sample=other, **{"class": "1"})
        assert "does not pass the filter" in text_of(at)
        next(button for button in at.button if button.label == "Next").click().run()
        assert scores.set_index("sample_id").loc[param(at, "sample"), "predicted"] == 1

    def test_nothing_left_offers_the_way_back(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("inspect", run=tiny_run.id, text="no such path")
        assert not at.exception
        assert "No image passes this filter" in texts(at)


class TestNeighbours:
    def test_the_button_starts_the_job(self, open_page: OpenPage, tiny_run: Run, no_start: list) -> None:  # type: ignore
        at = open_page("inspect", run=tiny_run.id)
        assert "shows which images look alike" in text_of(at)
        at.button(f"neighbours-{tiny_run.id}-start").click().run()
        assert no_start == [store.folder_of(tiny_run)]
        assert not at.exception
        assert at.button(f"neighbours-{tiny_run.id}-cancel")
        at.button(f"neighbours-{tiny_run.id}-cancel").click().run()
        assert "cancelled" in text_of(at)

    def test_a_failed_job_says_why_and_can_be_started_again(
        self, open_page: OpenPage, tiny_run: Run, no_start: list
    ) -> None:  # type: ignore[type-arg]
        folder = job.prepare(tiny_run)
        status = atomic.read_json(folder / "status.json")
        atomic.write_json(
            folder / "status.json", {**status, "state": "failed", "error": "The disk is full: free some."}
        )
        at = open_page("inspect", run=tiny_run.id)
        assert "The disk is full" in texts(at)
        at.button(f"neighbours-{tiny_run.id}-start").click().run()
        assert no_start == [folder]

    def test_they_are_the_nearest_by_cosine_and_can_be_reviewed(self, open_page: OpenPage, tiny_run: Run) -> None:
        from ui import maps

        work.work_on(job.prepare(tiny_run))
        scores = tiny_run.scores()
        features = maps.features_of(tiny_run)
        assert features is not None
        search = NearestNeighbors(metric="cosine", algorithm="brute").fit(features.astype(np.float64))
        expected = search.kneighbors(features[5:6].astype(np.float64), 13)[1][0]
        found = maps.neighbours_of(tiny_run, 5, 12)
        assert found is not None
        assert set(found[0]) == set(expected) - {5}
        at = open_page("inspect", run=tiny_run.id, sample=scores["sample_id"].iloc[5])
        assert "Of the 24 nearest images" in text_of(at)
        at.button("neighbours-review").click().run()
        assert at.title[0].value == "Review"
        assert "Image" in text_of(at)
        assert f"**25** of {len(scores)} images" in text_of(at)
        assert param(at, "pick")

    def test_the_flags_are_counted(self, tiny_run: Run) -> None:
        from ui.inspect_neighbours import flag_counts

        scores = tiny_run.scores()
        slow = [
            sum(bool(scores[f"{name}_flagged"].iloc[place]) for name in ("spc", "mspc", "transplant"))
            for place in range(len(scores))
        ]
        assert flag_counts(scores, np.arange(len(scores))).tolist() == slow


class TestStates:
    def test_a_run_without_a_model(self, open_page: OpenPage, tiny_run: Run) -> None:
        for name in ("model.safetensors", "model.json"):
            (tiny_run.folder / name).unlink()
        at = open_page("inspect", run=tiny_run.id)
        assert not at.exception
        assert not at.error
        assert "keeps no model" in texts(at)
        assert "Label" in text_of(at), "what is known of the image is still there"

    def test_a_deleted_data_set(self, open_page: OpenPage, tiny_run: Run) -> None:
        work.work_on(job.prepare(tiny_run))
        shutil.rmtree(tiny_run.dataset().root)
        at = open_page("inspect", run=tiny_run.id, pins=tiny_run.scores()["sample_id"].iloc[1])
        assert not at.exception
        assert "data set of this run was deleted" in text_of(at)
        assert "nearest images" in text_of(at)

    def test_a_run_that_is_still_at_work(self, open_page: OpenPage, tiny_run: Run, monkeypatch) -> None:  # type: ignore
        from mspc_core import job_status

        set_status(tiny_run, "running")
        monkeypatch.setattr(job_status, "locked", lambda path: path == tiny_run.folder / ".lock")
        at = open_page("inspect", run=tiny_run.id)
        assert not at.exception
        assert "Still scanning" in text_of(at)

    def test_scores_that_are_missing(self, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        scores[["spc_score", "mspc_score", "transplant_score"]] = np.nan
        tiny_run.save_scores(scores)
        at = open_page("inspect", run=tiny_run.id)
        assert not at.exception
        assert "has not stored this score yet" in text_of(at)

    def test_a_thousand_classes_with_hostile_names(self, open_page: OpenPage) -> None:
        names = ("<img src=x onerror=alert(1)>", "🐸" * 500, *(f"class number {n}" for n in range(998)))
        run = make_run(make_dataset("many"))
        summary = run.summary()
        run.save_summary({**summary, "dataset": {**summary["dataset"], "classes": names}})
        ids = list(run.scores()["sample_id"])
        at = open_page("inspect", run=run.id, sample=ids[1], pins=",".join(ids[:3]))
        assert not at.exception
        assert "<img src=x" not in text_of(at).replace("\\<", "")

    def test_models_of_other_architectures_are_no_crash(self, open_page: OpenPage, tiny_run: Run) -> None:
        about = atomic.read_json(tiny_run.folder / "model.json")
        atomic.write_json(tiny_run.folder / "model.json", {**about, "arch": "python:Mine"})
        at = open_page("inspect", run=tiny_run.id)
        assert not at.exception
        assert len(at.error) == 1
