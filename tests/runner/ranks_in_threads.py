"""Ranks as threads of one process: the arithmetic of several devices, without processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F

from spinsim.runner.sharded.collectives import Collectives

Result = TypeVar("Result")


class Meeting:
    """Where ``ranks`` threads lay something down and read what all have."""

    def __init__(self, ranks: int) -> None:
        self.laid: list[Any] = [None] * ranks
        self.barrier = threading.Barrier(ranks)

    def exchange(self, rank: int, thing: Any) -> list[Any]:
        self.laid[rank] = thing
        self.barrier.wait()
        found = list(self.laid)
        self.barrier.wait()
        return found


class InThreads(Collectives):
    """Implements :class:`spinsim.runner.sharded.collectives.Collectives`."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.ranks, self._meeting = rank, len(meeting.laid), meeting

    def prepare(self, hidden: int, dtype: torch.dtype) -> None:
        pass

    def sum_of(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self.sum(F.linear(x, weight))

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._meeting.exchange(self.rank, x)).sum(0)

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._meeting.exchange(self.rank, x))

    def times(self, tokens: int) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def on_ranks(ranks: int, work: Callable[[int, InThreads], Result]) -> list[Result]:
    """What each rank's ``work`` returns. Raises the first error."""
    meeting, found, errors = Meeting(ranks), [None] * ranks, []

    def run(rank: int) -> None:
        try:
            with torch.inference_mode():
                found[rank] = work(rank, InThreads(rank, meeting))  # type: ignore[call-overload]
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found  # type: ignore[return-value]
