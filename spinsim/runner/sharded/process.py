"""One rank's process as the leading rank holds it: started, heard, ended."""

from __future__ import annotations

from multiprocessing import connection
from typing import Any

from spinsim.runner.sharded import follower
from spinsim.runner.sharded.orders import Meeting
from spinsim.runner.sharded.ring import Ring

START_S = 300.0  # for a rank to import torch, and to load a share
END_S = 10.0  # for a rank to end by itself


class RankError(RuntimeError):
    """A rank died, failed or took no call; the message names it and the cause."""


class RankProcess:
    """The process of ``rank`` on the device ``name``, started at once.

    ``drafts``: ring and pipe of each draft that it has besides, of which there are ``hosted``.
    """

    def __init__(
        self, context: Any, rank: int, name: str, meeting: Meeting, ring: Ring, hosted: int, threads: int
    ) -> None:
        self.named = f"rank {rank} ({name})"
        self.pipe, theirs = context.Pipe()
        self.drafts: list[tuple[Ring, Any]] = []
        told = []
        for _ in range(hosted):
            draft_ring, (ours, end) = Ring(context, 1, patience_s=meeting.timeout_s), context.Pipe()
            self.drafts.append((draft_ring, ours))
            told.append((draft_ring, end))
        self.process = context.Process(
            target=follower.follow,
            args=(rank, meeting, theirs, ring, told, threads),
            name=f"spinsim {self.named}",
            daemon=True,
        )
        self.process.start()
        # Or the end of the process would not end what it writes to.
        for end in (theirs, *(end for _, end in told)):
            end.close()
        self.sentinel: int = self.process.sentinel
        self._word: tuple[int, str] | None = None  # when it failed and why, once it said so

    def answer(self) -> Any:
        """What it says of its last order. Raises RankError where it failed, died or is silent."""
        if not connection.wait([self.pipe, self.sentinel], timeout=START_S):
            raise RankError(f"{self.named} gave no answer for {START_S:g} s")
        what, value = self._read() if self.pipe.poll() else (follower.FAILED, None)
        if what == follower.FAILED:
            raise RankError(self.ending()[1])
        return value

    def _read(self) -> tuple[str, Any]:
        try:
            what, value = self.pipe.recv()
        except (EOFError, OSError):
            return follower.FAILED, None
        if what == follower.FAILED:
            self._word = value
        return what, value

    def ending(self) -> tuple[int, str]:
        """Of one that has ended, or is about to: when it said why (0: it did not), and why."""
        while self._word is None:
            what, value = self._read()
            if what == follower.FAILED and value is None:
                break
        self.process.join(END_S)
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        stamp_ns, words = self._word or (0, how)
        return stamp_ns, f"{self.named} {words}"

    def close(self, patience_s: float) -> None:
        """End it, by force where it does not within ``patience_s``."""
        self.process.join(patience_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()
        self.pipe.close()
        for ring, pipe in self.drafts:
            ring.close()
            pipe.close()
