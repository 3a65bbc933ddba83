"""Untrusted text stays text; numbers read well."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mspc_core.jobs import JobStatus
from tests.ui.conftest import make_dataset
from ui import data_view, job_panel
from ui.text import count, duration, percent, plain, plotly_text, plural, short


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("speed 80", "speed 80"),
        ("<b>", "\\<b\\>"),
        ("a*b_c", "a\\*b\\_c"),
        ("# head", "\\# head"),
        ("", "\\(empty\\)"),
        ("a\n\nb\tc", "a b c"),
        ("a\u202eb\x00c", "abc"),
        ("🛑 👩‍🏫", "🛑 👩‍🏫"),
        ("قف", "\u2068قف\u2069"),  # by itself: "قف (99 %)" would be shown as "(% 99) فق"
    ],
)
def test_plain_escapes_markup(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize("text", [":red[x]", ":smile:", ":material/home:", "https://a.b", "www.a.b", "me@a.b"])
def test_plain_breaks_codes_and_links(text: str) -> None:
    assert text not in plain(text).replace("\\", "") or text == ":red[x]"
    assert "[" not in plain(text).replace("\\[", "")


def test_long_text_is_cut() -> None:
    assert short("x" * 500, 10) == "x" * 9 + "…"
    assert plotly_text("<a href='x'>y</a>") == "&lt;a href='x'&gt;y&lt;/a&gt;"


def test_numbers() -> None:
    assert count(12345) == "12,345"
    assert [plural(1, "image"), plural(0, "class", "classes")] == ["1 image", "0 classes"]
    assert [percent(x) for x in (0.1234, None, 1.0, 0.99999, 0.00001, float("nan"))] == [
        "12.3 %",
        "–",
        "100.0 %",
        "> 99.9 %",
        "< 0.1 %",
        "–",
    ]
    assert [duration(x) for x in (None, 5, 75, 1500, 7300)] == ["unknown", "5 s", "1 min 15 s", "25 min", "2 h 1 min"]


def test_stage_marks() -> None:
    status = JobStatus(state="running", stage="model", stages=["data", "model", "spc"])
    assert [mark for _, mark in job_panel.stage_marks(status)] == ["done", "current", "pending"]
    ended = JobStatus(state="failed", stage="model", stages=["data", "model"])
    assert [mark for _, mark in job_panel.stage_marks(ended)] == ["done", "stopped"]
    assert [mark for _, mark in job_panel.stage_marks(JobStatus(state="finished", stages=["data"]))] == ["done"]


def test_progress_and_heartbeat_lines() -> None:
    running = JobStatus(state="running", progress=0.42, eta=61, message="epoch 3 of 40", heartbeat=100.0)
    assert job_panel.progress_line(running) == "42 % · about 1 min 1 s left · epoch 3 of 40"
    assert "just now" in job_panel.heartbeat_line(running, 101.0)
    assert "No sign of life for 1 min 30 s" in job_panel.heartbeat_line(running, 190.0)


def test_csv_cells_are_no_formulas() -> None:
    frame = pd.DataFrame({"path": ["=1+1", "+a", "-b", "@c", "\td", "e=f"], "n": [-1, 2, 3, 4, 5, 6]})
    lines = data_view.safe_csv(frame).decode("utf-8-sig").splitlines()
    assert lines[1:] == ["'=1+1,-1", "'+a,2", "'-b,3", "'@c,4", "'\td,5", "e=f,6"]


def test_class_table_and_rows() -> None:
    dataset = make_dataset(classes=("a", "b", "c", "d"))
    table = data_view.class_table(dataset)
    assert table.columns.tolist() == ["class", "train", "test", "all"]
    assert table["all"].tolist() == [9, 15, 21, 15]
    rows = data_view.chosen_rows(dataset, 2, "test")
    assert (dataset.manifest["label"].iloc[rows] == 2).all()
    assert len(rows) == table["test"][2]


def test_contact_sheet_is_one_picture() -> None:
    import io

    from PIL import Image

    images = np.full((5, 16, 16, 3), 200, dtype=np.uint8)
    picture = Image.open(io.BytesIO(data_view.contact_sheet(images, columns=3, tile=32, gap=4)))
    assert (picture.size, picture.mode) == ((3 * 36 - 4, 2 * 36 - 4), "RGBA")
    assert picture.getpixel((33, 0))[3] == 0
    assert picture.getpixel((0, 0)) == (200, 200, 200, 255)
