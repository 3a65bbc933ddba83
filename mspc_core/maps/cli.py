"""`python -m mspc_core map RUN`: what the model sees of each image, in two dimensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mspc_core.runs import Run


def map_(
    run: Annotated[str, typer.Argument(help="Run id or folder with scores.")],
    umap: Annotated[
        bool,
        typer.Option("--umap", help="Also UMAP, seeded; above 20,000 images of a sample of them."),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps; for features that have to be made.")] = (
        "auto"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> int:
    """Write the model's features of a run's images and maps of them: PCA, and UMAP if asked.

    They go into the run's folder `map`: features.npy (float16, in the order of scores.parquet), pca.npz, umap.npz.
    What is there for this model is not made again.
    """
    from mspc_core.engine.device import resolve_device
    from mspc_core.maps.job import prepare
    from mspc_core.runs import open_run

    resolve_device(device)
    return resume_map(prepare(open_run(run), umap=umap, device=device), as_json)


def resume_map(folder: Path, as_json: bool) -> int:
    """Do (or go on with) a prepared map in this process."""
    from mspc_core.retrain.cli import work_through
    from mspc_core.runs import Run

    if status := work_through(folder, "map"):
        return status
    found = _facts(Run(folder.parent))
    if as_json:
        print(json.dumps({"map": str(folder), **found}, ensure_ascii=False))
        return 0
    print(f"features: {found['images']:,} images × {found['width']}, float16")
    first, second = found["explained"]
    print(f"PCA: {first:.1%} and {second:.1%} of the variance along the two axes")
    if "umap_fitted" in found:
        placed = found["images"] - found["umap_fitted"]
        print(f"UMAP: of {found['umap_fitted']:,} images" + (f"; {placed:,} placed between them" if placed else ""))
    print(f"folder: {folder}")
    return 0


def _facts(run: Run) -> dict[str, Any]:
    from mspc_core.errors import InputError
    from mspc_core.maps import store

    key = store.key_of(run, run.scores()["row"].to_numpy())
    features, pca = store.features_of(run, key), store.map_of(run, store.PCA, key)
    if features is None or pca is None:
        raise InputError("The map could not be read back: is the disk full?")
    found: dict[str, Any] = {"images": len(features), "width": features.shape[1], "explained": list(pca.explained)}
    umap = store.map_of(run, store.UMAP, key)
    return found if umap is None else {**found, "umap_fitted": int(umap.fitted.sum())}
