"""The Python interface for notebooks and scripts: `from mspc_core import load_dataset, train, scan`.

The same pipeline as the command line and the app: a scan leaves a run folder, which the app lists and opens. What
cannot be used raises `InputError`, whose text is one sentence. Ctrl-C raises `Cancelled`; a cancelled scan goes on with
`resume`. Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mspc_core import home, runs, scan_checks
from mspc_core.api_results import ScanResult, TrainedModel
from mspc_core.console import Bar, shown
from mspc_core.data.store import Dataset, free_name, open_dataset
from mspc_core.errors import Cancelled, InputError

if TYPE_CHECKING:
    from torch import nn

    from mspc_core.given import GivenModel, Statistics


def load_dataset(
    source: str | Path | np.ndarray,
    labels: Sequence[Any] | np.ndarray | None = None,
    *,
    test: tuple[Any, Any] | None = None,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    size: int | None = None,
    progress: Bar = True,
) -> Dataset:
    """A stored data set: opened by its name, imported from a source, or made from arrays.

    source: the name of a stored data set, "demo", anything `import` of the command line takes (folder, archive,
    Parquet, CSV, npz, torchvision name), or images uint8 [N, H, W, 3]; then labels: N numbers or words, test: another
    (images, labels), and classes: the names that label numbers stand for. name: of the stored set. size: side in
    pixels to which images are resized (16 to 512); 32, or the side of square arrays, if not given.

    The same source at the same size is stored once. Row i of the result is row i of the arrays. Raises `InputError`.
    """
    from mspc_core.data.importing import import_source
    from mspc_core.data.memory import MemorySource

    with shown(progress, "importing") as bar:
        if isinstance(source, (str, Path)):
            if labels is not None or test is not None or classes is not None:
                raise InputError("Labels, a test part and class names go with arrays: a source has its own.")
            if stored := _stored(str(source)):
                return open_dataset(stored)
            if str(source) == runs.DEMO:
                from mspc_core.demo import build_demo

                return build_demo(name or runs.DEMO, progress=bar)
            return import_source(str(source), name=name, size=size or 32, progress=bar).dataset
        arrays = MemorySource(source, labels, test=test, classes=classes, name=name or "arrays")
        side = size or arrays.side
        if side is None:
            raise InputError("The images are not square: name the side to which they are resized, such as size=32.")
        return import_source(arrays, name=name, size=side, progress=bar).dataset


def poison(
    dataset: Dataset | str,
    attack: str = "badnets",
    *,
    target: str | int = 0,
    rate: float = 0.1,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    name: str | None = None,
    progress: Bar = True,
) -> Dataset:
    """A copy of a clean data set with a known backdoor, for the lab. The source is not touched.

    attack: a name of `mspc_core.attacks.base.REGISTRY`, with its settings. target: class by name or number. rate: share
    of the training samples, in (0, 1). Raises `InputError`.
    """
    from mspc_core.attacks import base
    from mspc_core.attacks.poison import poison_dataset, resolve_class

    source = open_dataset(dataset) if isinstance(dataset, str) else dataset
    chosen = base.create(attack, settings)
    wanted = resolve_class(source.info.classes, str(target))
    stored = name or free_name(f"{source.info.name}-{attack}"[:70])
    with shown(progress, "poisoning") as bar:
        return poison_dataset(source, chosen, rate=rate, target=wanted, name=stored, seed=seed, progress=bar)


def train(
    dataset: Dataset | str,
    *,
    arch: str = "small-cnn",
    rows: Sequence[int] | np.ndarray | None = None,
    labels: Sequence[int] | np.ndarray | None = None,
    epochs: int = 0,
    augment: bool = False,
    device: str = "auto",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: Bar = True,
) -> TrainedModel:
    """Train a classifier as a scan does: from new weights, with the same recipe and seeds.

    arch: small-cnn, tiny-vit or a torchvision classifier. rows: of the data set; the training split if not given.
    labels: class numbers for these rows, where they were corrected. epochs: 0 chooses by the number of images.
    checkpoint: a file written after every epoch and continued from. Raises `InputError`; Ctrl-C interrupts.
    """
    from mspc_core.cleaning import retrain
    from mspc_core.engine.device import choose_threads, resolve_device
    from mspc_core.models.train import TrainConfig
    from mspc_core.scanning import scanned_rows

    source = open_dataset(dataset) if isinstance(dataset, str) else dataset
    chosen = scanned_rows(source) if rows is None else _rows(rows, source.info.count)
    given = None if labels is None else np.asarray(labels, dtype=np.int64)
    if given is not None and (given.shape != chosen.shape or not _within(given, len(source.info.classes))):
        raise InputError(
            f"Corrected labels are one class number (0 to {len(source.info.classes) - 1}) for each of the rows."
        )
    if epochs < 0:
        raise InputError(f"The number of epochs cannot be {epochs}: 0 chooses by the number of images.")
    choose_threads()
    with shown(progress, "training") as bar:
        made = retrain(
            source,
            chosen,
            arch=arch,
            training=TrainConfig(epochs=epochs or None, augment=augment, seed=seed),
            device=resolve_device(device),
            labels=given,
            checkpoint=Path(checkpoint) if checkpoint else None,
            progress=bar,
        )
    return TrainedModel(made.model, made.spec, made.images, made.accuracy, made.attack_success_rate, made.history)


def scan(
    dataset: Dataset | str | Path,
    model: TrainedModel | nn.Module | str | Path | None = None,
    *,
    detectors: str | Iterable[str] = "default",
    arch: str = "",
    normalise: str | Statistics | None = None,
    epochs: int = 0,
    augment: bool = False,
    mspc: str = "fast",
    trusted: str = "",
    device: str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    progress: Bar = True,
) -> ScanResult:
    """Score every training sample for evidence of a backdoor; leaves a run folder that the app opens.

    model: None trains one; or what `train` returned, a file of weights (with `arch`), or your own `torch.nn.Module`
    that gives logits [B, C]. For a module, say what it takes: normalise="none" for pixels in [0, 1], the name of usual
    statistics (half, imagenet, cifar10), or (mean, std). It is computed on the device it is on, and left as it was. If
    its architecture is known here, `arch` names it and the run keeps its weights; otherwise pages that compute with the
    model cannot. detectors: names, or "all". The rest as on the command line: `python -m mspc_core scan --help`.

    Raises `InputError`, and `Cancelled` (then `resume` goes on, and so does the same call with the same `out`).
    """
    from mspc_core.given import from_caller, untouched
    from mspc_core.scanning import preflight, prepare_data

    names = scan_checks.detector_names(detectors if isinstance(detectors, str) else ",".join(detectors))
    if isinstance(dataset, Dataset):
        source = stored = _same_stored(dataset)
    else:
        stored = _stored(str(dataset)) or ""
        source = str(Path(dataset).expanduser().absolute()) if Path(dataset).exists() else str(dataset)
    file = str(Path(model).expanduser().absolute()) if isinstance(model, (str, Path)) else ""
    config = runs.ScanConfig(
        source=source,
        dataset=stored,
        arch=arch or "small-cnn",
        checkpoint=file,
        normalise=normalise if isinstance(normalise, str) else "auto",
        epochs=epochs,
        augment=augment,
        detectors=names,
        mspc_preset=mspc,
        trusted=trusted,
        device=device,
        seed=seed,
    )
    scan_checks.check(config)
    if model is None and normalise is not None:
        raise InputError("Normalisation is for a given model: one that is trained here normalises by the data.")
    if model is not None and (epochs or augment):
        raise InputError("Epochs and augmentation are for training, and a model is given: leave them out.")
    if file and not isinstance(normalise, str | None):
        raise InputError("With a file of weights, normalisation is named: see `--normalise` of the command line.")
    with shown(progress, "reading images") as bar:
        data, prepared = prepare_data(config, bar)
    with untouched(model):
        given = None if file else from_caller(model, normalise, arch, data)
        if given is not None:
            config, prepared = (replace(c, arch=given.spec.arch, device=str(given.device)) for c in (config, prepared))
            if device not in ("auto", str(given.device), given.device.type):
                raise InputError(f"The model is on {given.device}: move it to {device} before the scan.")
        folder = Path(out).expanduser().absolute() if out else None
        run = scan_checks.resumable(config, folder)
        if run is None:
            preflight(prepared, data, given)
            run = runs.create_run(prepared, folder)
        return _followed(run, model, given, progress)


def resume(
    run: str | Path,
    model: TrainedModel | nn.Module | None = None,
    *,
    normalise: str | Statistics | None = None,
    progress: Bar = True,
) -> ScanResult:
    """Go on with a cancelled or killed scan from its last finished stage.

    run: id or folder. model, normalise: as they were given to `scan`; not needed where the run keeps its weights.
    """
    from mspc_core.given import from_caller, untouched

    opened = _open(run)
    with untouched(model):
        given = None if model is None else from_caller(model, normalise, "", opened.dataset())
        return _followed(opened, model, given, progress)


def open_scan(run: str | Path) -> ScanResult:
    """The results of a finished scan, by the run's id or folder. Raises `InputError` if it has not finished."""
    return ScanResult.of(_open(run))


