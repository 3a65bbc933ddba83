"""Query parameters as strangers' links may have them."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.guard import Case
from tests.fuzz.making.bits import Draw, numbers, words

KEYS = (
    *(
        "run",
        "sample",
        "show",
        "class",
        "by",
        "decision",
        "disagree",
        "score",
        "text",
        "agree",
        "pick",
        "scales",
        "pins",
    ),
    *("view", "dataset", "new", "step", "queue", "a", "b", "cls", "image", "embed", "left", "right", "what", "method"),
)
_PARTS = (
    *(
        "spc:0:1",
        "spc:1e999:-1e999",
        "spc:nan:nan",
        "::",
        "spc:1",
        "suspects",
        "flagged",
        "0,1,2",
        "99999999999999999999",
        "-1",
    ),
    *(
        "spc,mspc",
        "spc.1",
        "1.spc.mspc",
        "print",
        "0123456789abcdef",
        "../../etc/passwd",
        "2,3.5,5",
        "0,51,1e9",
        ",,,,",
        "keep",
    ),
)
_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@st.composite
def queries(draw: Draw) -> dict[str, str]:
    found = {}
    for _ in range(draw(st.integers(1, 5))):
        parts = st.one_of(st.sampled_from(_PARTS), words.map(lambda word: word[:3000]), numbers.map(str), _TEXT)
        value = draw(st.sampled_from((",", ":", ".", ""))).join(draw(st.lists(parts, min_size=1, max_size=3)))
        found[draw(st.sampled_from(KEYS))] = value
    return found


def cases() -> st.SearchStrategy[Case]:
    return queries().map(lambda query: Case({}, {"query": query}))
