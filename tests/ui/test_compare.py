"""The Compare page as a user meets it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from mspc_core import runs
from mspc_core.runs import Run, ScanConfig
from tests.ui.conftest import make_dataset, make_run, set_status
from ui.theme import PLOTLY_CONFIG, chart_config

OpenPage = Callable[..., AppTest]
BADNETS = {"attack": "badnets", "rate": 0.125, "target_class": 2, "label_mode": "all-to-one"}
BLEND = {**BADNETS, "attack": "blend"}


def text_of(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.header, at.title)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def clean(at: AppTest) -> AppTest:
    assert not at.exception
    assert not at.error
    return at


def table(at: AppTest):  # type: ignore[no-untyped-def]
    return next(found.value for found in at.dataframe if "attack" in found.value and "run" in found.value)


@pytest.fixture
def several() -> list[Run]:
    """Two attacks with truth, and one data set without."""
    return [
        make_run(make_dataset("one"), more=("strip",), recipe=BADNETS),
        make_run(make_dataset("two"), recipe=BLEND, not_run={"strip": "it needs labels"}),
        make_run(make_dataset("vendor", truth=False)),
    ]


def test_without_runs_it_says_how_to_get_some(open_page: OpenPage) -> None:
    at = clean(open_page("compare"))
    assert "nothing to compare yet" in text_of(at)
    at.button(key="new").click().run()
    assert at.title[0].value == "New scan"


def test_runs_that_have_no_scores_are_left_out(open_page: OpenPage, several: list[Run]) -> None:
    set_status(runs.create_run(ScanConfig(source="/x", dataset="young")), "cancelled")
    (several[0].folder / "scores.parquet").write_bytes(b"broken")
    at = clean(open_page("compare"))
    assert "1 run could not be read" in text_of(at)
    assert sorted(table(at)["run"].str.split(" ").str[0]) == ["two", "vendor"]


def test_lab_runs_are_compared_first(open_page: OpenPage, several: list[Run]) -> None:
    at = clean(open_page("compare"))
    found = table(at)
    assert sorted(found["attack"]) == ["badnets 12.50 %", "blend 12.50 %"]
    summary = several[0].summary()["detectors"]
    row = found[found["attack"] == "badnets 12.50 %"].iloc[0]
    assert row["SPC"] == pytest.approx(summary["spc"]["metrics"]["auroc"])
    assert found["ASR"].isna().all()
    assert "it needs labels" in text_of(at)


def test_another_figure_and_another_scope(open_page: OpenPage, several: list[Run]) -> None:
    at = open_page("compare")
    at.segmented_control(key="compare-scope").set_value("all").run()
    figure = next(control for control in at.segmented_control if str(control.key).startswith("compare-figure"))
    figure.set_value("flagged").run()
    clean(at)
    found = table(at)
    assert len(found) == 3
    assert "truth unknown" in set(found["attack"])
    vendor = found[found["attack"] == "truth unknown"].iloc[0]
    assert vendor["SPC"] == pytest.approx(several[2].scores()["spc_flagged"].mean())
    assert vendor["Verdict"] == pytest.approx(several[2].scores()["suspect"].mean())


def test_without_truth_only_shares_are_offered(open_page: OpenPage) -> None:
    make_run(make_dataset("vendor", truth=False))
    at = clean(open_page("compare"))
    figure = next(control for control in at.segmented_control if str(control.key).startswith("compare-figure"))
    assert [option.content for option in figure.proto.options] == ["Share flagged"]
    assert "Clean data has no TPR" not in text_of(at)


def test_a_detector_over_all_runs(open_page: OpenPage, several: list[Run]) -> None:
    at = open_page("compare")
    at.selectbox(key="compare-detector").select("transplant").run()
    clean(at)
    kind = next(control for control in at.segmented_control if str(control.key).startswith("compare-kind"))
    kind.set_value("Scores").run()
    assert "Dotted: backdoored images" in text_of(clean(at))


def test_a_row_leads_to_its_run(open_page: OpenPage, several: list[Run]) -> None:
    at = open_page("compare")
    at.session_state["compare-open"] = several[0].id
    at.run()
    at.button(key="open").click().run()
    assert at.title[0].value == "Scores"
    assert at.query_params["run"] in (several[0].id, [several[0].id])


def test_hostile_names_are_only_text(open_page: OpenPage) -> None:
    names = ("<script>alert(1)</script>", "**b** $x$", "=cmd", "y" * 300)
    recipe = {**BADNETS, "attack": "<b>evil</b> **x**", "label_mode": "<i>"}
    make_run(make_dataset("odd", classes=names), recipe=recipe, not_run={"<b>x</b>": "**why** <i>"})
    at = clean(open_page("compare"))
    shown = "\n".join(str(element.value) for element in (*at.markdown, *at.caption))
    assert "<b>" not in shown.replace("\\<b\\>", "")
    assert "**why**" not in shown


def test_two_runs_image_by_image(open_page: OpenPage) -> None:
    dataset = make_dataset("one")
    first, second = make_run(dataset), make_run(dataset)
    scores = second.scores()
    missed = scores.index[scores["spc_flagged"]][:2]
    scores.loc[missed, "spc_flagged"] = False
    second.save_scores(scores)
    at = clean(open_page("compare"))
    at.selectbox(key="pair-first").set_value(first.id).run()
    at = clean(at.selectbox(key=f"pair-{first.id}-{second.id}").set_value("spc").run())
    shown = {metric.label: metric.value for metric in at.metric}
    both = int(scores["spc_flagged"].sum())
    assert shown == {
        "Only in the first": "2",
        "Only in the second": "0",
        "In both": str(both),
        "In neither": str(len(scores) - both - 2),
    }


def test_runs_of_different_data_have_no_images_to_compare(open_page: OpenPage, several: list[Run]) -> None:
    assert "two runs of the same data set" in text_of(clean(open_page("compare")))


def test_figures_can_be_saved_as_svg(open_page: OpenPage, several: list[Run]) -> None:
    at = clean(open_page("compare"))
    at = clean(at.segmented_control(key="compare-file").set_value("svg").run())
    assert at.segmented_control(key="compare-file").value == "svg"


def test_a_chart_is_saved_in_the_chosen_format() -> None:
    assert chart_config("svg")["toImageButtonOptions"]["format"] == "svg"
    assert chart_config() == PLOTLY_CONFIG