def _open(run: str | Path) -> runs.Run:
    text = str(run)
    return runs.open_run(str(Path(text).expanduser().absolute()) if "/" in text else text)


def _followed(run: runs.Run, model: object, given: GivenModel | None, progress: Bar) -> ScanResult:
    """Work on the run here until it ends, and read what it found."""
    from mspc_core.work import work_on

    (run.folder / "cancel").unlink(missing_ok=True)
    with shown(progress, "scanning") as bar:
        status = work_on(
            run.folder,
            lambda now: bar(round(1000 * now.progress), 1000, f"{now.stage} · {now.message}"),
            given=given,
        )
    if status.state == "cancelled":
        again = "resume" if model is None or (given and given.kept) else "resume with the same model"
        raise Cancelled(f"The scan was cancelled; {again} goes on from its last finished stage: run {run.folder}")
    if status.state != "finished":
        raise InputError(f"{status.error or 'The scan did not finish.'} (run folder: {run.folder})")
    return ScanResult.of(run)


def _stored(text: str) -> str | None:
    """The name of a stored data set, or None; a path that exists wins over a name, and the demo is built."""
    if text == runs.DEMO or "/" in text or Path(text).exists():
        return None
    return text if (home.datasets_folder() / text / "dataset.json").is_file() else None


def _same_stored(dataset: Dataset) -> str:
    """The name by which the run finds this data set. Raises `InputError` if another one, or none, has it."""
    if open_dataset(dataset.info.name).info.content_key != dataset.info.content_key:
        raise InputError(f"The data set {dataset.info.name!r} was replaced since it was opened: load it again.")
    return dataset.info.name


def _rows(rows: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    chosen = np.asarray(rows)
    if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer) or not _within(chosen, count):
        raise InputError(f"Rows are whole numbers from 0 to {count - 1}, one for each image to train on.")
    if len(np.unique(chosen)) != len(chosen):
        raise InputError("Rows are named twice: give each image once.")
    return np.asarray(chosen, dtype=np.int64)


def _within(values: np.ndarray, count: int) -> bool:
    return not len(values) or bool(values.min() >= 0 and values.max() < count)
