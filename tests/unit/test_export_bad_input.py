"""What an export refuses, in one sentence, with nothing written and nothing lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mspc_core import atomic
from mspc_core import home as places
from mspc_core.errors import Cancelled, InputError
from mspc_core.export import images, target
from mspc_core.export.config import ExportConfig
from mspc_core.export.work import SourceChangedError, export
from mspc_core.runs import Run
from tests.unit.exporting import cats_and_dogs, files_of, leftovers, make_run, picture, run_export, scanned

ALL_FORMATS = ("csv", "parquet", "list", "indices", "folder", "zip", "hf", "fiftyone")
IMAGE_FORMATS = ("folder", "zip", "hf", "fiftyone")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path / "source")


@pytest.fixture
def run(home: Path, source: Path) -> Run:
    return scanned(source, ("cat/1.jpg",))[1]


@pytest.mark.parametrize("format", ALL_FORMATS)
def test_the_target_exists(run: Run, tmp_path: Path, format: str) -> None:
    out = tmp_path / "mine"
    out.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        run_export(run, format, out)
    assert out.read_text() == "precious"
    out.unlink()
    out.symlink_to(tmp_path / "nowhere")  # a dangling link is something too
    with pytest.raises(InputError, match="exists already"):
        run_export(run, format, out)


@pytest.mark.parametrize("format", ALL_FORMATS)
def test_the_target_lies_in_the_source(run: Run, source: Path, tmp_path: Path, format: str) -> None:
    before = files_of(source)
    (tmp_path / "alias").symlink_to(source)
    for out in (source / "out", source / "cat" / "out", tmp_path / "alias" / "out", source / "cat" / ".." / "out"):
        with pytest.raises(InputError, match="lies inside the source"):
            run_export(run, format, out)
    assert files_of(source) == before


def test_the_target_holds_the_source(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds the source"):
        run_export(run, "folder", tmp_path)


def test_the_target_lies_among_the_tools_own_files(run: Run) -> None:
    for folder in (places.datasets_folder(), places.runs_folder(), run.folder):
        with pytest.raises(InputError, match="own files"):
            run_export(run, "csv", folder / "out.csv")


@pytest.mark.parametrize(("out", "sentence"), [("", "No place"), ("  ", "No place"), ("a\0b", "No place")])
def test_no_target(run: Run, out: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        export(ExportConfig(run=run.id, format="csv", out=out))


def test_no_folder_to_put_it_in(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        run_export(run, "csv", tmp_path / "none" / "out.csv")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("format", IMAGE_FORMATS)
def test_a_full_disk_is_seen_before(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    monkeypatch.setattr(target.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match=r"the disk has 0\.00 GiB free"):
        run_export(run, format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.ENOSPC, "The disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "No permission")],
)
@pytest.mark.parametrize("format", ["folder", "zip", "fiftyone"])
def test_a_disk_that_fails_half_way(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, number: int, sentence: str
) -> None:
    written = []
    for sink in (images.FolderSink, images.ZipSink):
        real = sink.write

        def failing(self: object, name: str, content: bytes, real=real) -> None:  # type: ignore[no-untyped-def]
            written.append(name)
            if len(written) > 5:
                raise OSError(number, "refused", name)
            real(self, name, content)

        monkeypatch.setattr(sink, "write", failing)
    with pytest.raises(InputError, match=sentence):
        run_export(run, format, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(run: Run, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="No permission"):
        run_export(run, "csv", tmp_path / "locked" / "out.csv")


@pytest.mark.parametrize("format", IMAGE_FORMATS)
def test_files_that_changed_or_vanished(run: Run, source: Path, tmp_path: Path, format: str) -> None:
    (source / "cat" / "0.jpg").write_bytes(picture(999, "JPEG"))
    (source / "dog" / "2.png").unlink()
    (source / "cat" / "1.jpg").unlink()  # dropped anyway: nobody asks for it
    out = tmp_path / "out"
    with pytest.raises(SourceChangedError, match="2 of 11 images cannot be exported") as caught:
        run_export(run, format, out)
    problems = [("cat/0.jpg", "changed since it was imported"), ("dog/2.png", "not in the source any more")]
    assert sorted(caught.value.problems) == problems
    assert not out.exists()
    assert not leftovers(tmp_path)
    result = run_export(run, format, out, skip_changed=True)
    assert result.samples == 9
    assert sorted(result.left_out) == problems
    assert any("2 images were left out" in warning for warning in result.warnings)


@pytest.mark.parametrize("kind", ["zip", "parquet"])
def test_a_source_in_one_file_that_changed(home: Path, source: Path, tmp_path: Path, kind: str) -> None:
    from tests.unit.test_export_images import _packed

    packed = _packed(source, kind, tmp_path)
    _, run = scanned(packed)
    (source / "cat" / "0.jpg").write_bytes(picture(999, "JPEG"))
    packed.unlink()
    _packed(source, kind, tmp_path)
    with pytest.raises(SourceChangedError, match="changed since it was imported"):
        run_export(run, "folder", tmp_path / "out")
    packed.write_bytes(b"no longer an archive or a table")
    with pytest.raises(InputError, match="damaged"):
        run_export(run, "folder", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


def test_links_that_lead_out_of_the_source_since_the_import(run: Run, source: Path, tmp_path: Path) -> None:
    """The file has the same bytes, but it is not the source's any more."""
    secret = tmp_path / "secret.jpg"
    (source / "cat" / "0.jpg").rename(secret)
    (source / "cat" / "0.jpg").symlink_to(secret)
    with pytest.raises(SourceChangedError, match="leads out of the folder"):
        run_export(run, "folder", tmp_path / "out")


