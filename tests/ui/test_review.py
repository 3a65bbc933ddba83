"""Review: decisions are written before the page changes, survive, and can be taken back; queues, keys, selection."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from mspc_core.reviews import ReviewStore, database
from mspc_core.reviews.audit import audit_order
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run, set_status
from tests.ui.test_inspect_review import sample, suspects
from tests.ui.test_scores_mask import text_of
from ui import cache, review_desk, state

OpenPage = Callable[..., AppTest]


def progress(at: AppTest) -> str:
    return str(at.get("progress")[0].proto.text)


def queue(at: AppTest, run: Run, kind: str) -> AppTest:
    return at.selectbox(f"queue-{run.id}").set_value(kind).run()


def key(at: AppTest, decision: str) -> Button:
    """The button that decides on the image in focus."""
    return next(button for button in at.button if button.key == f"key-{decision}-{sample(at) or first_shown(at)}")


def first_shown(at: AppTest) -> str:
    """The sample whose facts are shown."""
    return str(re.findall(r"sample ([0-9a-f]{16})", text_of(at))[-1])


def toasts(at: AppTest) -> str:
    return " ".join(toast.value.replace("\\", "") for toast in at.toast)


class TestDeciding:
    def test_a_decision_is_stored_and_the_next_suspect_comes_up(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        expected = suspects(tiny_run)
        key(at, "remove").click().run()
        assert ReviewStore().current(tiny_run.id) == {expected[0]: "remove"}
        assert sample(at) == expected[1]

    def test_scores_and_detector_version_are_kept_with_it(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        key(at, "remove").click().run()
        (entry,) = ReviewStore().history(tiny_run.id)
        row = tiny_run.scores().set_index("sample_id").loc[entry.sample_id]
        kept = json.loads(entry.evidence)
        assert kept["scores"]["spc"] == pytest.approx(row["spc_score"], abs=1e-5)
        assert kept["flagged"] == [name for name in ("spc", "mspc", "transplant") if row[f"{name}_flagged"]]
        assert entry.detectors.startswith("0.1.0+")

    def test_a_reload_finds_sample_and_decision_again(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        expected = suspects(tiny_run)
        key(at, "unsure").click().run()
        again = open_page("review", run=tiny_run.id, sample=expected[0])
        assert f"sample {expected[0]}" in text_of(again)
        assert "unsure" in text_of(again)
        assert f"1 of {len(expected)} decided" in progress(again)

    def test_next_and_back_move_without_deciding(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        expected = suspects(tiny_run)
        at.button("key-next").click().run()
        assert sample(at) == expected[1]
        at.button("key-previous").click().run()
        assert sample(at) == expected[0]
        assert ReviewStore().current(tiny_run.id) == {}

    def test_the_large_view_shows_the_image_alone_and_keeps_the_keys(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        assert "Below each image" in text_of(at)
        at.button("key-large").click().run()
        assert "Below each image" not in text_of(at)
        key(at, "keep").click().run()
        assert sample(at) == suspects(tiny_run)[1]
        at.button("key-large").click().run()
        assert "Below each image" in text_of(at)

    def test_truth_is_hidden_until_asked_for(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        assert "Truth" not in text_of(at)
        at.toggle("reveal-truth").set_value(True).run()
        assert "Truth" in text_of(at)

    def test_truth_is_not_offered_where_nobody_knows_it(self, open_page: OpenPage) -> None:
        run = make_run(make_dataset(truth=False))
        at = open_page("review", run=run.id)
        assert "reveal-truth" not in [toggle.key for toggle in at.toggle]


class TestUndo:
    def test_undo_takes_the_decision_back_and_shows_the_sample(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        key(at, "keep").click().run()
        at.button("key-undo").click().run()
        assert ReviewStore().current(tiny_run.id) == {}
        assert sample(at) == suspects(tiny_run)[0]
        at.button("key-undo").click().run()
        assert "Nothing changed" in toasts(at)

    def test_it_reaches_into_an_earlier_session_but_not_to_others(self, open_page: OpenPage, tiny_run: Run) -> None:
        first, second = suspects(tiny_run)[:2]
        ReviewStore().decide(tiny_run.id, [first], "remove", "ann")
        ReviewStore().decide(tiny_run.id, [second], "keep", "ben")
        at = open_page("review", run=tiny_run.id)
        at.text_input("reviewer").set_value("ann").run()
        at.button("key-undo").click().run()
        assert ReviewStore().current(tiny_run.id) == {second: "keep"}
        at.button("key-undo").click().run()
        assert ReviewStore().current(tiny_run.id) == {second: "keep"}


class TestSeveralReviewers:
    def test_the_second_of_two_windows_is_told(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        at.text_input("reviewer").set_value("ann").run()
        first = suspects(tiny_run)[0]
        ReviewStore().decide(tiny_run.id, [first], "keep", "<b>ben</b>")
        key(at, "remove").click().run()
        assert "“<b>ben</b>” decided keep meanwhile" in toasts(at)
        assert "Yours, remove, counts now." in toasts(at)
        assert ReviewStore().current(tiny_run.id) == {first: "remove"}
        assert [entry.reviewer for entry in ReviewStore().history(tiny_run.id, first)] == ["<b>ben</b>", "ann"]
        key(at, "remove").click().run()
        assert "meanwhile" not in toasts(at)

    def test_ones_own_other_window_is_called_that(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        ReviewStore().decide(tiny_run.id, suspects(tiny_run), "keep", "")
        key(at, "remove").click().run()
        assert "Your other window decided keep meanwhile" in toasts(at)

    def test_progress_agreement_and_conflicts(self, open_page: OpenPage, tiny_run: Run) -> None:
        first, second, third = suspects(tiny_run)[:3]
        store = ReviewStore()
        store.decide(tiny_run.id, [first, second, third], "remove", "ann")
        store.decide(tiny_run.id, [first], "remove", "ben")
        store.decide(tiny_run.id, [third], "keep", "ben")
        at = open_page("review", run=tiny_run.id)
        at.toggle(f"people-{tiny_run.id}").set_value(True).run()
        counts, pairs = at.dataframe[-2].value, at.dataframe[-1].value
        assert counts.set_index("reviewer").loc["ann"].to_dict() == {"images": 3, "remove": 3, "keep": 0, "unsure": 0}
        assert pairs.iloc[0].to_dict() == {
            "reviewers": "ann and ben",
            "shared": 2,
            "agree": "50.0 %",
            "Cohen's κ": "0.00",
        }
        at.button("open-conflicts").click().run()
        assert "Image 1 of 1" in text_of(at)
        assert f"sample {third}" in text_of(at)

    def test_the_history_shows_who_decided_what_on_which_scores(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        at.text_input("reviewer").set_value("=ann()").run()
        key(at, "remove").click().run()
        at.button("key-undo").click().run()
        box = at.segmented_control(f"history-{tiny_run.id}")
        box.set_value("of this image").run()
        table = at.dataframe[-1].value
        assert list(table["decision"]) == ["↶ back to undecided", "remove"]
        assert list(table["reviewer"]) == ["=ann()"] * 2
        assert table["scores then"].iloc[1].startswith("SPC ")
        at.button("key-next").click().run()
        assert "Nobody has decided yet" in text_of(at)
        at.segmented_control(f"history-{tiny_run.id}").set_value("of the run (latest 200)").run()
        table = at.dataframe[-1].value
        assert table["image"].iloc[0] == tiny_run.scores().set_index("sample_id")["path"][suspects(tiny_run)[0]]


class TestQueues:
    def test_filters_and_order_change_the_queue(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = queue(open_page("review", run=tiny_run.id), tiny_run, "all")
        assert "Image 1 of 48" in text_of(at)
        at.multiselect("filter-classes").set_value([1]).run()
        count = int((tiny_run.scores()["predicted"] == 1).sum())
        assert f"of {count} decided" in progress(at)
        at.text_input("filter-text").set_value("no such path").run()
        assert "No image passes this filter" in text_of(at)

    def test_disagreeing_detectors(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = queue(open_page("review", run=tiny_run.id), tiny_run, "disagree")
        flags = tiny_run.scores()[["spc_flagged", "mspc_flagged", "transplant_flagged"]].sum(axis=1)
        assert f"of {int(flags.between(1, 2).sum())} decided" in progress(at)

    def test_the_queue_is_in_the_address(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = queue(open_page("review", run=tiny_run.id), tiny_run, "flagged")
        assert at.query_params["queue"] in ("flagged", ["flagged"])
        again = open_page("review", run=tiny_run.id, queue="all")
        assert "of 48 decided" in progress(again)
        strange = open_page("review", run=tiny_run.id, queue="<img>")
        assert f"of {len(suspects(tiny_run))} decided" in progress(strange)

    def test_a_filter_on_decisions_follows_them(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id, decision="open", show="suspects")
        many = len(suspects(tiny_run))
        assert f"0 of {many} decided" in progress(at)
        key(at, "keep").click().run()
        assert f"0 of {many - 1} decided" in progress(at)
        assert f"{many - 1}** of 48 images" in text_of(at)

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


class TestAudit:
    def test_the_order_is_random_fixed_and_of_the_unflagged(self, open_page: OpenPage, tiny_run: Run) -> None:
        scores = tiny_run.scores()
        names = scores.loc[~scores["suspect"], "sample_id"].to_numpy()
        at = queue(open_page("review", run=tiny_run.id), tiny_run, "audit")
        order = names[audit_order(names, ReviewStore().audit_seed(tiny_run.id))].tolist()
        assert f"0 of {len(names)} unflagged images" in text_of(at)
        for place, decision in enumerate(("keep", "remove", "unsure")):
            key(at, decision).click().run()
            assert sample(at) == order[place + 1]
        again = open_page("review", run=tiny_run.id, queue="audit")
        assert f"sample {order[3]}" in text_of(again), "it goes on where it was left"
        assert ReviewStore().current(tiny_run.id) == {order[0]: "keep", order[1]: "remove", order[2]: "unsure"}

    def test_what_it_estimates(self, open_page: OpenPage, tiny_run: Run) -> None:
        """10 audited, one missed: between 0.25 and 44.5 % (see tests/unit/reviews/test_audit.py)."""
        scores = tiny_run.scores()
        names = scores.loc[~scores["suspect"], "sample_id"].to_numpy()
        order = names[audit_order(names, ReviewStore().audit_seed(tiny_run.id))].tolist()
        ReviewStore().decide(tiny_run.id, order[:9], "keep")
        ReviewStore().decide(tiny_run.id, order[9:10], "remove")
        ReviewStore().decide(tiny_run.id, order[11:13], "keep")
        at = open_page("review", run=tiny_run.id, queue="audit", **{"class": "0"})
        text = text_of(at)
        assert f"Audited **10 of {len(names)} unflagged images** · misses found: **1**" in text
        assert "estimated miss rate **10.0 %**" in text
        assert "to 44.5 %)" in text
        assert f"sample {order[10]}" in text, "a filter does not narrow it, and the gap comes first"


class TestKeys:
    def test_keys_are_bound_and_none_is_reserved(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        keys = [button.proto.shortcut for button in at.button if button.proto.shortcut]
        assert sorted(keys) == ["k", "left", "o", "right", "s", "u", "v", "x", "z"]

    def test_another_key_is_kept_for_the_next_visit(self, open_page: OpenPage, tiny_run: Run, home: Path) -> None:
        at = open_page("review", run=tiny_run.id)
        at.selectbox("choose-keep").set_value("1")
        at.selectbox("choose-next").set_value("K")
        next(button for button in at.button if button.label == "Keep these keys").click().run()
        again = open_page("review", run=tiny_run.id)
        assert key(again, "keep").proto.shortcut == "1"
        assert again.button("key-next").proto.shortcut == "k"
        again.button("keys-default").click().run()
        assert key(again, "keep").proto.shortcut == "k"
        assert json.loads((home / "review-keys.json").read_text())["next"] == "Right"

    def test_a_key_that_is_taken_is_refused(self, open_page: OpenPage, tiny_run: Run, home: Path) -> None:
        at = open_page("review", run=tiny_run.id)
        at.selectbox("choose-keep").set_value("X")
        next(button for button in at.button if button.label == "Keep these keys").click().run()
        assert "The key X is chosen for “keep the image” and for “remove it”" in at.error[0].value
        assert key(at, "keep").proto.shortcut == "k"
        assert not (home / "review-keys.json").exists()

    @pytest.mark.parametrize("content", ["", "[]", '{"keep": "C"}', '{"keep": "X"}', '{"keep": "F13+"}', '{"keep": 3}'])
    def test_a_strange_file_of_keys_does_no_harm(
        self, content: str, open_page: OpenPage, tiny_run: Run, home: Path
    ) -> None:
        (home / "review-keys.json").write_text(content)
        at = open_page("review", run=tiny_run.id)
        assert not at.exception
        assert key(at, "remove").proto.shortcut == "x"


class TestMany:
    def sure(self, at: AppTest) -> str:
        return next(box.key for box in at.checkbox if box.key and box.key.startswith("many-sure"))

    def test_the_queue_needs_a_confirmation_and_is_one_undo(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        at.radio("many-which-False").set_value("queue").run()
        assert at.button("many-do").disabled
        at.checkbox(self.sure(at)).check().run()
        at.button("many-do").click().run()
        assert ReviewStore().current(tiny_run.id) == dict.fromkeys(suspects(tiny_run), "remove")
        assert all(entry.evidence for entry in ReviewStore().history(tiny_run.id))
        at.button("key-undo").click().run()
        assert ReviewStore().current(tiny_run.id) == {}

    def test_another_choice_takes_the_tick_away(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        at.checkbox(self.sure(at)).check().run()
        assert not at.button("many-do").disabled
        at.segmented_control("many-decision").set_value("keep").run()
        assert at.button("many-do").disabled
        assert "as keep" in at.checkbox(self.sure(at)).label

    def test_a_selection_by_key_is_marked_and_then_empty(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        first, second, third = suspects(tiny_run)[:3]
        at.button("key-select").click().run()
        at.button("key-next").click().run()
        at.button("key-select").click().run()
        at.button("key-next").click().run()
        at.button("key-select").click().run()
        at.button("key-select").click().run()  # and out again
        assert sample(at) == third
        assert at.radio("many-which-True").options[0] == "The selection (2)"
        at.segmented_control("many-decision").set_value("unsure").run()
        at.checkbox(self.sure(at)).check().run()
        at.button("many-do").click().run()
        assert ReviewStore().current(tiny_run.id) == {first: "unsure", second: "unsure"}
        assert "2 images marked as unsure" in toasts(at)
        assert "many-clear" not in [button.key for button in at.button]


class TestTrouble:
    def test_a_broken_database_is_one_sentence(
        self, open_page: OpenPage, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BACKDOOR_LENS_REVIEWS_URL", "sqlite:////no/such/folder/reviews.sqlite")
        at = open_page("review", run=tiny_run.id)
        assert not at.exception
        assert len(at.error) == 1
        assert "review database" in at.error[0].value

    def test_a_locked_database_keeps_the_image_and_says_so(
        self, open_page: OpenPage, tiny_run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "BUSY", 0.2)
        at = open_page("review", run=tiny_run.id)
        other = sqlite3.connect(home / "reviews.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        key(at, "remove").click().run()
        assert "busy" in at.error[0].value
        assert f"sample {suspects(tiny_run)[0]}" in text_of(at)
        other.execute("ROLLBACK")
        other.close()
        assert ReviewStore().current(tiny_run.id) == {}
        key(at, "remove").click().run()
        assert not at.error
        assert ReviewStore().current(tiny_run.id) == {suspects(tiny_run)[0]: "remove"}

    def test_a_run_that_is_deleted_meanwhile_keeps_the_decision(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        first = suspects(tiny_run)[0]
        shutil.rmtree(tiny_run.folder)
        key(at, "remove").click().run()
        assert not at.exception
        assert ReviewStore().current(tiny_run.id) == {first: "remove"}
        assert json.loads(ReviewStore().history(tiny_run.id)[0].evidence)["scores"]

    def test_a_run_that_is_still_writing(self, open_page: OpenPage, tiny_run: Run) -> None:
        """A detector finishes between two decisions: each keeps the scores that its page showed."""
        set_status(tiny_run, "interrupted")
        at = open_page("review", run=tiny_run.id)
        scores = tiny_run.scores()
        scores["strip_score"], scores["strip_flagged"] = 0.25, True
        tiny_run.save_scores(scores)
        key(at, "keep").click().run()
        key(at, "keep").click().run()
        first, second = (json.loads(entry.evidence) for entry in ReviewStore().history(tiny_run.id))
        assert "strip" not in first["scores"]
        assert second["scores"]["strip"] == 0.25

    def test_images_that_are_gone_can_still_be_decided_on(self, open_page: OpenPage, tiny_run: Run) -> None:
        at = open_page("review", run=tiny_run.id)
        shutil.rmtree(tiny_run.dataset().root)
        key(at, "keep").click().run()
        assert not at.exception
        assert len(ReviewStore().current(tiny_run.id)) == 1


def test_a_key_before_the_next_image_is_drawn_decides_nothing_and_leads_there_again(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser's address is still that of the image before: without being led on, the page would go back to it."""
    shown: list[str] = []
    monkeypatch.setattr(state, "selected_sample", lambda _: None)
    monkeypatch.setattr(state, "select_sample", shown.append)
    scores = cache.scores_of(tiny_run)
    desk = review_desk.Desk(tiny_run, scores, np.arange(len(scores)), cache.snapshot_of(tiny_run))
    desk.decide("keep")
    desk.decide("remove")
    ids = [str(found) for found in scores["sample_id"][:2]]
    assert ReviewStore().current(tiny_run.id) == {ids[0]: "keep"}
    assert shown == [ids[1], ids[1]]
