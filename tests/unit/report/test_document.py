"""The whole report: numbers are those of the summary, and anyone can read it."""

from __future__ import annotations

import pandas as pd
import pytest

from mspc_core import report
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run
from mspc_core.words import count, percent
from tests.ui.conftest import TARGET
from tests.unit.report.conftest import NOW, page_of
from tests.unit.report.page import check_harmless


def test_says_the_verdict_first(new_run: Run) -> None:
    text = page_of(new_run).text
    verdict = new_run.summary()["verdict"]
    assert text.index("Likely poisoned") < text.index("What the tests say") < text.index("2. Data set")
    assert f"{verdict['flagged']} of 48 training images look backdoored: target “yield”" in text
    assert "has a case Transplant:" in text


def test_numbers_are_those_of_the_summary(new_run: Run) -> None:
    text, summary = page_of(new_run).text, new_run.summary()
    for record in summary["detectors"].values():
        metrics = record["metrics"]
        assert f"{record['title']}: {record['flagged']} of 48 flagged" in text
        row = f"{count(record['flagged'])} {percent(record['flagged'] / 48)} {record['threshold']['value']:g} "
        row += f"{metrics['auroc']:.4f} {metrics['average_precision']:.4f} {percent(metrics['tpr'])}"
        assert row in text
    assert f"Accuracy on held-out images {percent(summary['model']['val_accuracy'], 2)}" in text
    assert summary["dataset"]["content_key"] in text
    assert "3 files" in text
    assert "larger than 64 million pixels" in text


def test_roc_points_are_those_of_the_metrics(new_run: Run) -> None:
    text = page_of(new_run).text
    for record in new_run.summary()["detectors"].values():
        metrics = record["metrics"]
        row = f"{record['title']} {metrics['auroc']:.4f} {percent(metrics['tpr'])} {percent(metrics['fpr'], 2)}"
        assert row in text


def test_every_text_of_the_method_is_there(new_run: Run) -> None:
    text = page_of(new_run).text
    for record in new_run.summary()["detectors"].values():
        assert record["citation"] in text
        assert record["threshold"]["explanation"] in text
    config = new_run.config()
    assert f"Seed {config.seed}," in text
    for name, version in config.versions.items():
        assert f"{name} {version}" in text
    assert "python -m mspc_core scan" in text


@pytest.mark.parametrize("which", ["new_run", "old_run"])
def test_is_harmless_and_accessible(which: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(which)
    page = page_of(run)
    check_harmless(page)
    assert page.all("html") == [{"lang": "en"}]
    assert [level for level, _ in page.headings].count(1) == 1
    before = 0
    for level, words in page.headings:
        assert level <= before + 1, f"heading {words!r} skips a level"
        assert words.strip()
        before = level
    assert all(image["alt"].strip() for image in page.all("img"))
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in page.all("svg"))
    assert all("scope" in header for header in page.all("th"))
    assert page.count()["caption"] == page.count()["table"]
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    for link in page.all("a"):
        assert link["href"][1:] in identities


def test_every_chart_has_its_numbers(new_run: Run) -> None:
    page = page_of(new_run)
    assert page.count()["svg"] == page.count()["details"] == len(new_run.summary()["detectors"]) + 1


def test_the_same_run_gives_the_same_report(new_run: Run) -> None:
    assert report.render(new_run, now=NOW) == report.render(new_run, now=NOW)


def test_evidence_names_the_target(new_run: Run) -> None:
    page = page_of(new_run)
    text = page.text
    assert "Regions of “yield”" in text
    assert any("region of sample 1 alone" in image["alt"] for image in page.all("img"))
    assert "yield: turns 90 %" in text
    assert "41.5 nats here" in text


def test_cases_carry_path_label_scores_and_decision(new_run: Run) -> None:
    scores = new_run.scores()
    suspect = scores[scores["suspect"]].iloc[0]
    ReviewStore().decide(new_run.id, [str(suspect["sample_id"])], "remove", "Ada")
    text = page_of(new_run).text
    assert f"Path {suspect['path']} Sample {suspect['sample_id']}" in text
    assert "decided: remove" in text
    assert "truth: backdoor" in text


def test_review_statistics(new_run: Run) -> None:
    scores, store = new_run.scores(), ReviewStore()
    suspects = scores.loc[scores["suspect"], "sample_id"].astype(str).tolist()
    others = scores.loc[~scores["suspect"], "sample_id"].astype(str).tolist()
    store.decide(new_run.id, suspects[:3], "remove", "Ada")
    store.decide(new_run.id, suspects[2:3], "keep", "Grace")
    store.decide(new_run.id, others[:2], "unsure", "Grace")
    text = page_of(new_run).text
    assert f"5 images of 48 decided, 3 of {len(suspects)} suspects among them." in text
    assert "remove 2 2 0" in text
    assert "keep 1 1 0" in text
    assert "unsure 2 0 2" in text
    assert "Ada 3 3 0 0 0" in text
    assert "Grace 3 0 1 2 0" in text
    assert "Marked unsure by reviewers" in text
    assert "100.0 % of the images that reviewers remove are suspects" in text


def test_class_table_counts(new_run: Run) -> None:
    scores = new_run.scores()
    own = scores["predicted"] == TARGET
    hit = int((own & scores["suspect"]).sum())
    labelled = int((scores["label"] == TARGET).sum())
    row = f"yield (suspected target) {labelled} {int(own.sum())} {hit} {hit} ({percent(hit / int(own.sum()))})"
    assert row in page_of(new_run).text


def test_truth_is_compared_with_the_suspects(new_run: Run) -> None:
    scores = new_run.scores()
    bad = scores["is_backdoor"].to_numpy(bool)
    missed = int((bad & ~scores["suspect"].to_numpy(bool)).sum())
    wrong = int((~bad & scores["suspect"].to_numpy(bool)).sum())
    text = page_of(new_run).text
    assert f"{int(bad.sum())} of these images are recorded as poisoned" in text
    assert f"({missed} missed) and {wrong} clean image" in text


def test_pandas_types_do_not_show(new_run: Run) -> None:
    text = page_of(new_run).text
    for word in ("nan", "None", "NaN", "<NA>", "np.", "{", "Timestamp"):
        assert f" {word}" not in text.replace("mixed_precision None", ""), word
    assert isinstance(new_run.scores(), pd.DataFrame)
