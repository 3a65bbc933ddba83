"""Features of a run's images, written while they pass through the model anyway (the scan) or in a pass of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.atomic import TEMPORARY_PREFIX
from mspc_core.engine import distributed
from mspc_core.engine.forward import predict_logits
from mspc_core.errors import InputError, Progress, ShouldStop, explain_os_error
from mspc_core.maps import store
from mspc_core.models.zoo import feature_layer
from mspc_core.runs import Run

_ROWS = 4096  # of a part that are copied at once
_LARGEST = float(np.finfo(np.float16).max)


@contextmanager
def keep_features(run: Run, model: nn.Module, rows: np.ndarray, log: Callable[[str], None]) -> Iterator[bool]:
    """Write the features of the images that pass through `model` inside the block: all of `rows`, once, in order.

    Costs no forward pass. Nothing here can fail a scan: what stands in the way (an architecture without a last linear
    layer, a full disk) is logged, and the features are left for the map's own job. Yields whether any are kept: then
    other processes of the job keep theirs by `keep_part`.
    """
    key = store.key_of(run, rows)
    try:
        layer = feature_layer(model)
    except InputError as error:
        log(f"no features are kept: {error}")
        key = None
    if key is None or store.features_of(run, key) is not None:
        yield False
        return
    with ExitStack() as file:
        try:
            handle = file.enter_context(store.writing_features(run, len(rows), layer.in_features, key))
        except OSError as error:
            log(f"no features are kept: {explain_os_error(error)}")
            yield False
            return
        writer = _Writer(handle)
        hook = layer.register_forward_pre_hook(writer)
        try:
            yield True
        finally:
            hook.remove()
        _append_parts(run, writer, layer.in_features)
        trouble = writer.trouble or ("" if writer.rows == len(rows) else "the last layer is not used once an image")
        try:
            if trouble:  # leave the block by an error, so that no file takes the place of an earlier one
                file.pop_all().__exit__(_Dropped, _Dropped(), None)
            else:
                file.close()
        except OSError as error:
            trouble = explain_os_error(error)
        if trouble:
            log(f"no features are kept: {trouble}")


@contextmanager
def keep_part(run: Run, model: nn.Module) -> Iterator[None]:
    """In a process that does not lead: keep the features of the images that pass through here, for the leader."""
    path = _part(run, distributed.number())
    with path.open("wb") as handle:
        writer = _Writer(handle)
        hook = feature_layer(model).register_forward_pre_hook(writer)
        try:
            yield
        finally:
            hook.remove()


def _append_parts(run: Run, writer: _Writer, width: int) -> None:
    """Add what the other processes have kept, which have the next blocks of rows; nothing for a single process."""
    for number in range(1, distributed.members()):
        path = _part(run, number)
        try:
            with path.open("rb") as part:
                while block := part.read(width * 2 * _ROWS):
                    writer.handle.write(block)
                    writer.rows += len(block) // (2 * width)
        except OSError as error:
            writer.trouble = writer.trouble or explain_os_error(error)
        path.unlink(missing_ok=True)


def _part(run: Run, number: int) -> Path:
    return store.folder_of(run) / f"{TEMPORARY_PREFIX}part-{number}"


def compute_features(
    run: Run,
    model: nn.Module,
    images: np.ndarray,
    rows: np.ndarray,
    *,
    log: Callable[[str], None],
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> None:
    """One forward pass over uint8 [N, H, W, 3] for the features alone. Raises `InputError` when the model gives NaN or
    its features cannot be read, and `Cancelled`."""
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        log(text)

    feature_layer(model)
    with keep_features(run, model, rows, tell):
        predict_logits(model, images, progress=progress, should_stop=should_stop)
    if said:
        raise InputError(f"The model's features could not be kept ({said[-1].partition(': ')[2].rstrip('.')}).")


class _Dropped(Exception):  # noqa: N818 - leaves a block, is never seen
    pass


class _Writer:
    """A forward pre-hook that appends what the layer gets to a file, as float16."""

    def __init__(self, handle: BinaryIO) -> None:
        self.handle, self.rows, self.trouble = handle, 0, ""

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self.trouble:
            return
        found = inputs[0].float()
        found = found.flatten(1, -2).mean(1) if found.ndim > 2 else found  # tokens: their mean  [B, D]
        half = found.clamp(-_LARGEST, _LARGEST).to(torch.float16).cpu().contiguous()
        try:
            self.handle.write(half.numpy().astype("<f2", copy=False).tobytes())
        except OSError as error:
            self.trouble = explain_os_error(error)
        self.rows += len(half)
