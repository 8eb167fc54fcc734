"""What the devices of a divided decoder tell each other: sums and gatherings, in the same order on all."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F

GLOO = "gloo"  # its one way of summing
REPEATS = 9  # of a sum that is timed
TIMEOUT_S = 120.0  # after which a device that waits for another gives up


class Addition(NamedTuple):
    """How attention or MLP ends: ``residual`` gains the sum of all ranks' ``x @ weight.T``, and is normed."""

    x: torch.Tensor  # [tokens, this rank's inputs]
    weight: torch.Tensor  # [hidden, this rank's inputs]
    residual: torch.Tensor  # [tokens, hidden]; changed in place
    norm: torch.Tensor  # [hidden]: the weights of the RMS norm
    epsilon: float  # of the norm
    turn: int  # 0 and 1 by turns


class Collectives(Protocol):
    """Each method is called by all ``ranks``, in the same order, with tensors of the same shape."""

    ranks: int

    def prepare(self, hidden: int, dtype: torch.dtype) -> None:
        """Before the first sum: make ready for sums of vectors of ``hidden`` numbers."""
        ...

    def sum_of(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """``x @ weight.T``, summed over the ranks. The result may be overwritten by the next call."""
        ...

    def add_norm_of(self, addition: Addition) -> torch.Tensor | None:
        """The normed residual, made by one kernel. None, and nothing done, where there is no such kernel.

        Every rank gets None for the same numbers of tokens.
        """
        return None

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` summed over the ranks, in its place or in a new tensor."""
        ...

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """Every rank's ``x``: ``[ranks, *x.shape]``."""
        ...

    def times(self, tokens: int) -> dict[str, float]:
        """Seconds of a sum over so many tokens by each way that there is. After :meth:`prepare`."""
        ...

    def close(self) -> None:
        """End it, as all ranks do at this time. No call follows."""
        ...

    def abort(self) -> None:
        """End it where another rank is gone."""
        ...


class Gloo(Collectives):
    """On CPUs, through torch's gloo. Ranks meet by a ``store``, a file; over the loopback interface."""

    def __init__(self, rank: int, ranks: int, store: Path, timeout_s: float = TIMEOUT_S) -> None:

        from torch import distributed

        c10d: Any = distributed
        group = c10d.ProcessGroupGloo
        options = group._Options()
        options._devices = [group.create_device(hostname="127.0.0.1")]
        options._timeout = timedelta(seconds=timeout_s)
        options._threads = 1
        self.ranks = ranks
        self._hidden, self._dtype = 0, torch.float32
        # The group itself: torch's default one, which is global, is left to whoever embeds this.
        self._group = group(c10d.FileStore(str(store), ranks), rank, ranks, options)

    def prepare(self, hidden: int, dtype: torch.dtype) -> None:
        """See :class:`Collectives`."""
        self._hidden, self._dtype = hidden, dtype

    def sum_of(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """See :class:`Collectives`."""
        return self.sum(F.linear(x, weight))

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """See :class:`Collectives`."""
        self._group.allreduce([x]).wait()
        return x

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """See :class:`Collectives`."""
        parts = [torch.empty_like(x) for _ in range(self.ranks)]
        self._group.allgather([parts], [x.contiguous()]).wait()
        return torch.stack(parts)

    def times(self, tokens: int) -> dict[str, float]:
        """See :class:`Collectives`: the median of some."""
        x = torch.zeros(tokens, self._hidden, dtype=self._dtype)
        spans = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            self.sum(x)
            spans.append(time.perf_counter() - begun)
        return {GLOO: statistics.median(spans)}

    def close(self) -> None:
        """See :class:`Collectives`."""

    def abort(self) -> None:
        """See :class:`Collectives`: its sockets end with the processes."""
