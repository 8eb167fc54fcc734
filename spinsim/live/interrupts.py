"""Ctrl-C after a run: its results are there, and would be lost in the moments before they are written."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """From :meth:`hold` on to the end of the block, the first Ctrl-C or SIGTERM is passed over.

    The second one, of somebody who does not want to wait, has its usual effect. Before ``hold`` all do. Only
    the main thread is told of signals: in another one nothing changes.
    """

    def __init__(self) -> None:
        self._usual: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupts:
        return self

    def hold(self) -> None:
        """The run is over."""
        if threading.current_thread() is threading.main_thread() and not self._usual:
            self._usual = {number: signal.signal(number, self._pass_over) for number in SIGNALS}

    def _pass_over(self, number: int, frame: FrameType | None) -> None:
        self._release()

    def _release(self) -> None:
        for number, usual in self._usual.items():
            signal.signal(number, usual)
        self._usual = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()
