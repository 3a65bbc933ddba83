"""The documentation agrees with the project: links, names of files, the diagram, commands and options, versions."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from mspc_core import __version__, cli
from tests.unit.test_architecture import ALLOWED, LAYERS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
# Part of the command line's contract, and made elsewhere than what this test can see.
ANNOUNCED = {"retrain", "export", "report"}


def without_code(page: str) -> str:
    """A page without fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """The anchors that headings get."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT), f"{target} leads out of the project"
        assert linked.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{name} links to {target}"


def diagram() -> tuple[set[tuple[str, str]], set[str]]:
    """The arrows of the Mermaid diagram, and the nodes inside its box mspc_core."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert block
    inside = re.search(r"subgraph mspc_core\n(.*?)\n    end", block[1], re.DOTALL)
    assert inside
    arrows = {
        (start.strip(), end.strip())
        for left, right in re.findall(r"^\s*([\w &]+?) --> ([\w &]+)$", block[1], re.MULTILINE)
        for start in left.split("&")
        for end in right.split("&")
    }
    return arrows, set(re.findall(r"\w+", inside[1]))


def test_the_diagram_shows_the_arrows_that_are_enforced() -> None:
    arrows, inner = diagram()
    wanted = {(part, other) for part, others in ALLOWED.items() for other in others if part != other}
    for layer, others in LAYERS.items():
        own = layer.removeprefix("mspc_core.")
        wanted |= {(own, other) for other in others if other != own}
    assert arrows == wanted
    for node in {node for arrow in arrows for node in arrow}:
        place = ROOT / "mspc_core" / node if node in inner else ROOT / node
        assert place.is_dir() or place.with_suffix(".py").is_file(), node


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    """Paths in code spans. The guides create some of theirs."""
    if name.startswith("docs/how-to/add-"):
        return
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:mspc_core|ui|pages|tests|docs|benchmarks)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), f"{name} names {path}"


def commands_of(page: str) -> list[list[str]]:
    """Every `python -m mspc_core …` of a page, as words; in fenced blocks and in code spans."""
    found = []
    for line in re.findall(r"python -m mspc_core[^`\n]*", page):
        words = shlex.split(line.partition(" #")[0].replace("…", ""))
        found.append(words[words.index("mspc_core") + 1 :])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_options_exist(name: str) -> None:
    root = typer.main.get_command(cli.app)
    for words in commands_of((ROOT / name).read_text(encoding="utf-8")):
        command, rest = root, words
        while rest and not rest[0].startswith("-") and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]  # type: ignore[attr-defined]
        if rest and rest[0] in ANNOUNCED:
            continue
        assert command is not root or not rest or rest[0].startswith("-"), f"{name}: there is no command {rest[0]}"
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{name}: {' '.join(words)}"


def test_versions_and_dates_agree() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", changes, re.MULTILINE)
    assert released[0] == ("Unreleased", "")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {__version__}\n" in citation
    assert (__version__, re.findall(r'date-released: "(.+)"', citation)[0]) in released
    sections = set(re.findall(r"^### (.+)$", changes, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_term_stands_once_and_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = [term.rstrip(".").lower() for term in re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)]
    assert len(set(terms)) == len(terms)
    assert terms == sorted(terms)
    for wanted in ("backdoor", "trigger", "target class", "threshold", "asr", "auroc", "spc", "mspc", "poison"):
        assert any(term.startswith(wanted) for term in terms), wanted
