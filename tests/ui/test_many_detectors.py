"""The picker, detectors that could not run, and the agreement of many detectors, as a user meets them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from streamlit.testing.v1 import AppTest

from mspc_core.detectors import REGISTRY
from mspc_core.detectors.base import Needs
from mspc_core.detectors.catalog import CATALOG
from mspc_core.detectors.facts import Facts
from mspc_core.runs import DEFAULT_DETECTORS, Run
from tests.ui.conftest import make_dataset, make_run
from ui import agreement
from ui.detector_facts import MEMBERS
from ui.filters import Agreement

OpenPage = Callable[..., AppTest]
MORE = ("strip", "abl", "sdfct", "ibd_psc", "flare", "spectre", "beatrix", "scan_cov")


def fact(title: str, needs: Needs) -> Facts:
    return Facts(
        title, "modern", "A paper", needs, "1 pass", "a rule", "Looks. Then tells.", "How $x$.", "Misses much."
    )


@pytest.fixture(autouse=True)
def small_catalogue() -> Iterator[None]:
    """The default detectors and three others, so that these tests do not depend on who is registered.

    `patch.dict` puts both back as they were, in their order; deleting names one by one would put them back reversed.
    """
    kept = {name: CATALOG[name] for name in DEFAULT_DETECTORS}
    made = {
        "free": fact("Free", Needs()),
        "trusting": fact("Trusting", Needs(clean_data=True)),
        "normed": fact("Normed", Needs(batch_norm=True)),
    }
    with (
        patch.dict(CATALOG, kept | made, clear=True),
        patch.dict(REGISTRY, dict.fromkeys(made, "mspc_core.detectors.spc:SPC")),
    ):
        yield


def text_of(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.header, at.title)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def boxes(at: AppTest) -> dict[str, tuple[bool, bool]]:
    """Detector → (ticked, can be ticked)."""
    found = {}
    for box in at.checkbox:
        name = str(box.key).removeprefix("scan_use_").removeprefix("scan_cannot_")
        if name in CATALOG:
            found[name] = (bool(box.value), not box.disabled)
    return found


def clean(at: AppTest) -> AppTest:
    assert not at.exception
    assert not at.error
    return at


@pytest.mark.usefixtures("tiny_run")
class TestPicker:
    def test_what_cannot_run_is_greyed_out_with_its_reason(self, open_page: OpenPage) -> None:
        at = clean(open_page("scan", new="1"))
        found = boxes(at)
        assert found["trusting"] == (False, False)
        assert found["free"] == (False, True)
        ticked = {name for name, (on, _) in found.items() if on}
        assert ticked == {*MEMBERS, "spc", "mspc"}
        label = at.checkbox(key="scan_cannot_trusting").label.replace("\\", "")
        assert "cannot run: it needs clean data" in label

    def test_trusted_images_lift_the_obstacle_and_reach_the_scan(
        self, open_page: OpenPage, no_start: list[Path]
    ) -> None:
        at = open_page("scan", new="1")
        assert at.selectbox(key="scan_trusted").options == ["None", "The test images (12)"]
        at.selectbox(key="scan_trusted").select("test").run()
        assert boxes(at)["trusting"] == (False, True)
        at.checkbox(key="scan_use_trusting").check().run()
        at.button(key="start").click().run()
        config = Run(no_start[0]).config()
        assert (config.trusted, config.detectors) == ("test", (*DEFAULT_DETECTORS, "trusting"))

    def test_data_without_a_train_split_offers_nothing_to_trust(self, open_page: OpenPage) -> None:
        dataset = make_dataset("flat")
        manifest = dataset.manifest.assign(split="test")
        manifest.to_parquet(dataset.root / "manifest.parquet", index=False)
        at = open_page("scan", new="1", dataset="flat")
        assert len(at.selectbox(key="scan_trusted").options) == 1
        assert boxes(clean(at))["trusting"] == (False, False)

    def test_a_choice_comes_back_when_its_obstacle_goes(self, open_page: OpenPage) -> None:
        at = open_page("scan", new="1")
        at.selectbox(key="scan_trusted").select("test").run()
        at.checkbox(key="scan_use_trusting").check().run()
        at.selectbox(key="scan_trusted").select("").run()
        assert boxes(at)["trusting"] == (False, False)
        at.selectbox(key="scan_trusted").select("test").run()
        assert boxes(clean(at))["trusting"] == (True, True)

    def test_models_without_batch_norm_are_known(self, open_page: OpenPage) -> None:
        at = open_page("scan", new="1")
        assert boxes(at)["normed"] == (False, True)
        at.selectbox(key="scan_model").select("tiny-vit").run()
        assert boxes(clean(at))["normed"] == (False, False)

    def test_quick_choices(self, open_page: OpenPage, no_start: list[Path]) -> None:
        at = open_page("scan", new="1")
        at.button(key="scan_pick_all").click().run()
        assert {name for name, (ticked, _) in boxes(at).items() if ticked} == {*DEFAULT_DETECTORS, "free", "normed"}
        at.button(key="scan_pick_none").click().run()
        assert not any(ticked for ticked, _ in boxes(at).values())
        at.button(key="start").click().run()
        assert "at least one detector" in at.error[0].value
        at.button(key="scan_pick_default").click().run()
        at.button(key="start").click().run()
        assert Run(no_start[0]).config().detectors == DEFAULT_DETECTORS

    def test_each_detector_says_how_it_works(self, open_page: OpenPage) -> None:
        text = text_of(open_page("scan", new="1"))
        for expected in ("Looks. Then tells.", "How $x$.", "Misses much.", "Source: A paper"):
            assert text.count(expected) == 3
        assert CATALOG["mspc"].citation in text


REASONS = {"trusting": "it needs clean data", "normed": "a **bold** reason"}


class TestNotRun:
    def test_the_verdict_says_which_detectors_could_not_run_and_why(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset(), not_run=REASONS)
        text = text_of(clean(open_page("scan", run=run.id)))
        assert "2 detectors could not run here; the others did" in text
        assert "**Trusting**: it needs clean data" in text

    def test_a_reason_is_shown_as_text(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset(), not_run=REASONS)
        at = open_page("scan", run=run.id)
        assert any("a \\*\\*bold\\*\\* reason" in str(element.value) for element in at.markdown)

    def test_scores_do_not_wait_for_them(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset(), not_run=REASONS)
        at = clean(open_page("scores", run=run.id))
        assert "**Normed**" in text_of(at)
        assert f"waiting-{run.id}" not in [found.key for found in at.segmented_control]

    def test_nothing_is_said_when_all_ran(self, open_page: OpenPage, tiny_run: Run) -> None:
        assert "could not run" not in text_of(open_page("scan", run=tiny_run.id))


class TestManyScores:
    @pytest.fixture
    def many(self) -> Run:
        return make_run(make_dataset(), more=MORE)

    def test_every_page_copes_with_eleven(self, open_page: OpenPage, many: Run) -> None:
        for page in ("scan", "scores", "mask", "inspect", "review"):
            clean(open_page(page, run=many.id))

    def test_any_of_them_can_be_chosen(self, open_page: OpenPage, many: Run) -> None:
        at = open_page("scores", run=many.id)
        chooser = at.pills(key=f"detector-{many.id}")
        assert len(chooser.options) == 11
        chooser.set_value("strip").run()
        clean(at)
        scores = many.scores()
        assert at.slider(key=f"threshold-{many.id}-strip").value == 5.0
        flagged = next(found.value for found in at.metric if found.label == "Would flag")
        assert flagged == str(int(scores["strip_flagged"].sum()))
        assert "A note of strip." in text_of(at)

    def test_the_roc_table_is_sorted(self, open_page: OpenPage, many: Run) -> None:
        at = open_page("scores", run=many.id)
        table = next(found.value for found in at.dataframe if "AUROC" in found.value)
        assert len(table) == 11
        assert table["AUROC"].is_monotonic_decreasing

    def test_votes_lead_to_their_images_and_to_review(self, open_page: OpenPage, many: Run) -> None:
        at = open_page("scores", run=many.id)
        scores = many.scores()
        names = [name for name in scores if name.endswith("_flagged")]
        votes = scores[names].sum(axis=1)
        k = int(votes.max())
        among = tuple(agreement_names(at, many))
        wanted = agreement.as_text(Agreement(among, votes=k))
        at.selectbox(key=f"agree-{many.id}").select(wanted).run()
        clean(at)
        number = int((votes == k).sum())
        assert f"**{number} image" in text_of(at)
        assert f"flagged by exactly {k} of 11 detectors" in text_of(at)
        at.button(key=f"agree-review-{many.id}").click().run()
        assert at.title[0].value == "Review"
        assert f"of {number} decided" in "\n".join(str(bar.proto.text) for bar in at.get("progress"))
        at.button(key="chip-0").click().run()
        assert "chip-0" not in [button.key for button in clean(at).button]

    def test_fewer_detectors_can_be_counted(self, open_page: OpenPage, many: Run) -> None:
        at = open_page("scores", run=many.id)
        at.pills(key=f"agree-among-{many.id}").set_value(["spc", "strip"]).run()
        clean(at)
        both = int((many.scores()["spc_flagged"] & many.scores()["strip_flagged"]).sum())
        word = "image" if both == 1 else "images"
        assert f"Flagged by exactly 2 of 2 detectors ({both} {word})" in at.selectbox(key=f"agree-{many.id}").options
        at.pills(key=f"agree-among-{many.id}").set_value(["spc"]).run()
        assert "Choose at least two detectors" in text_of(clean(at))

    def test_without_truth_nothing_claims_backdoors(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset(truth=False), more=MORE)
        at = clean(open_page("scores", run=run.id))
        assert not any("true backdoors" in found.value for found in at.dataframe)

    def test_one_detector_has_nobody_to_agree_with(self, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        tiny_run.save_scores(scores[[name for name in scores if not name.startswith(("mspc", "transplant"))]])
        at = clean(open_page("scores", run=tiny_run.id))
        assert "two finished detectors" in text_of(at)

    def test_the_images_may_be_gone(self, open_page: OpenPage, many: Run) -> None:
        at = open_page("scores", run=many.id)
        shutil.rmtree(many.dataset().root)
        options = at.selectbox(key=f"agree-{many.id}")
        options.select_index(1).run()
        assert "data set of this run was deleted" in text_of(clean(at))


def agreement_names(at: AppTest, run: Run) -> list[str]:
    """The detectors counted, in the page's order."""
    return list(at.pills(key=f"agree-among-{run.id}").value)
