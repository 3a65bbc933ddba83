"""Every package that is installed is pinned, with hashes, at the versions that the requirements name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PIN = re.compile(r"([A-Za-z0-9_.-]+)==([^\s;\\]+)")


def entries(name: str) -> list[str]:
    """Each requirement of a lock file with what belongs to it."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / name).read_text())
    return [entry for entry in re.split(r"\n(?=\S)", text.strip()) if entry]


def pins(name: str) -> set[tuple[str, str]]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    found = [_PIN.match(line) for line in lines if line and not line.startswith("-")]
    return {(pin[1].lower().replace("_", "-"), pin[2]) for pin in found if pin}


@pytest.mark.parametrize("part", ["requirements", "requirements-dev", "requirements-tools"])
def test_every_entry_is_pinned_with_hashes(part: str) -> None:
    found = entries(f"{part}.lock")
    assert len(found) > 20
    for entry in found:
        assert _PIN.match(entry), entry
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}(?= |\n|$)", entry), entry
        assert "://" not in entry


@pytest.mark.parametrize("part", ["requirements", "requirements-dev", "requirements-tools"])
def test_the_lock_has_the_versions_that_are_required(part: str) -> None:
    asked = pins(f"{part}.txt")
    assert asked
    assert asked <= pins(f"{part}.lock"), "the lock file is older than the requirements: make lock"


def test_tests_run_with_the_packages_that_users_get() -> None:
    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def test_make_checks_hashes_and_never_falls_back_after_a_failure() -> None:
    rules = (ROOT / "Makefile").read_text()
    checked = [line for line in rules.splitlines() if "pip install" in line and ".lock" in line]
    assert len(checked) == 2
    assert all("--require-hashes" in line for line in checked)
    assert "||" not in "".join(line for line in rules.splitlines() if "pip install" in line)
