from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mspc_core import home
from mspc_core.data import importing, journal, store
from mspc_core.data.importing import clean_temporaries, import_source
from mspc_core.data.source import RawSample, Skipped
from mspc_core.data.writer import DatasetWriter
from mspc_core.errors import Cancelled, InputError
from tests.real_data import require

from .pictures import BLUE, RED, fill, png, two_classes


def many(count: int) -> dict[str, bytes]:
    """Images whose order shows: image i is of grey level i, in class even or odd."""
    return {f"{('even', 'odd')[i % 2]}/{i:04d}.png": png((i % 256,) * 3) for i in range(count)}


def test_pixels_manifest_and_skipped_files(tmp_path: Path) -> None:
    files = two_classes() | {"dog/broken.jpg": b"no", "dog/notes.txt": b"hi"}
    result = import_source(str(fill(tmp_path / "my pets!", files)), size=16)
    dataset = result.dataset
    assert not result.reused
    assert dataset.info.name == "my-pets"
    assert dataset.info.classes == ("cat", "dog")
    assert (dataset.info.count, dataset.info.skipped, dataset.info.resized) == (3, 2, 1)
    assert dataset.pixels.shape == (3, 16, 16, 3)
    assert [tuple(pixel) for pixel in dataset.pixels[:, 8, 8]] == [RED, RED, BLUE]
    manifest = dataset.manifest
    assert manifest["path"].tolist() == ["cat/1.png", "cat/2.png", "dog/1.png"]
    assert manifest["label"].tolist() == [0, 0, 1]
    assert manifest[["width", "height"]].to_numpy().tolist() == [[16, 16], [20, 10], [16, 16]]
    assert manifest["sample_id"][2] == store.sample_id("dog/1.png", png(BLUE))
    assert dict(dataset.skipped().to_numpy().tolist()) == {
        "dog/broken.jpg": "not an image in a supported format",
        "dog/notes.txt": "not an image file",
    }


def test_order_and_content_do_not_depend_on_threads_or_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(fill(tmp_path / "many", many(150)))
    keys = set()
    for workers, chunk in ((1, 64), (4, 7), (3, 1)):
        monkeypatch.setattr(importing, "CHUNK_ITEMS", chunk)
        dataset = import_source(source, name=f"w{workers}", size=16, workers=workers).dataset
        expected = [int(Path(path).stem) for path in dataset.manifest["path"]]
        assert dataset.pixels[:, 0, 0, 0].tolist() == expected
        keys.add(dataset.info.content_key)
    assert len(keys) == 1


def test_memory_holds_a_bounded_number_of_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK_BYTES", 1)  # every image is a chunk of its own
    source = importing.open_source(str(fill(tmp_path / "many", many(40))))
    read = 0
    samples = source.samples

    def counted() -> Iterator[RawSample | Skipped]:
        nonlocal read
        for item in samples():
            read += 1
            yield item

    monkeypatch.setattr(source, "samples", counted)
    chunks = importing.decoded_chunks(source, 16, threads=2)
    for taken in range(1, 41):
        assert len(next(chunks)) == 1
        assert read <= taken + 4
    chunks.close()


def test_a_second_import_is_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "pets", two_classes())
    first = import_source(str(folder))
    monkeypatch.setattr(importing, "decode_image", lambda *_: pytest.fail("an image was decoded again"))
    again = import_source(str(folder))
    assert again.reused
    assert again.dataset.info == first.dataset.info
    assert import_source(str(folder), name="pets").reused


def test_another_size_or_a_changed_source_is_another_data_set(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pets", two_classes())
    assert import_source(str(folder), size=32).dataset.info.name == "pets"
    assert import_source(str(folder), size=16).dataset.info.name == "pets-2"
    (folder / "cat" / "3.png").write_bytes(png())
    changed = import_source(str(folder), size=32)
    assert (changed.reused, changed.dataset.info.name, changed.dataset.info.count) == (False, "pets-3", 4)


def test_a_name_of_another_source_is_not_overwritten(tmp_path: Path) -> None:
    import_source(str(fill(tmp_path / "a", two_classes())), name="mine")
    with pytest.raises(InputError, match="'mine' already"):
        import_source(str(fill(tmp_path / "b", many(4))), name="mine")
    with pytest.raises(InputError, match="'mine' already"):
        import_source(str(tmp_path / "a"), name="mine", size=64)
    assert import_source(str(tmp_path / "a"), name="other").dataset.info.name == "other"


@pytest.mark.parametrize("size", [15, 513, 0, -1, 32.0, True])
def test_sizes_out_of_range_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError, match="from 16 to 512"):
        import_source(str(fill(tmp_path / "pets", two_classes())), size=size)


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be a name"):
        import_source(str(fill(tmp_path / "pets", two_classes())), name="../pets")


