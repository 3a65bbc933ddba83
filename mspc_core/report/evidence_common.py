"""What the parts of the evidence section are made of, and the rows of a test's table of classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mspc_core.report.material import Material
from mspc_core.report.pictures import Picture
from mspc_core.report.tables import Table

MOST_ROWS = 40


@dataclass(frozen=True)
class Strip:
    """Pictures side by side, with what they show. grouped: every three belong together."""

    title: str
    text: str
    pictures: list[Picture]
    grouped: bool = False


@dataclass(frozen=True)
class Evidence:
    """One test's part of the section. text: what it does, in a sentence. missing: why there is nothing to show."""

    title: str
    text: str
    strips: list[Strip] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    missing: str = ""


def class_rows(material: Material, test: str) -> tuple[list[dict[str, Any]], list[int]]:
    """A test's table of classes, and the classes that the verdict names because of it."""
    tables = material.records[test].get("tables") or {}
    targets = (material.summary.get("verdict") or {}).get("target_classes") or []
    named = [int(row["class"]) for row in targets if test in row.get("by", [test])]
    return [row for row in tables.get("classes") or [] if "class" in row], named
