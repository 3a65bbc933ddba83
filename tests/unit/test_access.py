"""What a user of a served app may do: other people's jobs, runs and data, and paths on the server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mspc_core import access, jobs, runs, scan_checks, work
from mspc_core import home as places
from mspc_core.data import store
from mspc_core.data.source import open_source
from mspc_core.errors import InputError
from mspc_core.export import target
from mspc_core.maps import job as maps
from mspc_core.reviews import ReviewStore
from mspc_core.runs import Run, ScanConfig
from mspc_core.selection import read_ids
from tests.ui.conftest import make_dataset, make_run

As = Callable[[str | None], None]


@pytest.fixture
def acting(home: Path, monkeypatch: pytest.MonkeyPatch) -> As:
    """acting("ann"): from now on the code runs for that user."""

    def become(name: str | None) -> None:
        monkeypatch.setattr(access, "_ask", lambda: name)

    for name in [name for name in os.environ if name.startswith("BACKDOOR_LENS_") and name != "BACKDOOR_LENS_HOME"]:
        monkeypatch.delenv(name)
    become(None)
    return become


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the server opens, next to one that it does not."""
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "closed" / "list.txt").write_text("a-sample\n")
    (tmp_path / "open" / "list.txt").write_text("a-sample\n")
    monkeypatch.setenv("BACKDOOR_LENS_ROOTS", str(tmp_path / "open"))
    return tmp_path / "open"


def new_job() -> Path:
    return jobs.create(places.runs_folder(), {"kind": "test"}, "a job")


def test_without_a_login_nothing_is_recorded_and_nothing_refused(acting: As) -> None:
    folder = new_job()
    assert not (folder / access.OWNER).exists()
    acting("ann")
    assert access.may_change(folder)  # from before: anybody's
    jobs.cancel(folder)
    acting(None)
    assert jobs.read_status(folder).state == "cancelled"


def test_a_job_is_cancelled_and_resumed_by_its_user_alone(acting: As, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: None)
    acting("ann")
    folder = new_job()
    assert json.loads((folder / "owner.json").read_text()) == {"user": "ann"}
    acting("bob")
    for change in (jobs.cancel, jobs.start):
        with pytest.raises(InputError, match="belongs to 'ann': only its owner"):
            change(folder)
    assert not (folder / "cancel").exists()
    acting("ann")
    jobs.cancel(folder)
    assert jobs.read_status(folder).state == "cancelled"
    jobs.start(folder)
    assert jobs.read_status(folder).active
    acting(None)  # whoever runs the server, on the command line
    jobs.cancel(folder)
    assert jobs.read_status(folder).state == "cancelled"


def test_runs_and_data_sets_are_deleted_by_their_user_alone(acting: As) -> None:
    acting("ann")
    run = runs.create_run(ScanConfig(source="demo"))
    jobs.cancel(run.folder)
    make_dataset("hers")
    acting("bob")
    with pytest.raises(InputError, match="belongs to 'ann'"):
        runs.delete_run(run)
    with pytest.raises(InputError, match="belongs to 'ann'"):
        store.delete_dataset("hers")
    assert run.folder.is_dir()
    assert [info.name for info in store.list_datasets()] == ["hers"]
    acting("ann")
    runs.delete_run(run)
    store.delete_dataset("hers")
    assert not run.folder.exists()
    assert store.list_datasets() == []


def test_a_map_is_taken_up_by_whoever_asks_for_it_again(acting: As) -> None:
    run = make_run(make_dataset())
    acting("ann")
    folder = maps.prepare(run)
    acting("bob")
    with pytest.raises(InputError, match="being made already"):
        maps.prepare(run)
    with pytest.raises(InputError, match="belongs to 'ann'"):
        jobs.cancel(folder)
    acting("ann")
    jobs.cancel(folder)
    acting("bob")
    assert access.owner(maps.prepare(run)) == "bob"


