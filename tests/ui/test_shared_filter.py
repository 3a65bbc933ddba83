"""One filter for all pages of evidence: kept in the address and the session, removed chip by chip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from streamlit.runtime.state.query_params import QueryParams
from streamlit.testing.v1 import AppTest

from mspc_core import picks
from mspc_core.errors import InputError
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run
from tests.ui.test_scores_mask import text_of

OpenPage = Callable[..., AppTest]


def test_the_form_narrows_and_writes_the_address(open_page: OpenPage, tiny_run: Run) -> None:
    at = open_page("review", run=tiny_run.id)
    assert "All 48 images" in text_of(at)
    at.multiselect("filter-classes").set_value([1]).run()
    count = int((tiny_run.scores()["predicted"] == 1).sum())
    assert f"**{count}** of 48 images" in text_of(at)
    assert at.query_params["class"] == "1"
    at.text_input("filter-text").set_value("no such path").run()
    assert at.query_params["text"] == "no such path"
    at.button("chip-1").click().run()
    assert "text" not in at.query_params
    at.button("chip-0").click().run()
    assert "All 48 images" in text_of(at)
    assert "class" not in at.query_params


def test_it_goes_along_to_other_pages_and_to_a_new_window(open_page: OpenPage, tiny_run: Run) -> None:
    at = open_page("review", run=tiny_run.id)
    at.segmented_control("filter-show").set_value("flagged").run()
    at.switch_page("pages/scores.py").run()
    at.switch_page("pages/review.py").run()
    assert at.query_params["show"] == "flagged"
    again = open_page("review", run=tiny_run.id, show="flagged")
    assert again.segmented_control("filter-show").value == "flagged"


def test_the_address_gets_the_whole_filter_at_once(
    open_page: OpenPage, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change of the address is a step of the browser's back button."""
    at = open_page("review", run=tiny_run.id, show="flagged", by="spc", disagree="1")
    mine = {"show", "by", "disagree"}
    for name in mine:  # a click in the navigation comes without them
        del at.query_params[name]
    sent: list[set[str]] = []
    monkeypatch.setattr(QueryParams, "_send_query_param_msg", lambda query: sent.append(set(query)))
    at.run()
    assert [names & mine for names in sent if names & mine] == [mine]


def test_another_run_starts_without_it(open_page: OpenPage, tiny_run: Run) -> None:
    other = make_run(make_dataset("other"))
    at = open_page("review", run=tiny_run.id)
    at.multiselect("filter-classes").set_value([1]).run()
    at.session_state["run_picker"] = other.id
    at.query_params["run"] = other.id
    at.run()
    assert not at.exception
    assert "All 48 images" in text_of(at)
    assert "class" not in at.query_params


def test_a_link_that_does_not_fit_is_said_and_shows_the_rest(open_page: OpenPage, tiny_run: Run) -> None:
    at = open_page("review", run=tiny_run.id, **{"class": "1,99", "pick": "0" * 16})
    assert not at.exception
    assert "'99'" in at.warning[0].value
    assert "a pick that does not exist any more" in at.warning[0].value
    assert at.query_params["class"] == "1"
    assert "pick" not in at.query_params


def test_decisions_are_followed(open_page: OpenPage, tiny_run: Run) -> None:
    first = str(tiny_run.scores()["sample_id"].iloc[0])
    at = open_page("review", run=tiny_run.id, decision="keep")
    assert "**0** of 48 images" in text_of(at)
    assert "decision: keep" in [button.label for button in at.button], "a chip named keep would look like the decision"
    ReviewStore().decide(tiny_run.id, [first], "keep")
    assert "**1** of 48 images" in text_of(at.run())


class TestPicks:
    def test_a_pick_is_found_by_its_link(self, open_page: OpenPage, tiny_run: Run) -> None:
        name = picks.save(tiny_run, np.array([7, 3, 3]))
        assert picks.save(tiny_run, np.array([3, 7])) == name
        found = picks.positions_of(tiny_run, name, tiny_run.scores())
        assert found is not None
        assert found.tolist() == [3, 7]
        at = open_page("review", run=tiny_run.id, pick=name)
        assert "**2** of 48 images" in text_of(at)

    def test_it_is_a_list_that_retraining_reads(self, tiny_run: Run) -> None:
        from mspc_core.selection import dropped

        name = picks.save(tiny_run, np.array([5]))
        assert np.flatnonzero(dropped(tiny_run, f"file:{picks.file_of(tiny_run, name)}")).tolist() == [5]

    def test_bad_names_and_empty_picks_are_refused(self, tiny_run: Run) -> None:
        with pytest.raises(InputError, match="Nothing is picked"):
            picks.save(tiny_run, np.array([], dtype=int))
        with pytest.raises(InputError, match="not the name of a pick"):
            picks.file_of(tiny_run, "../../../etc/passwd")
        assert picks.positions_of(tiny_run, "..", tiny_run.scores()) is None
