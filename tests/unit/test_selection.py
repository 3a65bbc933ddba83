"""What is dropped, by each rule, on a table of six samples."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mspc_core import selection
from mspc_core.errors import InputError
from mspc_core.selection import dropped, read_ids, select

SCORES = pd.DataFrame(
    {
        "sample_id": list("abcdef"),
        "path": list("abcdef"),
        "label": [0] * 6,
        "predicted": [0] * 6,
        "confidence": [1.0] * 6,
        "row": range(6),
        "spc_flagged": [True, False, False, False, False, True],
        "suspect": [True, True, False, False, False, False],
    }
)
DECISIONS = {"a": "keep", "c": "remove", "b": "unsure", "z": "remove"}  # z was scanned by nobody


def ids(mask: object) -> str:
    return "".join(SCORES["sample_id"][mask])


def test_flagged_is_the_verdict_whatever_was_decided() -> None:
    assert ids(select(SCORES, "flagged", decisions=DECISIONS)) == "ab"


def test_rejected_is_what_people_removed() -> None:
    assert ids(select(SCORES, "rejected", decisions=DECISIONS)) == "c"
    assert ids(select(SCORES, "rejected")) == ""


def test_reviewed_is_the_verdict_corrected() -> None:
    """keep is kept, remove is dropped; unsure and undecided stay as the verdict has them."""
    assert ids(select(SCORES, "reviewed", decisions=DECISIONS)) == "bc"
    assert ids(select(SCORES, "reviewed")) == "ab"


def test_one_detector() -> None:
    assert ids(select(SCORES, "detector:spc")) == "af"
    with pytest.raises(InputError, match=r"'mspc' has no result in this run: it has spc\."):
        select(SCORES, "detector:mspc")


def test_a_list_of_ids() -> None:
    assert ids(select(SCORES, "file:x", listed=["f", "a", "a"])) == "af"
    with pytest.raises(InputError, match=r"names 2 samples that this run did not scan \(first: 'x'\)"):
        select(SCORES, "file:x", listed=["a", "y", "x"])


@pytest.mark.parametrize("how", ["", "clean", "detector:", "file:", "Flagged"])
def test_unknown_rules(how: str) -> None:
    with pytest.raises(InputError, match="does not say what to drop"):
        select(SCORES, how)


def test_no_verdict_yet() -> None:
    with pytest.raises(InputError, match="no verdict yet"):
        select(SCORES.drop(columns="suspect"), "flagged")
    assert not select(SCORES.drop(columns="suspect"), "rejected").any()


def test_the_input_is_not_changed() -> None:
    before = SCORES.copy()
    found = select(SCORES, "flagged")
    found[:] = False
    pd.testing.assert_frame_equal(SCORES, before)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "a\n\n f \r\n"),
        ("list.json", json.dumps(["a", "f"])),
        ("list.csv", "path,sample_id\n1.png,a\n2.png,f\n"),
        ("bom.csv", "\ufeffsample_id\na\nf\n"),
    ],
)
def test_lists_on_disk(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert read_ids(path) == ["a", "f"]


def test_a_parquet_list(tmp_path: Path) -> None:
    SCORES.iloc[[0, 5]].to_parquet(tmp_path / "list.parquet")
    assert read_ids(tmp_path / "list.parquet") == ["a", "f"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.txt", b"\n", "lists no sample"),
        ("binary.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("list.json", b'{"a": 1}', "no JSON list"),
        ("list.json", b"[1, 2]", "no JSON list"),
        ("list.csv", b"path\na\n", "no column 'sample_id'"),
        ("list.parquet", b"PAR1", "no Parquet file"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_ids(tmp_path / name)


def test_lists_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no list of samples at"):
        read_ids(tmp_path / "none.txt")
    with pytest.raises(InputError, match="is a folder"):
        read_ids(tmp_path)


def test_dropped_reads_run_and_decisions(home: Path, tmp_path: Path) -> None:
    from mspc_core.reviews import ReviewStore
    from mspc_core.runs import ScanConfig, create_run

    run = create_run(ScanConfig(source="x", dataset="x"))
    run.save_scores(SCORES)
    assert ids(dropped(run, "reviewed")) == "ab"
    ReviewStore().decide(run.id, ["b"], "keep")
    ReviewStore().decide(run.id, ["f"], "remove")
    assert ids(dropped(run, "reviewed")) == "af"
    assert ids(dropped(run, "rejected")) == "f"
    assert ids(dropped(run, "flagged")) == "ab"
    (tmp_path / "mine.txt").write_text("d\n")
    assert ids(dropped(run, f"file:{tmp_path / 'mine.txt'}")) == "d"
    for how in ("flagged", "rejected", "reviewed", "detector:spc", "file:a.txt"):
        assert selection.describe(how)