def test_what_was_there_before_is_anybodys(acting: As) -> None:
    make_dataset("old")
    run = Run(new_job())
    jobs.cancel(run.folder)
    acting("bob")
    runs.delete_run(run)
    store.delete_dataset("old")
    assert not run.folder.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"user": 3}', '{"user": "ann"', "{}"])
def test_a_damaged_owner_is_nobody(acting: As, content: str) -> None:
    folder = new_job()
    (folder / "owner.json").write_text(content)
    acting("ann")
    with pytest.raises(InputError, match="cannot be read"):
        jobs.cancel(folder)


def test_the_process_of_a_job_works_for_its_user_and_knows_no_token(
    acting: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *_, env, **__: seen.append(env))
    monkeypatch.setenv("BACKDOOR_LENS_TOKEN", "correct-horse-battery")
    acting("ann")
    jobs.start(new_job())
    acting(None)
    jobs.start(new_job())
    assert [env["BACKDOOR_LENS_USER"] for env in seen] == ["ann", ""]
    assert not any("BACKDOOR_LENS_TOKEN" in env for env in seen)
    for value, expected in (("ann", "ann"), ("", None)):
        monkeypatch.setenv("BACKDOOR_LENS_USER", value)
        assert access.from_environment() == expected


def test_decisions_carry_the_user_whatever_name_is_given(acting: As) -> None:
    decisions = ReviewStore()
    acting("ann")
    decisions.decide("run", ["a"], "remove", "bob")
    acting("bob")
    decisions.decide("run", ["b"], "keep", "ann")
    assert [(entry.sample_id, entry.reviewer) for entry in decisions.history("run")] == [("a", "ann"), ("b", "bob")]
    assert decisions.undo("run", "ann") == ["b"]  # bob takes back his own, though he says he is ann
    assert decisions.current("run") == {"a": "remove"}


# --- paths ----------------------------------------------------------------------------------------------------------


def test_without_a_login_every_path_may_be_named(acting: As, root: Path) -> None:
    access.check_readable(root.parent / "closed" / "list.txt")
    access.check_writable("/anywhere")


@pytest.mark.parametrize(
    "inside", ["", "list.txt", "not-there-yet", "deep/er/new.csv", "../open/list.txt", "./list.txt"]
)
def test_paths_inside_of_a_root(acting: As, root: Path, inside: str) -> None:
    acting("ann")
    access.check_readable(root / inside)
    access.check_writable(f"{root}/{inside}")


@pytest.mark.parametrize(
    "outside",
    [
        "../closed/list.txt",
        "../closed",
        "..",
        "x/../../closed/list.txt",
        "../open-but-longer/list.txt",
        "link/list.txt",
        "link",
        "dangling",
        "absolute.txt",
        "/etc/passwd",
        "~",
        "a\0b",
    ],
)
def test_paths_that_lead_out_of_it(acting: As, root: Path, outside: str) -> None:
    (root / "link").symlink_to("../closed")
    (root / "dangling").symlink_to(root.parent / "closed" / "new")
    (root / "absolute.txt").symlink_to(root.parent / "closed" / "list.txt")
    (root.parent / "open-but-longer").mkdir()
    acting("ann")
    path = outside if outside in ("~",) else os.path.join(root, outside)
    for check in (access.check_readable, access.check_writable):
        with pytest.raises(InputError, match="outside of what this server opens"):
            check(path)


def test_a_refusal_says_nothing_about_what_is_there(acting: As, root: Path) -> None:
    acting("ann")
    messages = set()
    for name in ("list.txt", "lisst.txt"):
        with pytest.raises(InputError) as caught:
            open_source(str(root.parent / "closed" / name))
        messages.add(str(caught.value).replace(name, "…"))
    assert len(messages) == 1


def test_every_way_to_name_a_path_is_checked(acting: As, root: Path) -> None:
    closed = root.parent / "closed"
    (closed / "set.npz").write_bytes(b"")
    (closed / "weights.safetensors").write_bytes(b"")
    acting("ann")
    for refused in (
        lambda: open_source(str(closed / "set.npz")),
        lambda: read_ids(closed / "list.txt"),
        lambda: target.check_target(str(closed / "out.csv"), None, places.runs_folder()),
        lambda: scan_checks.check(ScanConfig(source="demo", checkpoint=str(closed / "weights.safetensors"))),
    ):
        with pytest.raises(InputError, match="outside of what this server opens"):
            refused()
    assert read_ids(root / "list.txt") == ["a-sample"]
    assert target.check_target(str(root / "out.csv"), None, places.runs_folder()) == root / "out.csv"
    assert open_source("cifar10").kind == "torchvision"  # a name, not a path


def test_the_process_of_a_job_checks_again(acting: As, root: Path) -> None:
    """What was allowed when it was asked for may be a link to somewhere else by now."""
    folder = jobs.create(
        places.imports_folder(), {"kind": "import", "source": str(root.parent / "closed"), "name": "", "size": 32}, "x"
    )
    acting("ann")
    status = work.work_on(folder)
    assert status.state == "failed"
    assert "outside of what this server opens" in (status.error or "")


def test_a_server_without_roots_says_what_to_do_instead(acting: As, tmp_path: Path) -> None:
    acting("ann")
    with pytest.raises(InputError, match="upload or download instead"):
        access.check_readable(tmp_path)


def test_uploads_are_their_users_alone(acting: As) -> None:
    from ui import data_view

    acting("ann")
    path = data_view.save_upload("set.npz", memoryview(b"bytes"))
    access.check_readable(path)
    with pytest.raises(InputError):
        access.check_readable(path.parent.parent)
    with pytest.raises(InputError):
        access.check_writable(path)
    acting("bob")
    with pytest.raises(InputError):
        access.check_readable(path)
