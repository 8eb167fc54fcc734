"""Which GPU a thread's launches go to."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def on(device: torch.device | str) -> AbstractContextManager[object]:
    """Makes a CUDA device the current one; nothing on the CPU.

    torch's own operators follow their tensors. Triton launches on the thread's current device and
    refuses tensors of another.
    """
    place = torch.device(device)
    return torch.cuda.device(place) if place.type == "cuda" else nullcontext()
