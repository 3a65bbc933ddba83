"""Names from strangers: markup, scripts, emoji, 500 characters, control and direction characters stay text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mspc_core import atomic, report
from mspc_core.report.reproduce import commands
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run
from tests.ui.conftest import make_dataset, make_run
from tests.ui.consensus import add_consensus
from tests.unit.report.conftest import NOW, page_of
from tests.unit.report.page import Page, check_harmless

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</style></title><svg/onload=alert(3)>",
    "javascript:alert(4) {{ 7*7 }} {% raw %}",
)
NAMES = ("<script>alert(1)</script>", '" onmouseover="alert(5)', "🚦 emoji \u202egnp.exe\u0000", "long " + "x" * 500)


@pytest.fixture
def hostile(home: Path) -> Run:
    """Every text that a report shows comes from an attacker."""
    run = add_consensus(make_run(make_dataset("evil", classes=NAMES)))
    scores, summary = run.scores(), run.summary()
    scores["path"] = [f"{ATTACKS[at % 4]}/{at}.png" for at in range(len(scores))]
    run.save_scores(scores)
    summary["dataset"]["source"] = ATTACKS[1]
    summary["model"]["notes"] = [ATTACKS[0]]
    summary["not_run"] = {"strip": ATTACKS[2], ATTACKS[0]: ATTACKS[1]}
    summary["verdict"]["rule"] = ATTACKS[1]
    for name, record in summary["detectors"].items():
        record["title"] = record["citation"] = f"{name}{ATTACKS[1]}"
        record["threshold"]["explanation"] = ATTACKS[0]
        record["config"] = {ATTACKS[1]: ATTACKS[0], "list": list(ATTACKS)}
        record["notes"] = list(ATTACKS)
    run.save_summary(summary)
    run.save_config(replace(run.config(), versions={ATTACKS[0]: ATTACKS[1]}))
    atomic.write_json(
        run.folder / "retrain.json",
        {
            "drop": ATTACKS[1],
            "dropped": 3,
            "kept": 45,
            "before": {"accuracy": 0.9, "per_class_accuracy": {ATTACKS[0]: 0.5}},
            "after": {"accuracy": ATTACKS[0], "attack_success_rate": float(0), "per_class_accuracy": {ATTACKS[0]: 1}},
        },
    )
    identities = scores["sample_id"].astype(str).tolist()
    for at, name in enumerate((*ATTACKS, "", "\u202eevil\n\t")):
        ReviewStore().decide(run.id, identities[at : at + 2], "remove", name)
    return run


def test_nothing_runs_and_nothing_is_loaded(hostile: Run) -> None:
    content = report.render(hostile, now=NOW)
    page = Page(content)
    check_harmless(page)
    assert "<script" not in content
    assert "alert(1)" in page.text  # shown, as text
    assert '"><img src=x onerror=alert(2)>' in page.text
    assert "{{ 7*7 }}" in page.text
    assert "49" not in [word.strip() for word in page.words if word.strip() == "49"]


def test_the_elements_are_those_of_a_harmless_run(hostile: Run) -> None:
    """No text became an element: kinds of elements are the same as without an attacker."""
    plain = add_consensus(make_run(make_dataset("plain")))
    ReviewStore().decide(plain.id, plain.scores()["sample_id"].astype(str).tolist()[:2], "remove", "Ada")
    settings = {"code"}  # the harmless run has none
    assert set(page_of(hostile).count()) <= set(page_of(plain).count()) | settings


def test_attributes_are_those_of_the_templates(hostile: Run) -> None:
    allowed = {
        "lang charset name content http-equiv id class aria-labelledby aria-label aria-hidden href scope style src alt",
        "width height role viewbox font-family font-size text-anchor x y x1 x2 y1 y2 cx cy r points fill fill-opacity",
        "stroke stroke-width stroke-dasharray patternunits patterntransform colspan",
    }
    known = {name for line in allowed for name in line.split()}
    assert {name for _, attributes in page_of(hostile).tags for name in attributes} <= known


def test_control_and_direction_characters_are_gone(hostile: Run) -> None:
    content = report.render(hostile, now=NOW)
    assert not [character for character in "\u202e\u202d\u2066\x00\x1b\x07" if character in content]


def test_long_names_are_cut(hostile: Run) -> None:
    assert "x" * 100 not in page_of(hostile).text
    assert "🚦 emoji" in page_of(hostile).text


def test_the_run_id_cannot_leave_its_attribute(home: Path, tmp_path: Path) -> None:
    run = add_consensus(make_run(make_dataset("odd")))
    folder = tmp_path / 'a" onload="alert(1)><b>'
    run.folder.rename(folder)
    moved = Run(folder)
    check_harmless(page_of(moved))
    written = report.write_report(moved, tmp_path / "r.html")
    assert report.write_report(moved, tmp_path / "r.html") == written  # known as its own report all the same


def test_a_command_stays_one_line(hostile: Run) -> None:
    from mspc_core.report.material import load

    material = load(hostile)
    config = replace(hostile.config(), source="/data/a b;\nrm -rf 'x'\x1b[0m", dataset="evil")
    for line in commands(config, material):
        assert "\n" not in line
        assert "\x1b" not in line
