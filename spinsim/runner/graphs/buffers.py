"""What a captured pass takes from the host and gives back, in fixed buffers that are copied within the graph.

Such a copy of pinned memory costs the host nothing: it fills the inbox, launches the graph, waits, and
reads the outbox. Every pass must have ended before its inbox is filled again.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]

ALIGN = 16  # bytes; Triton compiles a kernel again for every mix of aligned and unaligned pointers


class Inbox:
    """Named int64 arrays on the host and, alike, on ``device``; on the CPU both are the same memory."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: torch.device) -> None:
        places, size = [], 0
        for name, shape in shapes.items():
            places.append((name, shape, size))
            size += -(-prod(shape) * 8 // ALIGN) * ALIGN // 8
        cuda = device.type == "cuda"
        self._pinned = torch.zeros(size, dtype=torch.int64, pin_memory=cuda)
        self._buffer = torch.zeros(size, dtype=torch.int64, device=device) if cuda else self._pinned
        flat = self._pinned.numpy()
        self.host: dict[str, Array] = {}
        self.device: dict[str, torch.Tensor] = {}
        for name, shape, begin in places:
            end = begin + prod(shape)
            self.host[name] = flat[begin:end].reshape(shape)
            self.device[name] = self._buffer[begin:end].view(shape)

    def fetch(self) -> None:
        """Copies the host's arrays to the device, on the current stream."""
        if self._buffer is not self._pinned:
            self._buffer.copy_(self._pinned, non_blocking=True)


class Outbox:
    """Results of ``shape``: a pass writes ``device`` and sends it; the host reads ``host``."""

    def __init__(
        self, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.int64
    ) -> None:
        cuda = device.type == "cuda"
        self._pinned = torch.zeros(shape, dtype=dtype, pin_memory=cuda)
        self.device = torch.zeros(shape, dtype=dtype, device=device) if cuda else self._pinned
        self.host: Array = self._pinned.numpy()

    def send(self) -> None:
        """Copies the results to the host, on the current stream."""
        if self.device is not self._pinned:
            self._pinned.copy_(self.device, non_blocking=True)


def wait(device: torch.device) -> None:
    """Until the device has done what the current stream was given."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
