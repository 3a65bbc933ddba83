"""What the tests found, in pictures and tables: regions that were cut out, patterns, contradictions, masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from mspc_core.pictures import region_of
from mspc_core.report import pictures
from mspc_core.report.evidence_common import MOST_ROWS, Evidence, Strip, class_rows
from mspc_core.report.evidence_labels import mixture, second_opinion
from mspc_core.report.material import Material
from mspc_core.report.scoring import number
from mspc_core.report.tables import Cell, Table, cut_note, share_cell
from mspc_core.words import count, percent, plural, short

MOST_MASKS, _MOST_ROUNDS = 12, 8
MOST_TARGETS, EACH = 3, 4  # classes whose regions are shown, and samples of each
_CUT = 0.2  # of the transplant test's settings, where an old record has none


def evidence(material: Material) -> list[Evidence]:
    """Transplant, pattern transplant, feature mixture, second opinion, MSPC's mask; those that did not run are left out
    (section 9 says why)."""
    parts = {
        "transplant": transplant,
        "pattern": pattern,
        "mixture": mixture,
        "second_opinion": second_opinion,
        "mspc": mspc,
    }
    return [part(material) for name, part in parts.items() if name in material.records]


def transplant(material: Material) -> Evidence:
    """Regions cut from images, and how many other images they turn."""
    table, named = class_rows(material, "transplant")
    partners = (material.records["transplant"].get("config") or {}).get("partners", 16)
    ordered = sorted(table, key=lambda row: (int(row["class"]) not in named, -float(row.get("transplant_rate") or 0.0)))
    rows: list[list[str | Cell]] = [
        [
            material.name_of(int(row["class"])),
            count(row.get("predicted") or 0),
            count(row.get("flagged") or 0),
            share_cell(row.get("transplant_rate"), percent(row.get("transplant_rate"))),
            # Without a flagged sample there is no strength; a stored zero would read as a measurement.
            percent(row.get("strength")) if row.get("flagged") else "–",
            percent(row.get("region_share")),
        ]
        for row in ordered[:MOST_ROWS]
    ]
    columns = [
        "Class",
        "Images",
        "Flagged",
        "Other images turned",
        "By the flagged ones",
        "Region's share of the image",
    ]
    made = Table(
        "Regions of the classes",
        columns,
        rows,
        numbers=range(1, 6),
        note=cut_note(len(rows), len(table), "classes"),
        marked=[at for at, row in enumerate(ordered[:MOST_ROWS]) if int(row["class"]) in named],
    )
    text = (
        "For each class the smallest region is learned that, cut from its images and pasted on others, turns them "
        f"into it. Then each image's own region is pasted on {partners} other images. A trigger takes its class along; "
        "a part of an honest object rarely does."
    )
    strips = [*_region_strips(material, named), *_mask_strip(material, ordered)]
    return Evidence("Transplant: cut the region out, paste it elsewhere", text, strips, [made])


def _region_strips(material: Material, named: list[int]) -> list[Strip]:
    masks, found = material.masks.get("transplant"), []
    if masks is None or material.dataset is None:
        return []
    cut = float((material.records["transplant"].get("config") or {}).get("cut", _CUT))
    predicted, values = material.scores["predicted"].to_numpy(), material.values("transplant")
    partners = (material.records["transplant"].get("config") or {}).get("partners", 16)
    for target in named[:MOST_TARGETS]:
        if target >= len(masks):
            continue
        region = region_of(masks[target], cut)
        own = np.flatnonzero((predicted == target) & material.flags("transplant"))
        best = own[np.argsort(-values[own], kind="stable")][:EACH]
        others = np.flatnonzero((predicted != target) & ~material.flags("suspect"))
        hosts = others[np.linspace(0, len(others) - 1, len(best)).round().astype(int)] if len(others) else others
        images, around = material.pictures(best), material.pictures(hosts)
        if images is None or around is None or not len(best) or not region.any() or region.shape != images.shape[1:3]:
            continue
        name, shown = material.name_of(target), []
        for at, position in enumerate(best):
            turned = f"{percent(float(values[position]), 0)} turned"
            shown.append(pictures.outlined(images[at], region, f"Sample {at + 1} with its region outlined", "Sample"))
            shown.append(pictures.cut_out(images[at], region, f"The region of sample {at + 1} alone", turned))
            if len(around):
                mixed = np.where(region[..., None], images[at], around[at])
                shown.append(pictures.thumbnail(mixed, f"Another image with the region of sample {at + 1}", "Pasted"))
        text = (
            f"Each group of three: an image predicted as “{name}” with its region outlined; the region alone, with the "
            f"share of {partners} other images that it turned into “{name}” during the scan; and the region pasted on "
            "another image, as an illustration."
        )
        found.append(Strip(f"Regions of “{name}”", text, shown, grouped=len(around) > 0))
    return found


def _mask_strip(material: Material, ordered: list[dict[str, Any]]) -> list[Strip]:
    masks = material.masks.get("transplant")
    if masks is None:
        return []
    numbers = [int(row["class"]) for row in ordered if int(row["class"]) < len(masks)]
    numbers = [number for number in numbers if masks[number].max() > 0][:MOST_MASKS]
    if not numbers:
        return [
            Strip("Learned masks", "No class kept a region: every mask vanished, as masks of honest classes do.", [])
        ]
    shown = [
        pictures.weights(masks[n], f"Mask of class {material.name_of(n)}", material.name_of(n), float(masks[n].max()))
        for n in numbers
    ]
    text = "Bright is where the region is. Classes whose mask vanished are left out: their objects need more pixels."
    return [Strip("Learned masks, one a class", text, shown)]


def pattern(material: Material) -> Evidence:
    """Patterns that part of a class has in common, and how many other images they turn."""
    table, named = class_rows(material, "pattern")
    ordered = sorted(table, key=lambda row: (int(row["class"]) not in named, -float(row.get("turned") or 0.0)))
    rows: list[list[str | Cell]] = [
        [
            material.name_of(int(row["class"])),
            count(row.get("predicted") or 0),
            count(row.get("with_pattern") or 0),
            count(row.get("flagged") or 0),
            share_cell(row.get("turned"), percent(row.get("turned"))),
            number(row.get("strength"), 3),
        ]
        for row in ordered[:MOST_ROWS]
    ]
    made = Table(
        "Patterns of the classes",
        ["Class", "Images", "With the pattern", "Flagged", "Other images turned", "Largest change of a pixel (0 to 1)"],
        rows,
        numbers=range(1, 6),
        note=cut_note(len(rows), len(table), "classes"),
        marked=[at for at, row in enumerate(ordered[:MOST_ROWS]) if int(row["class"]) in named],
    )
    text = (
        "What a part of a class has in common and the rest of it lacks is added to images of other classes. Both parts "
        "show the same kind of object, so the difference holds none: what turns most other images was planted."
    )
    masks, strips = material.masks.get("pattern"), []
    if masks is not None:
        shown = [
            pictures.difference(
                masks[int(row["class"])],
                f"Pattern of class {material.name_of(int(row['class']))}",
                f"{material.name_of(int(row['class']))}: turns {percent(row.get('turned'), 0)}",
            )
            for row in ordered
            if int(row["class"]) < len(masks) and np.abs(masks[int(row["class"])]).max() > 0
        ][:MOST_MASKS]
        words = (
            "Mean over the colours, at full contrast each; grey is no difference. Patterns of honest classes turn few "
            "images."
        )
        strips = [Strip("Patterns, those that turn most first", words, shown)] if shown else []
    return Evidence("Pattern transplant: add what a part of a class has in common", text, strips, [made])


def mspc(material: Material) -> Evidence:
    """The mask of MSPC, round by round."""
    masks, title = material.masks.get("mspc"), "MSPC: one mask for all images"
    text = (
        "One mask for all images, learned so that suspicious images keep their prediction when pixels are scaled. "
        "Where it stays bright is where the trigger may be. The score of MSPC is computed under the last mask."
    )
    if masks is None or not len(masks):
        return Evidence(title, text, missing="The mask of this run is not there.")
    shown = []
    for at, mask in list(enumerate(masks))[-_MOST_ROUNDS:]:
        alt = f"Mask after round {at}" if at else "The mask before learning"
        shown.append(pictures.weights(mask, alt, f"Round {at}, up to {mask.max():.2f}" if at else "Start, all 1"))
    rounds = (material.records["mspc"].get("tables") or {}).get("rounds") or []
    words = "; ".join(f"round {row['round']}: {plural(int(row['suspicious']), 'suspicious sample')}" for row in rounds)
    return Evidence(title, text, [Strip("Mask by round", short(words, 400) if words else "", shown)])
