"""What is said of a detector: the form of a catalogue entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mspc_core.detectors.base import Needs

Family = Literal["ours", "scaling", "classic", "modern"]


@dataclass(frozen=True)
class Facts:
    """explains: one or two sentences for the picker. how: a short "how it works" in Markdown, with the equation.
    limits: what it is known to miss. cost: in words. rule: when a sample is flagged."""

    title: str
    family: Family
    citation: str
    needs: Needs
    cost: str
    rule: str
    explains: str
    how: str
    limits: str
