"""A quiet interpreter while the clock runs: no collections, and quick switches between threads."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_INTERVAL_S = 1e-4  # the default of 5 ms makes a busy thread hold up a lane's hand-over


@contextmanager
def quiet() -> Iterator[None]:
    """Freezes the garbage collector and shortens the switch interval; restores both."""
    interval = sys.getswitchinterval()
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
        if was_enabled:
            gc.enable()
