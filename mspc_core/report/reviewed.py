"""What reviewers decided: by decision, by reviewer, and the history."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mspc_core.report.material import NAME_LIMIT, Material
from mspc_core.report.tables import Cell, Table, cut_note, share_cell
from mspc_core.words import count, percent, plural, short, utc

DECISIONS = ("remove", "keep", "unsure")
MOST_REVIEWERS, MOST_HISTORY = 20, 60


@dataclass(frozen=True)
class Review:
    """text: how far the review has come. tables: decisions, reviewers, history; empty where nothing was decided."""

    text: str
    tables: list[Table]


def review(material: Material) -> Review:
    """Statistics of the decisions on a run's samples."""
    suspects = material.flags("suspect")
    total, suspected = len(material.scores), int(suspects.sum())
    if not material.history:
        waiting = f" All {plural(suspected, 'suspect')} wait for a decision." if suspected else ""
        return Review(f"No reviewer has decided on any image of this run.{waiting}", [])
    identities = material.scores["sample_id"].astype(str)
    decided = identities.map(material.decisions)
    of_suspects = int(decided[suspects].notna().sum())
    text = f"{plural(int(decided.notna().sum()), 'image')} of {count(total)} decided"
    text += f", {count(of_suspects)} of {plural(suspected, 'suspect')} among them." if suspected else "."
    foreign = len(set(material.decisions) - set(identities))
    if foreign:
        text += f" {plural(foreign, 'decision')} on samples that are not in this run's table are left out."
    rows: list[list[str | Cell]] = []
    for kind in (*DECISIONS, "no decision"):
        chosen = decided.isna() if kind == "no decision" else decided == kind
        inside = int(chosen[suspects].sum())
        share = inside / suspected if suspected else None
        rows.append([kind, count(chosen.sum()), share_cell(share, count(inside)), count(int(chosen.sum()) - inside)])
    by_decision = Table("Decisions that count now", ["Decision", "Images", "Suspects", "Others"], rows, (1, 2, 3))
    return Review(text, [by_decision, _by_reviewer(material), _history(material)])


def _by_reviewer(material: Material) -> Table:
    kinds: dict[str, Counter[str]] = {}
    last: dict[str, str] = {}
    for entry in material.history:
        kinds.setdefault(entry.reviewer, Counter())[entry.decision] += 1
        last[entry.reviewer] = entry.time
    names = sorted(kinds, key=lambda name: (-kinds[name].total(), name))
    rows: list[list[str | Cell]] = [
        [
            short(name, NAME_LIMIT) if name.strip() else "(no name given)",
            count(kinds[name].total()),
            *(count(kinds[name][kind]) for kind in (*DECISIONS, "open")),
            utc(last[name]),
        ]
        for name in names[:MOST_REVIEWERS]
    ]
    columns = ["Reviewer", "Entries", "Remove", "Keep", "Unsure", "Set back to open", "Last entry (UTC)"]
    note = cut_note(len(rows), len(names), "reviewers")
    return Table("Entries by reviewer, changes of mind included", columns, rows, range(1, 6), note)


def _history(material: Material) -> Table:
    newest = material.history[::-1][:MOST_HISTORY]
    rows: list[list[str | Cell]] = [
        [
            utc(entry.time),
            short(entry.reviewer, NAME_LIMIT) if entry.reviewer.strip() else "(no name given)",
            short(entry.decision, 20),
            short(entry.sample_id, 40),
        ]
        for entry in newest
    ]
    note = cut_note(len(rows), len(material.history), "entries")
    note += " The app's decisions file has the rest." if note else ""
    return Table("History, newest first", ["Time (UTC)", "Reviewer", "Decision", "Sample"], rows, (), note)


def agreement(material: Material) -> str:
    """How reviewers' removals compare with the suspects, in a sentence; nothing without removals."""
    removed = [identity for identity, decision in material.decisions.items() if decision == "remove"]
    if not removed:
        return ""
    suspects = set(material.scores["sample_id"].astype(str)[material.flags("suspect")])
    inside = sum(identity in suspects for identity in removed)
    return f"{percent(inside / len(removed))} of the images that reviewers remove are suspects of the verdict."
