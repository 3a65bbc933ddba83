"""Hostile input of every kind: a sentence or a valid result, within bounds of time and memory, nothing run, nothing
read or written elsewhere. A few hundred cases here; `python -m benchmarks.fuzz --cases 12000` tries thousands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import driving
from tests.fuzz.guard import Case, Defect, Guard, Link
from tests.fuzz.making import archives, arrays, code, images

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")

CORPUS = Path(__file__).parent / "corpus"
SEED = int(os.environ.get("BACKDOOR_LENS_FUZZ_SEED", "0"))


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    found = Guard(tmp_path_factory.mktemp("fuzz"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    found = Guard(tmp_path_factory.mktemp("bare"), bare=True)
    yield found
    found.close()


@pytest.mark.parametrize("name", list(driving.groups()))
def test_hostile(guard: Guard, name: str) -> None:
    few = driving.groups()[name].few
    driving.drive(name, guard, few, SEED)
    assert len(guard.records[name]) >= few // 2


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_corpus(guard: Guard, path: Path) -> None:
    """Cases that once went wrong, or that nearly every parser gets wrong once."""
    target, _, entry = path.name.partition("--")
    content = path.read_bytes()
    if target == "image":
        guard.run("image", Case({"image": content}))
        return
    expected = {"source": "refused", "checkpoint": "refused"}
    assert guard.run(target, Case({entry: content}, {"entry": entry}))["outcome"] == expected[target]


def test_a_pickle_in_each_place_is_refused_with_the_reason(guard: Guard) -> None:
    for name in ("w.pt", "w.pth", "w.bin"):
        answer = guard.run("checkpoint", Case({name: code.payload()}, {"entry": name}))
        assert answer["outcome"] == "refused"
        assert "could run code" in answer["detail"]
    objects = arrays.lying("'|O'", "(6,)", False, code.payload())
    packed = archives.zipped({"images.npy": objects, "labels.npy": objects})
    answer = guard.run("source", Case({"set.npz": packed}, {"entry": "set.npz"}))
    assert "would run pickled code" in answer["detail"]


# The watch itself: it would be easy to fool oneself with one that sees nothing.


@pytest.mark.parametrize("deed", ["pickle", "system", "read", "write", "link"])
def test_the_watch_sees(bare: Guard, deed: str) -> None:
    files: dict[str, bytes | Link] = {"pickle": code.payload(command="true"), "link": Link("../secret.png")}
    with pytest.raises(Defect, match="forbidden"):
        bare.run("watched", Case(files, {"deed": deed}))
    (bare.folder / "written.txt").unlink(missing_ok=True)


def test_the_watch_sees_what_readers_in_other_languages_open(bare: Guard) -> None:
    if not bare.notes_readings():
        pytest.skip("this file system does not note when a file was read")
    with pytest.raises(Defect, match="past Python"):
        bare.run("watched", Case({}, {"deed": "native read"}))


@pytest.mark.parametrize("deed", ["loop", "memory", "exit", "crash"])
def test_the_limits_hold(bare: Guard, deed: str) -> None:
    with pytest.raises(Defect):
        bare.run("watched", Case({}, {"deed": deed, "cpu_seconds": 1}))


def test_seeds_are_valid(guard: Guard) -> None:
    """What is mutated is accepted before: else nothing deep would ever be reached."""
    for name, data in images.seeds().items():
        assert guard.run("image", Case({"image": data}))["outcome"] == "accepted", name
    whole = archives.zipped(archives.plain_files())
    assert guard.run("source", Case({"set.zip": whole}, {"entry": "set.zip"}))["outcome"] == "accepted"
