"""The ranks beside the leading one: told, asked, watched and ended."""

from __future__ import annotations

import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from spinsim.policies.plugins import loaded_plugins
from spinsim.runner.sharded.calls import REPORT, STOP, Call, encode
from spinsim.runner.sharded.collectives import TIMEOUT_S, Collectives
from spinsim.runner.sharded.on_cuda import claim_symmetric_memory
from spinsim.runner.sharded.orders import Meeting
from spinsim.runner.sharded.process import END_S, RankError, RankProcess
from spinsim.runner.sharded.ring import Behind, Ring

CHECK_S = 1.0  # between two looks at whether a call takes too long
FELT_S = 2.0  # between an error here and the death of the rank that is behind it


class Hops(NamedTuple):
    """How long calls took from the leading rank to another, in seconds."""

    calls: int
    mean_s: float
    p50_s: float
    p99_s: float


class Ranks:
    """Ranks 1 and up of one model, on ``devices[1:]``; the calling process is rank 0.

    ``names`` of the devices, for messages. ``drafts``: how many drafts each rank has besides (rank 0 none).
    ``in_one_kernel``: see :class:`~spinsim.runner.sharded.orders.Meeting`. ``since``: when the call under way
    began, of :func:`time.monotonic`. The processes are started at once; :meth:`meet` waits for them.
    """

    def __init__(
        self,
        names: Sequence[str],
        devices: Sequence[torch.device],
        drafts: Sequence[int] = (),
        timeout_s: float = TIMEOUT_S,
        *,
        in_one_kernel: bool = True,
    ) -> None:
        context: Any = torch.multiprocessing.get_context("spawn")
        self.names = tuple(names)
        self.since: float | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="spinsim-ranks-")
        store = Path(self._folder.name) / "store"
        self._meeting = Meeting(
            tuple(map(str, devices)),
            store,
            timeout_s,
            loaded_plugins(),
            symmetric=devices[0].type == "cuda" and claim_symmetric_memory(),
            in_one_kernel=in_one_kernel,
        )
        self._ring = Ring(context, len(names) - 1, patience_s=timeout_s)
        threads = max(1, torch.get_num_threads() // len(names))
        counts = [*drafts, *[0] * (len(names) - len(drafts))]
        self._processes = [
            RankProcess(context, rank, names[rank], self._meeting, self._ring, counts[rank], threads)
            for rank in range(1, len(names))
        ]
        self._sentinels = [each.sentinel for each in self._processes]
        self._closing, self._stopped, self._failure = False, False, ""
        self._lock = threading.Lock()
        self._report: Callable[[Exception], None] | None = None

    def meet(self) -> Collectives:
        """The leading rank's collectives, once every rank is there. Raises RankError."""
        self.answers()  # before that a rank is not waited for by a collective, which would not see it die
        try:
            return self._meeting.join(0)
        except RuntimeError as error:
            raise self.cause(error) from None

    def order(self, order: object, rank: int | None = None) -> None:
        """Have a rank do this; all of them by default."""
        for each in self._of(rank):
            each.pipe.send(order)

    def answers(self, rank: int | None = None) -> list[Any]:
        """What ranks say of their last order. Raises RankError for one that failed, died or is silent."""
        return [each.answer() for each in self._of(rank)]

    def _of(self, rank: int | None) -> list[RankProcess]:
        return self._processes if rank is None else [self._processes[rank - 1]]

    def tell(self, call: Call) -> None:
        """Have every rank make this call. One thread at a time. Raises RankError."""
        self._require_sound()
        try:
            self._ring.write(encode(call))
        except Behind as error:
            raise self.cause(error) from None

    def ask(self, rank: int, draft: int, call: Call, answered: bool) -> Any:
        """Have a rank's draft make a call; what it answers, if it does. One thread at a time for each draft.

        Raises RankError.
        """
        self._require_sound()
        ring, pipe = self._processes[rank - 1].drafts[draft]
        try:
            ring.write(encode(call))
            return pipe.recv() if answered else None
        except (Behind, EOFError, OSError) as error:
            raise self.cause(error) from None

    def _require_sound(self) -> None:
        if self._failure:
            raise RankError(self._failure)

    def cause(self, error: BaseException) -> RankError:
        """Which rank is behind an ``error`` of this one: a rank that has died or failed, else this one.

        It takes the error's place: what a collective says of a rank that is gone says nothing of the cause.
        """
        # A broken connection is felt before the process is gone.
        if connection.wait(self._sentinels, timeout=FELT_S):
            return RankError(self._why_ended())
        return RankError(f"rank 0 ({self.names[0]}): {type(error).__name__}: {error}")

    def _why_ended(self) -> str:
        """Of the rank that was the first to go: one that could say nothing, else by the time of its word."""
        with self._lock:
            if not self._failure:
                gone = connection.wait(self._sentinels, timeout=0)
                self._failure = min(each.ending() for each in self._processes if each.sentinel in gone)[1]
            return self._failure

    def watch(self, report: Callable[[Exception], None]) -> None:
        """Call ``report`` from another thread, once, if a rank dies; the last one given."""
        waiting, self._report = self._report is not None, report
        if not waiting:
            threading.Thread(target=self._wait, name="ranks", daemon=True).start()

    def _wait(self) -> None:
        while not (gone := connection.wait(self._sentinels, timeout=CHECK_S)) and not self._closing:
            since = self.since
            if since is not None and time.monotonic() - since > self._meeting.timeout_s:
                waited = f"has waited for the other ranks for {self._meeting.timeout_s:g} s"
                self._failure = f"rank 0 ({self.names[0]}) {waited}"
                break
        if not self._closing and self._report is not None:
            self._report(RankError(self._why_ended() if gone else self._failure))

    def hops(self) -> dict[str, Hops]:
        """By device: how calls travelled since the last time this was asked. No lane may be calling."""
        self.tell(Call(REPORT))
        found = {}
        for name, said in zip(self.names[1:], self.answers(), strict=True):
            nanoseconds = np.array(array("q", said) or [0], np.float64)
            p50, p99 = np.percentile(nanoseconds, (50, 99)) * 1e-9
            found[name] = Hops(len(said) // 8, float(nanoseconds.mean()) * 1e-9, float(p50), float(p99))
        return found

    def stop(self) -> bool:
        """Tell every rank to end; was there none that died, failed or is stuck?"""
        if self._failure or self._closing or connection.wait(self._sentinels, timeout=0):
            return False
        self._closing = self._stopped = True
        drafts = [ring for each in self._processes for ring, _ in each.drafts]
        try:
            for ring in (self._ring, *drafts):
                ring.write(encode(Call(STOP)))
        except Behind:
            self._stopped = False
        return self._stopped

    def close(self) -> None:
        """End the processes, by force where they were not told to stop or do not. Once."""
        self._closing = True
        for each in self._processes:
            each.close(END_S if self._stopped else 0.0)
        self._processes.clear()
        self._ring.close()
        self._folder.cleanup()
