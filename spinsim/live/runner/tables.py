"""Integers that the host computes for a captured pass: filled in place, sent in one copy."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]
Shapes = Mapping[str, tuple[int, ...]]

ALIGN = 16  # bytes; Triton compiles a kernel again for every mix of aligned and unaligned pointers


class IntTable:
    """Named int64 (``longs``) and int32 (``shorts``) arrays on the host and, alike, on ``device``.

    ``device[name]`` are fixed tensors that graphs may read. The host's side is pinned, so that
    :meth:`send` waits for nothing. On the CPU both sides are the same memory.
    """

    def __init__(self, longs: Shapes, shorts: Shapes, device: torch.device) -> None:
        places, size = [], 0
        for kind, width, shapes in ((np.int64, 8, longs), (np.int32, 4, shorts)):
            for name, shape in shapes.items():
                places.append((name, kind, shape, size, size + prod(shape) * width))
                size += -(-prod(shape) * width // ALIGN) * ALIGN
        cuda = device.type == "cuda"
        self._pinned = torch.zeros(size, dtype=torch.uint8, pin_memory=cuda)
        self._buffer = torch.zeros(size, dtype=torch.uint8, device=device) if cuda else self._pinned
        event: Any = torch.cuda.Event
        self._sent = event() if cuda else None
        flat = self._pinned.numpy()
        self._host: dict[str, Array] = {}
        self.device: dict[str, torch.Tensor] = {}
        for name, kind, shape, begin, end in places:
            self._host[name] = flat[begin:end].view(kind).reshape(shape)
            dtype = torch.int64 if kind is np.int64 else torch.int32
            self.device[name] = self._buffer[begin:end].view(dtype).view(shape)

    def fill(self) -> dict[str, Array]:
        """The host's arrays, to be written; waits until the copy before has left them."""
        if self._sent is not None:
            self._sent.synchronize()
        return self._host

    def send(self) -> None:
        """Copies the host's arrays to the device, on the current stream."""
        if self._sent is not None:
            self._buffer.copy_(self._pinned, non_blocking=True)
            self._sent.record(torch.cuda.current_stream(self._buffer.device))


def put(target: Array, values: Any, rest: int) -> None:
    """``values`` first, ``rest`` in what remains of the last axis."""
    count = len(values)
    target[:count] = values
    target[count:] = rest
