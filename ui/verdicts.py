"""What a verdict says, in words: everything is in `mspc_core.verdict_words`, which the report uses too."""

from mspc_core.verdict_words import (
    MEMBERS,
    POOR_MODEL,
    Finding,
    finished,
    having_a_case,
    level_of,
    lines,
    rests_on,
    sentence,
    spread,
    target_words,
    tests_words,
)

__all__ = [
    "MEMBERS",
    "POOR_MODEL",
    "Finding",
    "finished",
    "having_a_case",
    "level_of",
    "lines",
    "rests_on",
    "sentence",
    "spread",
    "target_words",
    "tests_words",
]
