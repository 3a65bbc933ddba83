"""Tables, lists and indices."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mspc_core.data.importing import import_source
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import InputError
from mspc_core.export.config import ExportConfig
from mspc_core.export.indices import image_folder_order
from mspc_core.export.plan import class_table, make_plan
from mspc_core.export.tables import csv_text, guarded
from mspc_core.export.work import as_bytes
from mspc_core.reviews import ReviewStore
from mspc_core.selection import dropped
from tests.unit.exporting import SIZE, cats_and_dogs, make_run, picture, run_export, scanned, write_tree

SUSPECTS = ("cat/1.jpg", "dog/4.png")


def test_csv_holds_scores_and_decisions(home: Path, tmp_path: Path) -> None:
    dataset, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    ids = dict(zip(dataset.manifest["path"], dataset.manifest["sample_id"], strict=True))
    ReviewStore().decide(run.id, [ids["cat/1.jpg"]], "keep", "ann")
    ReviewStore().decide(run.id, [ids["cat/2.jpg"]], "remove", "bob")
    ReviewStore().undo(run.id, "bob")
    result = run_export(run, "csv", tmp_path / "out.csv")
    rows = {row["path"]: row for row in csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8-sig", newline=""))}
    assert len(rows) == result.samples == 12
    kept = rows["cat/1.jpg"]
    assert (kept["decision"], kept["reviewer"], kept["dropped"], kept["suspect"]) == ("keep", "ann", "False", "True")
    assert (kept["class"], kept["predicted_class"], kept["spc_score"]) == ("cat", "cat", "0.1")
    assert kept["decided_at"].startswith("20")
    assert (rows["cat/2.jpg"]["decision"], rows["cat/2.jpg"]["reviewer"]) == ("", "")
    assert rows["dog/4.png"]["dropped"] == "True"
    assert result.sha256 == hashlib.sha256((tmp_path / "out.csv").read_bytes()).hexdigest()


def test_parquet_holds_the_same_as_csv(home: Path, tmp_path: Path) -> None:
    _, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    run_export(run, "csv", tmp_path / "out.csv")
    run_export(run, "parquet", tmp_path / "out.parquet")
    table = pd.read_parquet(tmp_path / "out.parquet")
    text = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert list(table.columns) == list(text.columns)
    for name in ("sample_id", "path", "class", "decision", "dropped", "spc_score"):
        assert table[name].tolist() == text[name].tolist()


@pytest.mark.parametrize(("keep", "count"), [("clean", 10), ("flagged", 2), ("all", 12), ("", 12)])
def test_keep(home: Path, tmp_path: Path, keep: str, count: int) -> None:
    _, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    run_export(run, "parquet", tmp_path / "out", keep=keep)
    assert len(pd.read_parquet(tmp_path / "out")) == count


def test_an_exported_table_is_a_list_for_the_next_selection(home: Path, tmp_path: Path) -> None:
    _, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    for name in ("flagged.csv", "flagged.parquet"):
        run_export(run, name.partition(".")[2], tmp_path / name, keep="flagged")
        assert dropped(run, f"file:{tmp_path / name}").tolist() == dropped(run, "flagged").tolist()


def test_no_spreadsheet_runs_a_cell(home: Path, tmp_path: Path) -> None:
    """Paths, classes and reviewers that begin like a formula."""
    source = write_tree(
        tmp_path / "source",
        {'=HYPERLINK("x")/+1.png': picture(1), '=HYPERLINK("x")/@a.png': picture(2), "-b/a.png": picture(3)},
    )
    dataset, run = scanned(source)
    ReviewStore().decide(run.id, dataset.manifest["sample_id"].tolist(), "unsure", "=cmd|' /C calc'!A0")
    run_export(run, "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as handle:
        cells = [cell for row in csv.reader(handle) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r")) or cell.startswith("-b")]
    run_export(run, "folder", tmp_path / "out")
    text = (tmp_path / "out" / "manifest.csv").read_text()
    assert not [cell for row in csv.reader(text.splitlines()) for cell in row if cell.startswith(("=", "+", "-", "@"))]


def test_numbers_below_zero_stay_numbers() -> None:
    frame = pd.DataFrame({"score": [-1.5], "-name": ["-x"]})
    assert guarded(frame).to_dict("list") == {"score": [-1.5], "'-name": ["'-x"]}


def test_file_lists(home: Path, tmp_path: Path) -> None:
    _, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    run_export(run, "list", tmp_path / "out.txt", keep="flagged")
    assert (tmp_path / "out.txt").read_text() == "cat/1.jpg\ndog/4.png\n"
    run_export(run, "list", tmp_path / "out.json", keep="flagged")
    assert json.loads((tmp_path / "out.json").read_text()) == list(SUSPECTS)


def test_a_path_with_a_line_break_fits_in_no_plain_list(home: Path, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"cat/a\nb.png": picture(1), "dog/b.png": picture(2)})
    _, run = scanned(source)
    with pytest.raises(InputError, match=r"line break in it: choose a list whose name ends in \.json"):
        run_export(run, "list", tmp_path / "out.txt")
    run_export(run, "list", tmp_path / "out.json")
    assert "cat/a\nb.png" in json.loads((tmp_path / "out.json").read_text())


def test_indices_are_those_of_image_folder(home: Path, tmp_path: Path) -> None:
    """Also where a plain sort of the paths would number them otherwise, and with files that were skipped."""
    from torch.utils.data import Subset
    from torchvision.datasets import ImageFolder

    names = ("a/z.png", "a/sub/1.png", "a/sub-x/1.png", "a-b/1.png", "a-b/2.png", "B/1.png", "a/b.png")
    source = write_tree(tmp_path / "source", {f"train/{name}": picture(n) for n, name in enumerate(names)})
    write_tree(source, {"train/a/broken.png": b"", "train/a/notes.txt": b"", "test/a/1.png": picture(90)})
    write_tree(source, {"test/B/1.png": picture(91)})
    _, run = scanned(source, ("train/a/b.png",))
    result = run_export(run, "indices", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    folder = ImageFolder(str(source / "train"))
    subset = Subset(folder, found["indices"])
    read = {Path(folder.samples[i][0]).relative_to(source).as_posix() for i in subset.indices}
    assert read == {f"train/{name}" for name in names} - {"train/a/b.png"}
    assert "ImageFolder" in found["of"]
    assert any("ImageFolder" in warning for warning in result.warnings)
    run_export(run, "indices", tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").tolist() == found["indices"]


def test_image_folder_order_by_hand() -> None:
    assert image_folder_order(["a-b/1.png", "a/2.png", "a/s/1.png", "a/1.gif", "a/1.JPG"]) == [
        "a/1.JPG",
        "a/2.png",
        "a/s/1.png",
        "a-b/1.png",
    ]


def test_files_that_image_folder_does_not_read(home: Path, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"cat/a.gif": picture(1, "GIF"), "dog/b.png": picture(2)})
    _, run = scanned(source)
    with pytest.raises(InputError, match="ImageFolder does not read 1 of them"):
        run_export(run, "indices", tmp_path / "out.json")


@pytest.mark.parametrize(
    ("kind", "paths", "expected"),
    [
        ("torchvision", ["train/000000", "train/000002", "train/000005"], [0, 5]),
        ("arrays", ["x_train[1]", "x_train[2]", "x_train[3]"], [1, 3]),
        ("lab", ["train/000000", "train/000001", "train/000002"], [0, 2]),
        ("parquet", ["p[0]", "p[1]", "p[2]"], [0, 2]),
    ],
)
def test_indices_of_other_sources(home: Path, tmp_path: Path, kind: str, paths: list[str], expected: list[int]) -> None:
    """Samples that could not be read leave gaps where the source numbers its samples."""
    with DatasetWriter("some", size=SIZE, classes=("a", "b"), kind=kind, source="some") as writer:
        zero = np.zeros((SIZE, SIZE, 3), np.uint8)
        writer.add(zero, identity="t", path="test/000000", label=0, split="test")
        for number, path in enumerate(paths):
            writer.add(zero, identity=f"id{number}", path=path, label=number % 2)
        dataset = writer.commit(source_key="x")
    run = make_run(dataset, [paths[1]])
    run_export(run, "indices", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["indices"] == expected


def test_indices_of_a_table_with_rows_that_were_skipped_say_so(home: Path, tmp_path: Path) -> None:
    source = cats_and_dogs(tmp_path / "source")
    (source / "list.csv").write_text("path,label\nnone.png,cat\ncat/0.jpg,cat\ndog/0.png,dog\n")
    run = make_run(import_source(str(source / "list.csv"), size=SIZE).dataset)
    result = run_export(run, "indices", tmp_path / "out.json")
    assert any("1 rows of the source could not be imported" in warning for warning in result.warnings)


@pytest.mark.parametrize("format", ["csv", "parquet", "list", "indices"])
def test_a_download_is_the_same_file(home: Path, tmp_path: Path, format: str) -> None:
    _, run = scanned(cats_and_dogs(tmp_path / "source"), SUSPECTS)
    run_export(run, format, tmp_path / "out")
    config = ExportConfig(run=run.id, format=format, out="out")
    assert as_bytes(make_plan(run, config)) == (tmp_path / "out").read_bytes()


def test_what_is_dropped_by_class() -> None:
    table = class_table(np.array([0, 0, 2, 2, 2]), np.array([1, 0, 1, 1, 1], bool), ("a", "b", "c"))
    assert table.to_dict("list") == {
        "class": ["a", "c"],
        "samples": [2, 3],
        "dropped": [1, 3],
        "kept": [1, 0],
        "share": [0.5, 1.0],
    }


def test_a_carriage_return_in_a_text_starts_no_cell() -> None:
    """Unquoted, a spreadsheet would end the line at it and run what follows."""
    names = ["a\r=1+1", "b\r\n@x", "=2\r=3", "plain", "full \uff1d1"]
    frame = pd.DataFrame({"path": [*names, "\uff1d1+1"], "score": [1.5] * 6, "flagged": [True] * 6})
    text = csv_text(frame)
    outside = "".join(text.split('"')[::2])  # what no quotes surround
    assert "\r" not in outside
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[0] for row in rows[1:]] == ["a\r=1+1", "b\r\n@x", "'=2\r=3", "plain", "full \uff1d1", "'\uff1d1+1"]
    assert rows[1][1:] == ["1.5", "True"]
    assert csv_text(frame.iloc[3:4]) == "path,score,flagged\nplain,1.5,True\n"
