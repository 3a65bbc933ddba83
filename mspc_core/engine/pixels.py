"""Stored uint8 images on their way to the device: kept there where they fit, read ahead where they do not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_SHARE_OF_FREE_MEMORY = 0.4  # the rest is for the model and its activations
_UPLOAD_BYTES = 64 << 20
_AHEAD = 2  # batches in preparation while one is computed


class DeviceImages:
    """uint8 [N, H, W, 3] in the device's memory, read like an array: `images[rows]` is a uint8 tensor there. source:
    the array that they were copied from."""

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        self.source = images
        self.shape: tuple[int, ...] = images.shape
        self._pixels = torch.empty(images.shape, dtype=torch.uint8, device=device)
        step = max(1, _UPLOAD_BYTES // max(1, images[:1].nbytes))
        for start in range(0, len(images), step):
            # In parts, so that a memory map is never copied as a whole.
            self._pixels[start : start + step] = staged(images[start : start + step], device)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: np.ndarray | slice) -> Tensor:
        if isinstance(rows, slice):
            return self._pixels[rows]
        return self._pixels[torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(self._pixels.device)]


Images = np.ndarray | DeviceImages


def on_device(images: Images, device: torch.device) -> Images:
    """The images in the device's memory if they fit there comfortably; else, and on the CPU, as they are.

    Worth it for who reads them many times or in random order; a single pass does as well with `batches`.
    """
    if isinstance(images, DeviceImages) or images.nbytes >= _SHARE_OF_FREE_MEMORY * free_memory(device):
        return images
    return DeviceImages(images, device)


def free_memory(device: torch.device) -> int:
    """Bytes that images may take on a device of its own; 0 for the CPU, where the store's map is as near as memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return 0


def staged(pixels: np.ndarray, device: torch.device) -> Tensor:
    """A uint8 tensor that can be copied to the device without waiting (page-locked for CUDA), or used on the CPU."""
    if device.type == "cuda":
        buffer = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        np.copyto(buffer.numpy(), pixels)
        return buffer
    # A slice of a read-only map would be shared with torch, which cannot promise not to write: copy just those.
    return torch.from_numpy(np.ascontiguousarray(pixels) if pixels.flags.writeable else np.array(pixels))


def batches(
    images: Images,
    rows: np.ndarray,
    starts: Sequence[int],
    step: int,
    device: torch.device,
    *,
    ahead: int | None = None,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """(rows of a batch, their uint8 pixels on the device), for each of `starts` in order.

    ahead: batches that a second thread reads from the store and sends while the device computes; None is 2 where there
    is a device of its own to keep busy, and 0 on the CPU, whose threads all compute.
    """
    if ahead is None:
        ahead = _AHEAD if device.type == "cuda" and not isinstance(images, DeviceImages) else 0
    chunks = (rows[start : start + step] for start in starts)
    if not ahead:
        for chunk in chunks:
            yield chunk, _read(images, chunk, device)
        return
    with ThreadPoolExecutor(1, "pixels") as pool:
        sender = _Sender(images, device)
        waiting: deque[tuple[np.ndarray, Future[_Sent]]] = deque()
        try:
            waiting.extend((chunk, pool.submit(sender.send, chunk)) for chunk in islice(chunks, ahead))
            while waiting:
                chunk, sent = waiting.popleft()
                pixels = sender.received(sent.result())
                waiting.extend((later, pool.submit(sender.send, later)) for later in islice(chunks, 1))
                yield chunk, pixels
        finally:
            for _, sent in waiting:
                sent.cancel()


class _Sent(NamedTuple):
    """copied: when the pixels have arrived; None where that is now."""

    pixels: Tensor
    copied: torch.cuda.Event | None


class _Sender:
    """Sends batches on a stream of its own, so that copying and computing overlap (CUDA); elsewhere just sends."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self._images, self._device = images, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, rows: np.ndarray) -> _Sent:
        """In the second thread."""
        if self._stream is None:
            return _Sent(_read(self._images, rows, self._device), None)
        with torch.cuda.stream(self._stream):
            return _Sent(_read(self._images, rows, self._device), self._stream.record_event())

    def received(self, sent: _Sent) -> Tensor:
        """In the computing thread: what it does next waits for this batch's copy, and for no later one."""
        if sent.copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(sent.copied)
            sent.pixels.record_stream(current)
        return sent.pixels


def _read(images: Images, rows: np.ndarray, device: torch.device) -> Tensor:
    pixels = images[rows]
    return pixels if isinstance(pixels, Tensor) else staged(pixels, device).to(device, non_blocking=True)
