"""What a worker does with one case. Each may raise `InputError`; where it does not, what it made has to be valid."""

from __future__ import annotations

import csv
import ctypes
import io
import logging
import os
import pickle
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz import reading

Target = Callable[[Path, dict[str, Any]], None]
_log: list[str] = []


def warm_up() -> None:
    """Import everything first: what an import reads is not what a case reads."""
    import pandas
    import pyarrow.parquet
    import safetensors.torch
    import torch
    from PIL import Image

    from mspc_core.data import archive, arrays, importing, parquet, table
    from mspc_core.models import checkpoint, zoo

    Image.init()
    torch.set_num_threads(1)
    zoo.build_model(_spec())
    modules = (pandas, pyarrow.parquet, safetensors.torch, archive, arrays, importing, parquet, table, checkpoint)
    assert all(modules)


def bad_sentence(text: str) -> str | None:
    """What is wrong with a message for people; None if it is one short printable sentence."""
    if "\n" in text or "\r" in text or "Traceback" in text:
        return "more than a sentence"
    if len(text) > 700:
        return "a flood of text"
    if not text.strip() or any(unicodedata.category(char) in ("Cs", "Cc") for char in text):
        return "not printable"
    return None


def image(folder: Path, options: dict[str, Any]) -> None:
    """One image file's bytes."""
    import numpy as np

    from mspc_core.data.decode import UnreadableImage, decode_image
    from mspc_core.errors import InputError

    try:
        decoded = decode_image((folder / "image").read_bytes(), 32)
    except UnreadableImage as error:
        raise InputError(error.reason) from None
    assert decoded.image.shape == (32, 32, 3)
    assert decoded.image.dtype == np.uint8
    assert decoded.width > 0 < decoded.height


def source(folder: Path, options: dict[str, Any]) -> None:
    """Anything that can be imported; the imported set is read back, and exported as a table would be."""
    from mspc_core.data.importing import import_source

    dataset = import_source(str(folder / options["entry"]), size=16, workers=2).dataset
    check_dataset(dataset)


def check_dataset(dataset: Any) -> None:
    info, manifest = dataset.info, dataset.manifest
    assert len(manifest) == info.count == len(dataset.pixels)
    assert manifest["label"].between(0, len(info.classes) - 1).all()
    assert manifest["sample_id"].is_unique
    skipped = dataset.skipped()
    assert len(skipped) == info.skipped
    texts = [*info.classes, info.source, *manifest["path"], *skipped["path"], *skipped["reason"]]
    assert all(isinstance(text, str) and text.encode() is not None for text in texts)
    assert dataset.pixels[0].sum() >= 0


def checkpoint(folder: Path, options: dict[str, Any]) -> None:
    """Weights that a user was given."""
    import torch

    from mspc_core.models.checkpoint import load_checkpoint

    model = load_checkpoint(folder / options["entry"], _spec())
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 4)


def _spec() -> Any:
    from mspc_core.models.zoo import ModelSpec

    return ModelSpec("small-cnn", 4, 16)


def run_folder(folder: Path, options: dict[str, Any]) -> None:
    """A run folder in the home: all that is read of it. Several parts are tried, whatever the ones before said."""
    from mspc_core import runs
    from mspc_core.errors import InputError

    refused = [error for run in runs.list_runs() for part in _parts(run, options) if (error := _refusal(part))]
    if refused:
        raise InputError(refused[0])


def _refusal(part: Callable[[], Any]) -> str:
    """The sentence with which a part is refused, "" where it is not."""
    from mspc_core.errors import InputError

    try:
        part()
        return ""
    except InputError as error:
        text = str(error)
    if problem := bad_sentence(text):
        raise AssertionError(f"{problem}: {text[:300]!r}")
    return text


def _parts(run: Any, options: dict[str, Any]) -> list[Callable[[], Any]]:
    from mspc_core.models.checkpoint import load_saved_model
    from mspc_core.retrain import chain, confirmed, kept

    return [
        *(run.config, run.status, run.summary, run.scores, run.masks, run.dataset),
        lambda: run.stage("spc"),
        lambda: check_dataset(run.dataset()),
        lambda: load_saved_model(run.folder),
        lambda: chain.chain_of(run),
        lambda: confirmed.read(run),
        lambda: kept.choice_of(run.folder, run.config().exclude),
        lambda: _map(run),
        *([lambda: _exports(run)] if options.get("exports", True) else []),
        *([lambda: _report(run)] if options.get("report") else []),
    ]


def _map(run: Any) -> None:
    from mspc_core.maps import store

    key = store.key_of(run, run.scores()["row"].to_numpy())
    store.features_of(run, key)
    store.map_of(run, store.PCA, key)