def test_progress_is_reported_and_ends_complete(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    import_source(str(fill(tmp_path / "many", many(200))), progress=lambda *event: seen.append(event))
    done = [event[0] for event in seen]
    assert done == sorted(done)
    assert seen[-1][:2] == (200, 200)
    assert len(seen) >= 5
    assert all(event[0] <= event[1] for event in seen)


def test_cancelling_removes_what_was_written(tmp_path: Path, fresh_home: Path) -> None:
    calls = 0

    def stop_at_the_fourth() -> bool:
        nonlocal calls
        calls += 1
        return calls == 4

    source = str(fill(tmp_path / "many", many(300)))
    with pytest.raises(Cancelled):
        import_source(source, should_stop=stop_at_the_fourth)
    assert list(home.datasets_folder().iterdir()) == []
    assert import_source(source).dataset.info.count == 300


def test_exact_duplicates_keep_separate_identities(tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": png(), "b.png": png(BLUE), "m.csv": b"path,label\na.png,0\na.png,0\nb.png,1\n"})
    ids = import_source(str(tmp_path / "m.csv")).dataset.manifest["sample_id"].tolist()
    assert ids[1] == ids[0] + "-2"
    assert len(set(ids)) == 3


def test_what_killed_imports_left_is_cleaned_and_what_is_at_work_is_kept() -> None:
    """Whatever the clock says: the folder that is being written seems to be as old as the dead one."""
    dead, other = home.datasets_folder() / ".tmp-0123456789ab-x", home.datasets_folder() / ".tmp-notes"
    fill(dead, {"pixels.u8": b"1"})
    fill(other, {"mine": b"1"})
    with DatasetWriter("living", size=16, classes=("a", "b"), kind="folder", source="/x"):
        living = next(home.datasets_folder().glob(".tmp-*-living"))
        for path in (dead, other, living):
            os.utime(path, (0, 0))
        assert clean_temporaries() == 1
        assert {path.name for path in home.datasets_folder().iterdir()} == {".tmp-notes", living.name}
    assert not living.exists()


@pytest.mark.real_data
def test_real_photographs_of_mixed_sizes() -> None:
    dataset = import_source(str(require("clothing/test.parquet")), size=64).dataset
    assert (dataset.info.count, dataset.info.skipped, dataset.info.resized) == (372, 0, 372)
    assert dataset.info.split_counts == {"train": 372}
    assert set(dataset.manifest[["width", "height"]].max(axis=1)) == {192}
    assert dataset.pixels.std() > 30


@pytest.mark.real_data
def test_real_cifar10_pixels_are_those_pillow_decodes() -> None:
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    path = require("cifar10/test-00000-of-00001.parquet")
    dataset = import_source(str(path), size=32).dataset
    assert (dataset.info.count, dataset.info.resized) == (10_000, 0)
    column = pq.read_table(path, columns=["image"])["image"]
    for row in (0, 4_999, 9_999):
        expected = np.asarray(Image.open(io.BytesIO(column[row].as_py()["bytes"])).convert("RGB"))
        np.testing.assert_array_equal(dataset.pixels[row], expected)


_KILLED = """
import os, signal, sys
from mspc_core.data import importing, journal, writer

importing.CHECKPOINT_SECONDS, importing.CHUNK_ITEMS = 0.0, 10
keep, left = writer.DatasetWriter.checkpoint, int(sys.argv[2])

def checkpoint(writer, items):
    global left
    keep(writer, items)
    left -= 1
    if left == 0:
        writer._pixels.write(bytes(500))  # begun, and never heard of again
        writer._pixels.flush()
        os.kill(os.getpid(), signal.SIGKILL)

writer.DatasetWriter.checkpoint = checkpoint
importing.import_source(sys.argv[1], size=16, workers=2)
"""


def _kill_import(source: Path, after: int) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(source), str(after)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def _all_of(dataset: store.Dataset) -> tuple[object, ...]:
    left_out = {"name", "created"}
    info = {key: value for key, value in vars(dataset.info).items() if key not in left_out}
    manifest, skipped = dataset.manifest, dataset.skipped()
    return info, manifest.to_dict("list"), manifest.dtypes.to_dict(), skipped.to_dict("list"), dataset.pixels.tobytes()


def _with_all_kinds(tmp_path: Path) -> Path:
    source = fill(tmp_path / "many", many(60) | {"even/0003.jpg": b"no", "odd/notes.txt": b"hi"})
    rows = "".join(f"{path.relative_to(source)},{path.parent.name}\n" for path in sorted(source.rglob("*.*")))
    (source / "list.csv").write_text("path,label\n" + rows + rows)  # everything twice: numbered identities
    return source / "list.csv"


def test_a_killed_import_goes_on_and_stores_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _with_all_kinds(tmp_path)
    for _ in range(2):  # killed, and killed again after some more
        _kill_import(source, after=3)
    (left,) = home.datasets_folder().glob(".tmp-resume-*")
    for place in (left, left / "parts"):  # killed right before a renaming
        (place / ".tmp-0123456789ab-manifest.parquet").write_bytes(b"half")
    read = []
    decode = importing._decode
    monkeypatch.setattr(importing, "_decode", lambda sample, size: read.append(1) or decode(sample, size))
    seen: list[int] = []
    resumed = import_source(str(source), size=16, progress=lambda done, *_: seen.append(done)).dataset
    assert 0 < len(read) <= 124 - 60, "60 items were decoded before"
    assert seen[1] >= 60, "progress does not begin anew"
    whole = import_source(str(source), size=16, name="whole").dataset
    assert _all_of(resumed) == _all_of(whole)
    assert sorted(path.name for path in resumed.root.iterdir()) == sorted(path.name for path in whole.root.iterdir())
    assert {path.name for path in home.datasets_folder().iterdir()} == {"whole", "list"}


@pytest.mark.parametrize("damage", ["pixels", "cut pixels", "part", "empty part", "no part", "strange part"])
def test_what_a_killed_import_left_is_not_believed_unless_it_is_whole(tmp_path: Path, damage: str) -> None:
    source = _with_all_kinds(tmp_path)
    _kill_import(source, after=4)
    (left,) = home.datasets_folder().glob(".tmp-resume-*")
    second = left / "parts" / "00000002.json"
    if damage == "pixels":
        content = bytearray((left / "pixels.u8").read_bytes())
        content[15 * 16 * 16 * 3] ^= 1
        (left / "pixels.u8").write_bytes(content)
    elif damage == "cut pixels":
        os.truncate(left / "pixels.u8", 15 * 16 * 16 * 3 + 7)
    elif damage == "part":
        second.write_text(second.read_text().replace('"train"', '"test"', 1))
    elif damage == "empty part":
        second.write_text("")
    elif damage == "strange part":
        second.write_text('{"rows": [[1, 2], "x", null], "skipped": [3], "items": "many", "digest": []}')
    else:
        second.unlink()
    resumed = import_source(str(source), size=16).dataset
    whole = import_source(str(source), size=16, name="whole").dataset
    assert _all_of(resumed) == _all_of(whole)


def test_an_import_beside_another_one_of_the_same_source_writes_elsewhere(tmp_path: Path) -> None:
    source = str(fill(tmp_path / "pets", two_classes()))
    lock = None

    def hold(*_: object) -> None:
        nonlocal lock
        if lock is None:
            key = importing.source_key(importing.open_source(source))
            resume = hashlib.sha256(f"{key}|16|None|None".encode()).hexdigest()
            lock = journal.claim(journal.folder_of(resume))

    dataset = import_source(source, size=16, progress=hold).dataset
    assert lock is not None
    assert dataset.info.count == 3
    assert journal.folder_of("").parent.joinpath(Path(lock.name).parent).is_dir(), "what the other one writes stays"
    lock.close()


def test_ctrl_c_keeps_what_was_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHECKPOINT_SECONDS", 0.0)
    source = str(fill(tmp_path / "many", many(200)))

    def interrupt(done: int, *_: object) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_source(source, size=16, progress=interrupt)
    first: list[int] = []
    import_source(source, size=16, progress=lambda done, *_: first.append(done))
    assert first[1] >= 192
