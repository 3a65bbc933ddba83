"""What the tests found that read labels: classes that the network sees as two, labels that the content contradicts."""

from __future__ import annotations

from mspc_core.report.evidence_common import MOST_ROWS, Evidence, class_rows
from mspc_core.report.material import Material
from mspc_core.report.scoring import number
from mspc_core.report.tables import Cell, Table, cut_note, share_cell
from mspc_core.words import count, percent


def mixture(material: Material) -> Evidence:
    """Which classes the network sees as two groups."""
    table, named = class_rows(material, "mixture")
    ordered = sorted(table, key=lambda row: -float(row.get("anomaly_index") or 0.0))
    rows: list[list[str | Cell]] = [
        [
            material.name_of(int(row["class"])),
            count(row.get("samples") or 0),
            count(row.get("flagged") or 0),
            number(row.get("statistic"), 1),
            number(row.get("anomaly_index"), 1),
            percent(row.get("explained")),
        ]
        for row in ordered[:MOST_ROWS]
    ]
    made = Table(
        "Two groups in a class",
        ["Label", "Images", "Flagged", "Gain of two groups", "Anomaly index", "Variance explained by the split"],
        rows,
        numbers=range(1, 6),
        note=cut_note(len(rows), len(table), "classes"),
        marked=[at for at, row in enumerate(ordered[:MOST_ROWS]) if int(row["class"]) in named],
    )
    text = (
        "Every class is split in two by the model's features, which are measured by how much the other classes vary. "
        "Clean classes gain about as much from it as each other. A class stands out with an anomaly index above 7.4 "
        "and a split that explains more than 75 % of the variance, as no single group does."
    )
    return Evidence("Feature mixture: a class that the network sees as two", text, [], [made])


def second_opinion(material: Material) -> Evidence:
    """How often a model that hardly sees triggers contradicts labels, by class."""
    tables = material.records["second_opinion"].get("tables") or {}
    found = (tables.get("evidence") or [{}])[0]
    table, named = class_rows(material, "second_opinion")
    ordered = sorted(table, key=lambda row: (int(row["class"]) not in named, -int(row.get("flagged") or 0)))
    rows: list[list[str | Cell]] = [
        [
            material.name_of(int(row["class"])),
            count(row.get("samples") or 0),
            count(row.get("flagged") or 0),
            percent(row.get("contradicted_flagged")) if row.get("flagged") else "–",
            share_cell(row.get("contradicted_others"), percent(row.get("contradicted_others"))),
        ]
        for row in ordered[:MOST_ROWS]
    ]
    made = Table(
        "Contradicted labels",
        ["Label", "Images", "Flagged", "Contradicted, of the flagged", "Contradicted, of the others"],
        rows,
        numbers=range(1, 5),
        note=cut_note(len(rows), len(table), "classes"),
        marked=[at for at, row in enumerate(ordered[:MOST_ROWS]) if int(row["class"]) in named],
    )
    text = (
        "A second model that hardly sees triggers judges every label. Where it contradicts more than its own "
        "confidence allows, and the scanned model's features say where, that is evidence: "
        f"{number(found.get('nats'), 1)} nats here, {number(found.get('asked'))} are asked for before anything is "
        f"flagged (a million to one). It confirms {percent(found.get('agreement'))} of all labels."
    )
    return Evidence("Second opinion: labels that the content contradicts", text, [], [made])
