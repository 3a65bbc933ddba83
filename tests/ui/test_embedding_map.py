"""The map on Scores: states of its job, what colours it, what the lasso holds, and where it leads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import picks, work
from mspc_core.maps import job, store
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run
from tests.ui.test_scores_linked import text_of

OpenPage = Callable[..., AppTest]
EVERYWHERE = {"x": [-1e9, 1e9], "y": [-1e9, 1e9]}


@pytest.fixture
def mapped(tiny_run: Run) -> Run:
    assert work.work_on(job.prepare(tiny_run)).state == "finished"
    return tiny_run


def select(at: AppTest, run: Run, **selection: object) -> AppTest:
    """What a browser sends when dots are chosen: the callback runs with this in the session."""
    import streamlit as st

    from ui import embedding_views

    key = f"map-{run.id}"
    original = st.plotly_chart

    def chart(figure, **more):  # type: ignore[no-untyped-def]
        if more.get("key") == key and key + "-sent" not in st.session_state:
            st.session_state[key + "-sent"] = True
            st.session_state[key] = {"selection": {"points": [], "box": [], "lasso": [], **selection}}
            more["on_select"]()
            del st.session_state[key]
        return original(figure, **more)

    embedding_views.st.plotly_chart = chart  # type: ignore[attr-defined]
    try:
        at.run()
    finally:
        embedding_views.st.plotly_chart = original  # type: ignore[attr-defined]
    return at.run()


def param(at: AppTest, name: str) -> str | None:
    found = at.query_params.get(name)
    return found[0] if isinstance(found, list) else found


def test_without_features_a_button_starts_the_job(open_page: OpenPage, tiny_run: Run, no_start: list[Path]) -> None:
    at = open_page("scores", run=tiny_run.id)
    at.button(f"map-job-{tiny_run.id}-start").click().run()
    assert no_start == [store.folder_of(tiny_run)]
    assert not job.wants_umap(tiny_run)
    assert "Waiting to start" in str(at.get("progress")[-1].proto.text)
    at.button(f"map-job-{tiny_run.id}-cancel").click().run()
    assert not at.exception
    assert "was cancelled" in text_of(at)


def test_umap_is_made_on_demand(open_page: OpenPage, mapped: Run, no_start: list[Path]) -> None:
    at = open_page("scores", run=mapped.id)
    at.segmented_control(f"map-kind-{mapped.id}").set_value("umap").run()
    assert "no UMAP yet" in text_of(at)
    at.button(f"umap-{mapped.id}").click().run()
    assert no_start == [store.folder_of(mapped)]
    assert job.wants_umap(mapped)
    assert "when it is ready" in text_of(at)
    work.work_on(store.folder_of(mapped))
    at = open_page("scores", run=mapped.id)
    at.segmented_control(f"map-kind-{mapped.id}").set_value("umap").run()
    assert not at.exception
    assert "Near means alike" in text_of(at)


@pytest.mark.parametrize("by", ["Score", "Class", "Decision", "Truth"])
def test_every_colouring_draws(by: str, open_page: OpenPage, mapped: Run) -> None:
    ReviewStore().decide(mapped.id, [mapped.scores()["sample_id"].iloc[0]], "remove", "ann")
    at = open_page("scores", run=mapped.id)
    at.segmented_control(f"map-colour-{mapped.id}").set_value(by).run()
    assert not at.exception
    assert not at.error
    table = next(found.value for found in at.dataframe if "images drawn" in found.value)
    assert table["images drawn"].sum() == len(mapped.scores())


def test_truth_is_not_offered_where_nobody_knows_it(open_page: OpenPage) -> None:
    run = make_run(make_dataset(truth=False))
    work.work_on(job.prepare(run))
    at = open_page("scores", run=run.id)
    assert at.segmented_control(f"map-colour-{run.id}").options == ["Score", "Class", "Decision"]


def test_the_lasso_holds_the_images_inside_and_becomes_the_filter(open_page: OpenPage, mapped: Run) -> None:
    scores = mapped.scores()
    found = store.map_of(mapped, store.PCA, store.key_of(mapped, scores["row"].to_numpy()))
    assert found is not None
    middle = float(np.median(found.points[:, 0]))
    expected = np.flatnonzero(found.points[:, 0] >= middle)
    at = open_page("scores", run=mapped.id)
    box = {"x": [middle, 1e9], "y": [-1e9, 1e9]}
    select(at, mapped, box=[box])
    assert f"**{len(expected)} images** in the lasso" in text_of(at)
    at.button(f"map-use-{mapped.id}").click().run()
    assert not at.exception
    name = param(at, "pick")
    assert name
    kept = picks.positions_of(mapped, name, scores)
    assert kept is not None
    assert kept.tolist() == expected.tolist()
    assert f"**{len(expected)}** of {len(scores)} images" in text_of(at)


def test_the_lasso_holds_only_what_passes_the_filter(open_page: OpenPage, mapped: Run) -> None:
    at = open_page("scores", run=mapped.id, **{"class": "1"})
    select(at, mapped, box=[EVERYWHERE])
    own = int((mapped.scores()["predicted"] == 1).sum())
    assert f"**{own} images** in the lasso" in text_of(at)
    at.button(f"map-clear-{mapped.id}").click().run()
    assert "in the lasso" not in text_of(at)


def test_a_click_on_a_dot_selects_its_image(open_page: OpenPage, mapped: Run) -> None:
    at = open_page("scores", run=mapped.id)
    select(at, mapped, points=[{"curve_number": 0, "point_index": 0, "customdata": 7}])
    assert param(at, "sample") == mapped.scores()["sample_id"].iloc[7]
    assert "The ringed image" in text_of(at)
    at.button(f"map-inspect-{mapped.id}").click().run()
    assert at.title[0].value == "Inspect"


@pytest.mark.parametrize(
    "selection",
    [{"points": [{"customdata": 10**9}]}, {"lasso": [{"x": [1], "y": [2, 3]}]}, {"box": [{"x": [], "y": []}]}],
)
def test_strange_events_do_no_harm(selection: dict[str, object], open_page: OpenPage, mapped: Run) -> None:
    at = open_page("scores", run=mapped.id)
    select(at, mapped, **selection)
    assert not at.exception
    assert not at.error


def test_a_run_without_a_model_says_so(open_page: OpenPage, tiny_run: Run) -> None:
    for name in ("model.safetensors", "model.json"):
        (tiny_run.folder / name).unlink()
    at = open_page("scores", run=tiny_run.id)
    assert not at.exception
    assert "keeps no model" in text_of(at)


def test_the_callers_function_gets_the_positions(open_page: OpenPage, mapped: Run) -> None:
    def page() -> None:
        import numpy as np
        import streamlit as st

        from mspc_core.runs import list_runs
        from ui import embedding_views

        run = list_runs()[0]
        st.session_state[f"map-chosen-{run.id}"] = np.array([1, 4])
        got = embedding_views.show(run, on_use=lambda held: st.session_state.update(got=held.tolist()))
        st.session_state["held"] = got.tolist()

    at = AppTest.from_function(page, default_timeout=60)
    at.session_state["routed"] = True
    at.query_params["run"] = mapped.id
    at.session_state["selected_run"] = mapped.id
    at.run()
    assert not at.exception
    assert at.session_state["held"] == [1, 4]
    at.button(f"map-use-{mapped.id}").click().run()
    assert at.session_state["got"] == [1, 4]