def test_recorded_paths_cannot_leave_the_source(run: Run, source: Path, tmp_path: Path) -> None:
    """A manifest that somebody tampered with reads no other files."""
    (tmp_path / "secret.png").write_bytes(picture(1))
    dataset = run.dataset()
    table = dataset.manifest.copy()
    table.loc[0, "path"] = "../secret.png"
    table.loc[1, "path"] = str(tmp_path / "secret.png")
    table.to_parquet(dataset.root / "manifest.parquet", index=False)
    with pytest.raises(SourceChangedError) as caught:
        run_export(run, "folder", tmp_path / "out", keep="all")
    assert {reason for _, reason in caught.value.problems} == {"a path that leads out of the source"}


@pytest.mark.parametrize("format", ALL_FORMATS)
def test_nothing_flagged(home: Path, source: Path, tmp_path: Path, format: str) -> None:
    _, run = scanned(source)
    with pytest.raises(InputError, match="Nothing is flagged"):
        run_export(run, format, tmp_path / "out", keep="flagged")
    result = run_export(run, format, tmp_path / "out", keep="clean")
    assert any("Nothing is dropped" in warning for warning in result.warnings)


def test_everything_of_a_class_is_dropped_with_a_warning(home: Path, source: Path, tmp_path: Path) -> None:
    _, run = scanned(source, [f"cat/{number}.jpg" for number in range(6)])
    result = run_export(run, "folder", tmp_path / "out")
    assert any("Every sample of the class 'cat' is dropped" in warning for warning in result.warnings)
    assert result.samples == 6


def test_everything_is_dropped(home: Path, source: Path, tmp_path: Path) -> None:
    dataset, _ = scanned(source)
    run = make_run(dataset, dataset.manifest["path"].tolist())
    with pytest.raises(InputError, match="Everything is dropped"):
        run_export(run, "csv", tmp_path / "out.csv", keep="clean")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": "tfrecord"}, "no export format 'tfrecord'"),
        ({"keep": "some"}, "clean, flagged, all"),
        ({"drop": "some"}, "does not say what to drop"),
        ({"drop": "detector:mspc"}, "'mspc' has no result"),
        ({"pixels": "half"}, "original or stored"),
        ({"link": True, "format": "zip"}, "Hard links are for"),
        ({"run": "none"}, "does not exist any more"),
        ({"run": "../x y"}, "does not exist any more"),
    ],
)
def test_settings_that_mean_nothing(run: Run, tmp_path: Path, options: dict[str, object], sentence: str) -> None:
    config = {"run": run.id, "format": "csv", "out": str(tmp_path / "out"), **options}
    with pytest.raises(InputError, match=sentence):
        export(ExportConfig(**config))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_was_deleted(run: Run, tmp_path: Path) -> None:
    from mspc_core.data import store

    store.delete_dataset(run.dataset().info.name)
    with pytest.raises(InputError, match="There is no stored data set"):
        run_export(run, "folder", tmp_path / "out")
    run_export(run, "csv", tmp_path / "out.csv")  # tables need no images


@pytest.mark.parametrize("format", ALL_FORMATS)
@pytest.mark.parametrize("looks", [0, 1])
def test_cancelled(run: Run, tmp_path: Path, format: str, looks: int) -> None:
    """Before the first image, and later: nothing is left."""
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > looks

    with pytest.raises(Cancelled):
        export(ExportConfig(run=run.id, format=format, out=str(tmp_path / "out")), should_stop=stop)
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("format", IMAGE_FORMATS)
def test_interrupted_by_the_keyboard(run: Run, tmp_path: Path, format: str) -> None:
    def interrupt(done: int, total: int, message: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(ExportConfig(run=run.id, format=format, out=str(tmp_path / "out")), progress=interrupt)
    assert not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


def test_somebody_takes_the_name_meanwhile(run: Run, tmp_path: Path) -> None:
    def take(done: int, total: int, message: str) -> None:
        (tmp_path / "out").mkdir(exist_ok=True)

    with pytest.raises(InputError, match="meanwhile"):
        export(ExportConfig(run=run.id, format="folder", out=str(tmp_path / "out")), progress=take)
    assert not any((tmp_path / "out").iterdir())
    assert not leftovers(tmp_path)


def test_what_a_killed_export_left_goes_with_the_next_one(run: Run, tmp_path: Path) -> None:
    """Only what nobody is writing any more, and only what was meant for the same place."""
    places_left = [
        tmp_path / f".tmp-{digit * 12}-{name}" for digit, name in (("a", "out"), ("b", "out"), ("c", "other"))
    ]
    for place in places_left:
        place.mkdir()
        (place / "half").write_text("x")
        os.utime(place, (0, 0))
    with atomic.claimed_folder(places_left[1]):  # still at work
        run_export(run, "folder", tmp_path / "out")
    assert [place.exists() for place in places_left] == [False, True, True]


def test_a_file_that_is_swapped_while_it_is_linked_is_copied(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def swapped(origin: str, place: Path, **options: object) -> None:
        Path(origin).unlink()
        Path(origin).write_bytes(b"other")
        real(origin, place, **options)  # type: ignore[arg-type]

    before = (source / "cat" / "0.jpg").read_bytes()
    monkeypatch.setattr(os, "link", swapped)
    assert run_export(run, "folder", tmp_path / "out", link=True).linked == 0
    assert (tmp_path / "out" / "cat" / "0.jpg").read_bytes() == before
