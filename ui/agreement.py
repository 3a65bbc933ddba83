"""Which detectors flag the same samples: pairs, votes, patterns. Pure functions on flags, bool [N, D].

Agreement is not evidence of its own: detectors that look at the same thing err together (SPC and MSPC both scale).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ui.detector_facts import title_of
from ui.filters import Agreement, flags_of

if TYPE_CHECKING:
    import pandas as pd

Measure = Literal["jaccard", "also"]
MEASURES: dict[str, str] = {"jaccard": "Overlap (Jaccard)", "also": "Share that the other flags too"}
MOST_PATTERNS = 20


@dataclass(frozen=True)
class Pattern:
    """A set of detectors, and the samples flagged by exactly these. backdoors: None while the truth is unknown."""

    detectors: tuple[str, ...]
    samples: int
    backdoors: int | None


@dataclass(frozen=True)
class Votes:
    """samples, backdoors: int [D + 1], flagged by exactly k = 0 … D detectors. backdoors: None as above."""

    samples: np.ndarray
    backdoors: np.ndarray | None


def flag_matrix(scores: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Flags of some detectors, bool [N, D], in the order of `names`."""
    if not names:
        return np.zeros((len(scores), 0), dtype=bool)
    return np.column_stack([flags_of(scores, name) for name in names])


def pairwise(flags: np.ndarray, measure: Measure) -> np.ndarray:
    """float [D, D] in 0 … 1. jaccard: |A ∩ B| / |A ∪ B|, the same both ways. also: |A ∩ B| / |A|, row A, column B: the
    share of A's flags that B raises too. NaN where the divisor is 0 (nothing is flagged)."""
    return agreement_of(common(flags), measure)


def common(flags: np.ndarray) -> np.ndarray:
    """How many samples each pair of detectors flags together, int64 [D, D]; the diagonal: how many each flags."""
    numbers = flags.astype(np.float64)  # integers are multiplied slowly; these count exactly up to 2**53
    found: np.ndarray = np.rint(numbers.T @ numbers).astype(np.int64)
    return found


def agreement_of(both: np.ndarray, measure: Measure) -> np.ndarray:
    """`pairwise` from the counts of `common`."""
    own = np.diag(both)
    divisor = own[:, None] + own[None, :] - both if measure == "jaccard" else np.broadcast_to(own[:, None], both.shape)
    found = np.full(both.shape, np.nan)
    np.divide(both, divisor, out=found, where=divisor > 0)
    return found


def votes(flags: np.ndarray, truth: np.ndarray | None) -> Votes:
    """How many samples are flagged by how many detectors. truth: bool [N] or None."""
    number, most = flags.sum(axis=1), flags.shape[1] + 1
    samples = np.bincount(number, minlength=most)
    return Votes(samples, None if truth is None else np.bincount(number[truth], minlength=most))


def patterns(flags: np.ndarray, names: list[str], truth: np.ndarray | None, most: int = MOST_PATTERNS) -> list[Pattern]:
    """The sets of detectors that flag together, the commonest first; samples that nobody flags are left out."""
    flagged = flags.any(axis=1)
    if not flagged.any():
        return []
    some = flags[flagged]
    # A row of flags as one text of bits: texts are sorted far faster than rows.
    bits = np.ascontiguousarray(np.packbits(some, axis=1))
    codes = bits.view(f"V{bits.shape[1]}")[:, 0]
    _, first, kind, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    kinds = some[first]
    bad = None if truth is None else np.bincount(kind[truth[flagged]], minlength=len(kinds))
    # Ties: fewer detectors first, then their order, so that the same data always give the same table.
    order = sorted(range(len(kinds)), key=lambda n: (-counts[n], kinds[n].sum(), tuple(~kinds[n])))
    return [
        Pattern(
            tuple(name for name, here in zip(names, kinds[n], strict=True) if here),
            int(counts[n]),
            None if bad is None else int(bad[n]),
        )
        for n in order[:most]
    ]


def pattern_table(found: list[Pattern], names: list[str]) -> pd.DataFrame:
    """One row a pattern: images, true backdoors (where known), the detectors' names, then ● under each of them."""
    import pandas as pd

    rows = []
    for row in found:
        known = {} if row.backdoors is None else {"true backdoors": row.backdoors}
        marks = {title_of(name): "●" if name in row.detectors else "" for name in names}
        exactly = " + ".join(title_of(name) for name in row.detectors)
        rows.append({"images": row.samples, **known, "flagged by exactly": exactly, **marks})
    return pd.DataFrame(rows)


def votes_table(found: Votes) -> pd.DataFrame:
    """The bars as rows: flagged by (k), images, and where the truth is known backdoors and their share."""
    import pandas as pd

    columns = {"flagged by": np.arange(len(found.samples)), "images": found.samples}
    if found.backdoors is not None:
        share = np.full(len(found.samples), np.nan)
        np.divide(found.backdoors, found.samples, out=share, where=found.samples > 0)
        columns |= {"true backdoors": found.backdoors, "share of backdoors": share}
    return pd.DataFrame(columns)


def clicked_votes(event: Any, found: Votes) -> int | None:
    """The k of the bar in a plotly selection event; None for none, or for a bar without images.

    By its place in the list: the event's `x` is the middle of a bar that stands beside another, such as 2.8 for 3.
    """
    points = (event.get("selection") or {}).get("points") or []
    k = int(points[0].get("point_index", -1)) if points else -1
    return k if 0 <= k < len(found.samples) and found.samples[k] else None


def pair_table(matrix: np.ndarray, names: list[str]) -> pd.DataFrame:
    """The heat map as rows: detector, then one column a detector."""
    import pandas as pd

    titles = [title_of(name) for name in names]
    table = pd.DataFrame(matrix.round(4), columns=titles)
    table.insert(0, "detector", titles)
    return table


def as_text(wanted: Agreement) -> str:
    """For a URL: `3~spc+mspc+…` (votes) or `spc+mspc~spc+mspc+…` (pattern), with `~` before the detectors counted."""
    what = str(wanted.votes) if wanted.pattern is None else "+".join(wanted.pattern)
    return f"{what}~{'+'.join(wanted.among)}"


def from_text(text: str | None, finished: list[str]) -> Agreement | None:
    """`as_text` read back; None for anything that does not name finished detectors."""
    what, _, rest = (text or "").partition("~")
    among = tuple(rest.split("+"))
    if not rest or not set(among) <= set(finished):
        return None
    if what.isdecimal() and len(what) < 4:
        return Agreement(among, votes=int(what)) if int(what) <= len(among) else None
    pattern = tuple(what.split("+"))
    return Agreement(among, pattern=pattern) if set(pattern) <= set(among) else None


def words_of(wanted: Agreement) -> str:
    """What is chosen, in words, as plain text."""
    if wanted.pattern is None:
        return f"flagged by exactly {wanted.votes} of {len(wanted.among)} detectors"
    names = " + ".join(title_of(name) for name in wanted.pattern)
    return f"flagged by {names} and by no other of {len(wanted.among)}"
