"""What a model says of every image as it is: computed once for all the detectors of a scan.

Nearly every detector begins with the predictions of the unscaled images. Inside `sharing`, the first that asks makes
the pass, and the others get what it found; each counts only the passes that it made (`counting`). Outside of it, and
for other images, or a model whose weights have changed meanwhile, every call is a pass of its own. Who needs the pass
itself (hooks, amplified layers) calls `predict_logits`, which never shares.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from mspc_core.engine import distributed
from mspc_core.engine.device import batch_size_for
from mspc_core.engine.forward import check_finite, device_of, each_batch, half_allowed
from mspc_core.engine.pixels import DeviceImages, Images
from mspc_core.engine.rows import Collected, blocks
from mspc_core.errors import Progress, ShouldStop


@dataclass(frozen=True)
class Plain:
    """logits: float32 [N, C], a map of a file where they are large. predicted: int64 [N]. Both can only be read."""

    logits: np.ndarray
    predicted: np.ndarray

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    def at(self, rows: np.ndarray | slice) -> Tensor:
        """Logits of these rows, float32 [B, C] on the CPU, a copy."""
        return torch.from_numpy(np.array(self.logits[rows]))


@dataclass
class _Pass:
    """images: those whose predictions are shared. found: theirs, once they have been made by the model in `state`."""

    images: Images
    found: Plain | None = None
    state: tuple[bool, int] | None = None


_SHARED: WeakKeyDictionary[nn.Module, _Pass] = WeakKeyDictionary()


@contextmanager
def sharing(model: nn.Module, images: Images) -> Iterator[None]:
    """Inside the block, `plain_predictions` of these very images by this very model are made once."""
    before = _SHARED.get(model)
    _SHARED[model] = _Pass(_source(images))
    try:
        yield
    finally:
        if before is None:
            del _SHARED[model]
        else:
            _SHARED[model] = before


def plain_predictions(
    model: nn.Module,
    images: Images,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Plain:
    """The model's logits of all images, uint8 [N, H, W, 3], and the classes that follow from them: the numbers of
    `predict_logits`, but in a file where they are many. Raises `InputError` as that does, and `Cancelled`."""
    shared = _SHARED.get(model)
    if shared is None or shared.images is not _source(images):
        return _passed(model, images, progress, should_stop)
    state = _state(model)
    found = shared.found if shared.state == state else None
    everywhere = distributed.total(int(found is not None))[0]  # all processes that share the work pass, or none does
    if found is None or everywhere < distributed.size():
        found = _passed(model, images, progress, should_stop)
        shared.found, shared.state = found, state
    return found


def _passed(model: nn.Module, images: Images, progress: Progress | None, should_stop: ShouldStop | None) -> Plain:
    step = batch_size_for(device_of(model), images.shape[1])
    kept = Collected(distributed.own_rows(len(images), step))
    each_batch(model, images, lambda found: kept.add(found.numpy()), progress=progress, should_stop=should_stop)
    logits = distributed.gather_array(kept.array())
    check_all_finite(logits)
    predicted = np.zeros(len(logits), dtype=np.int64)
    for rows, part in blocks(logits):
        predicted[rows] = part.argmax(1)
    for array in (logits, predicted):
        array.setflags(write=False)  # many will read them
    return Plain(logits, predicted)


def check_all_finite(logits: np.ndarray) -> None:
    """`check_finite` for logits [N, C] that may be a map of a file."""
    broken = np.zeros(len(logits), dtype=bool)
    for rows, part in blocks(logits):
        broken[rows] = ~np.isfinite(part).all(1)
    if broken.any():  # the sentence counts images, so that one value of each is enough
        check_finite(torch.from_numpy(np.where(broken, np.nan, 0.0)[:, None]))


def _source(images: Images) -> Images:
    return images.source if isinstance(images, DeviceImages) else images


def _state(model: nn.Module) -> tuple[bool, int]:
    """What the predictions depend on beside the images: may they be made in mixed precision, and a checksum of the
    weights. Some detectors change weights for a while and put them back, so that counting changes would not do."""
    found = 0
    for values in model.state_dict().values():
        found = zlib.crc32(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(), found)
    return half_allowed(model), found
