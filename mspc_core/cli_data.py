"""`python -m mspc_core` `demo`, `import`, `poison`, `attacks`: data sets, and the lab without the app."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mspc_core.console import print_dataset, progress_bar
from mspc_core.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def demo(
    out: Annotated[str, typer.Option(help="Name of the data set.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same images.")] = 0,
    as_json: Json = False,
) -> None:
    """Build the embedded demo data set: rendered traffic signs, poisoned, with truth."""
    from mspc_core.demo import build_demo

    with progress_bar("rendering") as bar:
        dataset = build_demo(out, seed=seed, progress=bar)
    print_dataset(dataset.info.name, as_json)


def import_(
    source: Annotated[str, typer.Argument(help="Folder, archive, Parquet, CSV, npz, or torchvision name.")],
    name: Annotated[str, typer.Option(help="Name of the stored data set; taken from the source if not given.")] = "",
    size: Annotated[int, typer.Option(help="Side in pixels to which every image is resized.")] = 32,
    as_json: Json = False,
) -> None:
    """Validate and store a data set; prints what was skipped and why."""
    from mspc_core.data.importing import import_source

    with progress_bar("importing") as bar:
        result = import_source(source, name=name or None, size=size, progress=bar)
    print_dataset(result.dataset.info.name, as_json, reused=result.reused)


def poison(
    dataset: Annotated[str, typer.Argument(help="Name of a stored data set.")],
    attack: Annotated[str, typer.Option(help="An attack's name; `attacks` lists them.")] = "badnets",
    rate: Annotated[float, typer.Option(help="Share of the training samples to poison.")] = 0.1,
    target: Annotated[str, typer.Option(help="Target class, by name or number.")] = "0",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the attack, such as size=3; repeatable.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Start from a preset's settings, such as published.")] = "",
    labels: Annotated[str, typer.Option(help="all-to-one, all-to-all, random or clean; empty: the attack's own.")] = "",
    from_target: Annotated[bool, typer.Option(help="Also draw poison from the target class.")] = False,
    out: Annotated[str, typer.Option(help="Name of the new data set.")] = "",
    as_json: Json = False,
) -> None:
    """Plant a known trigger in a copy of a data set, for the lab. The source is not touched."""
    from mspc_core import poisoning

    config = poisoning.PoisonConfig(
        dataset,
        attack,
        _settings(setting or []),
        preset=preset,
        rate=rate,
        target=target,
        seed=seed,
        label_mode=labels,
        from_target=from_target,
        out=out,
    )
    prepared = poisoning.prepare(config)
    poisoning.check(prepared)
    with progress_bar("poisoning") as bar:
        made = poisoning.write(prepared, poisoning.learn(prepared, bar), bar)
    print_dataset(made.info.name, as_json)


def attacks(as_json: Json = False) -> None:
    """The attacks of the lab: their settings, presets and sources."""
    from dataclasses import fields

    from mspc_core.attacks.base import REGISTRY, attack_class

    rows: list[dict[str, Any]] = []
    for name in REGISTRY:
        cls = attack_class(name)
        settings = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]
        presets = {key: {**preset.settings, "citation": preset.citation} for key, preset in cls.presets.items()}
        rows.append({"attack": name, "title": cls.title, "citation": cls.citation, "explains": cls.explains})
        rows[-1] |= {"clean_label": cls.clean_label, "settings": settings, "presets": presets}
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        shown = " ".join(f"{key}={value}" for key, value in row["settings"].items())
        print(f"{row['attack']:<16} {row['title']}: {row['explains']} [{row['citation']}]\n{'':<17}{shown}")
        for preset, about in row["presets"].items():
            print(f"{'':<17}--preset {preset}: {about['citation']}")


def _settings(pairs: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InputError(f"--set takes name=value, not {pair!r}.")
        try:
            found[key] = json.loads(value)
        except (ValueError, RecursionError):  # of numbers with thousands of digits, and of deep nesting
            found[key] = value
    return found