def _exports(run: Any) -> None:
    """The table of a run as CSV: it reads back, and holds nothing that a spreadsheet would run."""
    from mspc_core.export.config import ExportConfig
    from mspc_core.export.plan import make_plan
    from mspc_core.export.tables import decision_table, write_csv, write_list

    plan = make_plan(run, ExportConfig(run.id, "csv", "x.csv"))
    frame, written = decision_table(plan), io.BytesIO()
    write_csv(frame, written, None, None)
    rows = list(csv.reader(io.StringIO(written.getvalue().decode("utf-8-sig"), newline="")))
    assert len(rows) == len(frame) + 1
    for cell in (cell for row in rows for cell in row):
        assert not is_formula(cell), cell
    write_list(plan, io.BytesIO(), as_json=True)


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run this cell. Plain numbers may start with a sign."""
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _report(run: Any) -> None:
    from mspc_core import report
    from tests.unit.report.page import Page, check_harmless

    content = report.render(run)
    check_harmless(Page(content))
    assert "<script" not in content.lower()


def report_file(folder: Path, options: dict[str, Any]) -> None:
    """The report of the one run in the home, with decisions that people with odd names have made, as a file."""
    from mspc_core import home, report, runs
    from mspc_core.reviews.store import ReviewStore
    from tests.unit.report.page import Page, check_harmless

    (run,) = runs.list_runs()
    samples = [str(sample) for sample in run.scores()["sample_id"]]
    for place, decision, reviewer in options["decisions"]:
        ReviewStore().decide(run.id, [samples[place]], decision, reviewer)
    written = report.write_report(run, home.home() / "report.html").html
    content = written.read_text(encoding="utf-8")
    check_harmless(Page(content))
    assert "<script" not in content.lower()
    assert len(content) < 8_000_000, len(content)


def page(folder: Path, options: dict[str, Any]) -> None:
    """A page of the app, as a browser would get it."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    root = Path(__file__).resolve().parents[2]
    if not _log:
        _log.append("")
        handler = logging.Handler()
        handler.emit = (
            lambda record: _log.append(  # type: ignore[method-assign]
                logging.Formatter().format(record)[-2500:]
            )
        )
        logging.getLogger("backdoor_lens.ui").addHandler(handler)
    del _log[1:]
    for name in ("streamlit", "streamlit.runtime.caching.cache_data_api"):
        logging.getLogger(name).setLevel(logging.ERROR)
    st.cache_data.clear()
    st.cache_resource.clear()
    at = AppTest.from_file(str(root / "app.py"), default_timeout=120)
    for key, value in options["query"].items():
        at.query_params[key] = value
    at.run()
    if options["page"] != "home":
        at.switch_page(f"pages/{options['page']}.py").run()
    assert not at.exception, at.exception[0].stack_trace
    assert not _log[1:], _log[1]
    for element in at.markdown:
        assert not element.allow_html, element.value


def link(folder: Path, options: dict[str, Any]) -> None:
    """Everything that is parsed out of an address, without drawing a page."""
    import pandas as pd

    from mspc_core import home, picks
    from ui import filter_query, inspect_state, learn_walk, state, text

    query: dict[str, str] = options["query"]
    wanted, lost = filter_query.from_query(query, ["spc", "mspc", "transplant"], 4)
    again, nothing = filter_query.from_query(filter_query.to_query(wanted), ["spc", "mspc", "transplant"], 4)
    assert again == wanted or wanted.ranges or wanted.text
    assert not nothing
    assert all(len(sentence) < 300 for sentence in lost)
    assert all(chip.label for chip in filter_query.chips(wanted, ["a", "b", "c", "d"]))
    for value in query.values():
        assert state._page_of(value) in state.PAGES
        learn_walk.number_of(value, 5)
        inspect_state.parse_pins(value, pd.Series(["a" * 16, "b" * 16]))
        shown = text.plain(value)
        assert "\n" not in shown
        assert "<" not in shown.replace("\\<", "")
        for strict in (inspect_state.parse_scales, home.check_name):
            _refusal(partial(strict, value))
        assert not picks.valid_name(value) or len(value) == 16


def watched(folder: Path, options: dict[str, Any]) -> None:
    """What no case may do: the tests of the watch and of the limits ask for it."""
    import pyarrow

    deeds: dict[str, Callable[[], Any]] = {
        "pickle": lambda: pickle.loads((folder / "pickle").read_bytes()),
        "system": lambda: os.system("true"),
        "read": lambda: (folder.parent / "secret.png").read_bytes(),
        "write": lambda: (folder.parent / "written.txt").write_text("x"),
        "link": lambda: (folder / "link").read_bytes(),
        "loop": _for_ever,
        "memory": lambda: [bytearray(2**28) for _ in range(64)],
        "exit": lambda: os._exit(0),
        "crash": lambda: ctypes.string_at(0),
        "native read": lambda: pyarrow.OSFile(str(folder.parent / "secret.png")).read(),
    }
    deeds[options["deed"]]()


def _for_ever() -> None:
    while True:
        pass


TARGETS: dict[str, Target] = {
    "watched": watched,
    "image": image,
    "source": source,
    "checkpoint": checkpoint,
    "run": run_folder,
    "report": report_file,
    "page": page,
    "link": link,
    "text": reading.text,
    "list": reading.listed,
}
