"""The processes of the ranks beside the leading one: started, told, watched and ended."""

from __future__ import annotations

import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from spinsim.runner.sharded import follower
from spinsim.runner.sharded.calls import REPORT, STOP, Call, encode
from spinsim.runner.sharded.collectives import TIMEOUT_S, Collectives
from spinsim.runner.sharded.orders import Meeting
from spinsim.runner.sharded.ring import Behind, Ring

START_S = 300.0  # for a rank to import torch, and to load a share
END_S = 10.0  # for a rank to end by itself
CHECK_S = 1.0  # between two looks at whether a call takes too long
FELT_S = 2.0  # between an error here and the death of the rank that is behind it


class RankError(RuntimeError):
    """A rank died, failed or took no call; the message names it and the cause."""


class Hops(NamedTuple):
    """How long calls took from the leading rank to another, in seconds."""

    calls: int
    mean_s: float
    p50_s: float
    p99_s: float


class Ranks:
    """Ranks 1 and up of one model, on ``devices[1:]``; the calling process is rank 0.

    ``names`` of the devices, for messages. ``drafts``: how many drafts each rank has besides (rank 0 none).
    The processes are started at once; :meth:`meet` waits for them.
    """

    def __init__(
        self,
        names: Sequence[str],
        devices: Sequence[torch.device],
        drafts: Sequence[int] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        context: Any = torch.multiprocessing.get_context("spawn")
        self.names = tuple(names)
        self._folder = tempfile.TemporaryDirectory(prefix="spinsim-ranks-")
        self._meeting = Meeting(
            tuple(map(str, devices)), Path(self._folder.name) / "store", max(timeout_s, 1.0)
        )
        self._ring = Ring(context, len(names) - 1, patience_s=timeout_s)
        threads = max(1, torch.get_num_threads() // len(names))
        self._pipes, self._processes, self._hosted = [], [], []
        self._closing, self._stopped, self._failure = False, False, ""
        self.since: float | None = None  # when the call under way began, of :func:`time.monotonic`
        self._lock = threading.Lock()
        self._endings: dict[int, Any] = {}  # by rank: when it failed and why, once it said so
        self._report: Callable[[Exception], None] | None = None
        for rank in range(1, len(names)):
            ours, theirs = context.Pipe()
            hosted = [
                (Ring(context, 1, patience_s=timeout_s), *context.Pipe())
                for _ in range(drafts[rank] if drafts else 0)
            ]
            told = [(ring, end) for ring, _, end in hosted]
            arguments = (rank, self._meeting, theirs, self._ring, told, threads)
            name = f"spinsim rank {rank} ({names[rank]})"
            process = context.Process(target=follower.follow, args=arguments, name=name, daemon=True)
            process.start()
            for end in (theirs, *(end for _, end in told)):
                end.close()
            self._hosted.append([(ring, near) for ring, near, _ in hosted])
            self._pipes.append(ours)
            self._processes.append(process)

    def meet(self) -> Collectives:
        """The leading rank's collectives, once every rank is there. Raises RankError."""
        self.answers()  # before that a rank is not waited for by a collective, which would not see it die
        try:
            return self._meeting.join(0)
        except RuntimeError as error:
            raise self.cause(error) from error

    def order(self, order: object, ranks: Sequence[int] = ()) -> None:
        """Have these ranks do this; all of them by default."""
        for rank in ranks or range(1, len(self.names)):
            self._pipes[rank - 1].send(order)

    def answers(self, ranks: Sequence[int] = ()) -> list[Any]:
        """What ranks say of their last order. Raises RankError for one that failed, died or is silent."""
        return [self._answer(rank) for rank in ranks or range(1, len(self.names))]

    def _answer(self, rank: int) -> Any:
        pipe, process = self._pipes[rank - 1], self._processes[rank - 1]
        if not connection.wait([pipe, process.sentinel], timeout=START_S):
            raise RankError(f"{self._named(rank)} gave no answer for {START_S:g} s")
        if pipe.poll():
            try:
                what, value = pipe.recv()
            except (EOFError, OSError):
                what, value = follower.FAILED, None
            if what != follower.FAILED:
                return value
            self._endings[rank] = value
        raise RankError(self._why_ended())

    def _named(self, rank: int) -> str:
        return f"rank {rank} ({self.names[rank]})"

    def tell(self, call: Call) -> None:
        """Have every rank make this call. One thread at a time. Raises RankError."""
        if self._failure:
            raise RankError(self._failure)
        try:
            self._ring.write(encode(call))
        except Behind as error:
            raise self.cause(error) from error

    def ask(self, rank: int, draft: int, call: Call, answered: bool) -> Any:
        """Have a rank's draft make a call; what it answers, if it does. One thread at a time for each draft.

        Raises RankError.
        """
        if self._failure:
            raise RankError(self._failure)
        ring, pipe = self._hosted[rank - 1][draft]
        try:
            ring.write(encode(call))
            return pipe.recv() if answered else None
        except (Behind, EOFError, OSError) as error:
            raise self.cause(error) from error

    def cause(self, error: BaseException) -> RankError:
        """Which rank is behind an ``error`` of this one: a rank that has died or failed, else unknown."""
        # A broken connection is felt before the process is gone.
        if connection.wait([process.sentinel for process in self._processes], timeout=FELT_S):
            return RankError(self._why_ended())
        return RankError(f"rank 0 ({self.names[0]}): {type(error).__name__}: {error}")

    def _why_ended(self) -> str:
        """Of the rank that was the first to go: one that could say nothing, else by the time of its word."""
        with self._lock:
            if not self._failure:
                self._failure = min(self._ended(), default=(0, "a rank failed, and none has ended"))[1]
            return self._failure

    def _ended(self) -> Iterator[tuple[int, str]]:
        """When each rank that ended said why (0: it did not), and why."""
        gone = set(connection.wait([process.sentinel for process in self._processes], timeout=END_S))
        for rank, (pipe, process) in enumerate(zip(self._pipes, self._processes, strict=True), start=1):
            if process.sentinel not in gone:
                continue
            said = self._endings.get(rank)
            while said is None:
                try:
                    what, value = pipe.recv()
                except (EOFError, OSError):
                    break
                said = value if what == follower.FAILED else None
            process.join(END_S)
            stamp_ns, words = said or (0, _how(process.exitcode))
            yield stamp_ns, f"{self._named(rank)} {words}"

    def watch(self, report: Callable[[Exception], None]) -> None:
        """Call ``report`` from another thread, once, if a rank dies; the last one given."""
        waiting, self._report = self._report is not None, report
        if not waiting:
            sentinels = [process.sentinel for process in self._processes]
            threading.Thread(target=self._wait, args=(sentinels,), name="ranks", daemon=True).start()

    def _wait(self, sentinels: Sequence[int]) -> None:
        while not connection.wait(sentinels, timeout=CHECK_S):
            since = self.since
            if self._closing:
                return
            if since is not None and time.monotonic() - since > self._meeting.timeout_s:
                waited = f"has waited for the other ranks for {self._meeting.timeout_s:g} s"
                self._failure = f"rank 0 ({self.names[0]}) {waited}"
                break
        if not self._closing and self._report is not None:
            self._report(RankError(self._why_ended()))

    def hops(self) -> dict[str, Hops]:
        """By device: how calls travelled since the last time this was asked. No lane may be calling."""
        self.tell(Call(REPORT))
        found = {}
        for rank, said in enumerate(self.answers(), start=1):
            nanoseconds = np.array(array("q", said) or [0], np.float64)
            p50, p99 = np.percentile(nanoseconds, (50, 99)) * 1e-9
            mean = float(nanoseconds.mean()) * 1e-9
            found[self.names[rank]] = Hops(len(said) // 8, mean, float(p50), float(p99))
        return found

    def stop(self) -> bool:
        """Tell every rank to end; was there none that died, failed or is stuck?"""
        if self._failure or self._closing or not all(process.is_alive() for process in self._processes):
            return False
        self._closing = self._stopped = True
        try:
            for ring in (self._ring, *(ring for hosted in self._hosted for ring, _ in hosted)):
                ring.write(encode(Call(STOP)))
        except Behind:
            self._stopped = False
        return self._stopped

    def close(self) -> None:
        """End the processes, by force where they were not told to stop or do not."""
        self._closing = True
        for process in self._processes:
            process.join(END_S if self._stopped else 0.0)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        for pipe in (*self._pipes, *(pipe for hosted in self._hosted for _, pipe in hosted)):
            pipe.close()
        self._processes.clear()
        self._pipes.clear()
        self._folder.cleanup()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by signal {-code}"
    return f"ended with exit code {code}"
