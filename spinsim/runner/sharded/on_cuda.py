"""Sums and gatherings between the GPUs of one machine, within CUDA graphs or outside.

A sum goes one of three ways. NCCL's all-reduce is for prompts. The two over symmetric memory are for the few
tokens of a round: every GPU reads the others' buffers itself, all of them (``one_shot``), or its part of them
before the parts are gathered (``two_shot``). Which is fastest is measured at the start, by tokens. The sums
of few tokens within a layer go in one kernel with the residual and the norm (:mod:`summed_norm`) where that
is right and faster.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from spinsim.runner.sharded.collectives import Addition
from spinsim.runner.sharded.summed_norm_trial import REPEATS, InOne, captured_s, tried

NCCL, ONE_SHOT, TWO_SHOT, IN_ONE = "nccl", "one_shot", "two_shot", "in_one"
WAYS = (NCCL, ONE_SHOT, TWO_SHOT)  # of a sum by itself
MOST_TOKENS = 1024  # that go through symmetric memory; its buffer has room for so many
OPEN_S = 15.0  # for the GPUs to meet over symmetric memory
END_S = 5.0  # for NCCL to end

ENVIRONMENT = {
    # Multicast over NVLink is left alone: not every machine with NVLink lends it.
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    # torch would end the process where a collective fails, and with it what a run has to tell.
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",
    "TORCH_NCCL_ENABLE_MONITORING": "0",
}


class CudaCollectives:
    """Implements :class:`~spinsim.runner.sharded.collectives.Collectives` on GPUs.

    :meth:`prepare` comes before the first sum. Until then, and where symmetric memory is not to be had
    (``symmetric`` False, and ``why_not``), all goes through NCCL.
    """

    def __init__(
        self,
        rank: int,
        ranks: int,
        device: torch.device,
        store: Path,
        timeout_s: float,
        *,
        symmetric: bool = True,
        in_one_kernel: bool = True,
    ) -> None:
        """``symmetric`` False: all goes through NCCL. ``in_one_kernel``: sums may go with residual and norm.

        Raises RuntimeError where this process has a process group already.
        """
        os.environ.update(ENVIRONMENT)
        from torch import distributed

        self.rank, self.ranks, self.device = rank, ranks, device
        torch.cuda.set_device(device)
        # The default group, since symmetric memory finds a group by its name alone.
        if distributed.is_initialized():
            raise RuntimeError(
                "this process has a process group already; one divided target at a time, and in another "
                "process where an earlier one did not end"
            )
        name_next_group(store)
        self._store: Any = distributed.FileStore(str(store), ranks)  # type: ignore[attr-defined]
        distributed.init_process_group(
            "nccl",
            store=self._store,
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=timeout_s),
            device_id=device,
        )
        self._distributed: Any = distributed
        self._group: Any = distributed.group.WORLD
        self._buffer: torch.Tensor | None = None
        self._hidden, self._dtype = 0, torch.float32
        self.why_not = "" if symmetric else "an earlier target of this process had it"
        self._timeout = timedelta(seconds=timeout_s)
        self.ways: dict[int, str] = {}  # the fastest by tokens, ascending
        self.measured: dict[int, dict[str, float]] = {}  # seconds of a sum, by tokens and way
        self.in_one = InOne(why_not="" if in_one_kernel else "not asked for")

    @property
    def symmetric(self) -> bool:
        """Is there symmetric memory between the GPUs?"""
        return self._buffer is not None

    def prepare(self, hidden: int, dtype: torch.dtype) -> None:
        """Symmetric memory for sums of up to ``MOST_TOKENS`` rows, and the fastest way by their number."""
        self._hidden, self._dtype = hidden, dtype
        if not self.why_not:
            self._store.set_timeout(timedelta(seconds=OPEN_S))
            self._open(hidden, dtype)
            self._store.set_timeout(self._timeout)
        if self._buffer is not None:
            tokens = 1
            while tokens <= MOST_TOKENS:
                self._measure(tokens, hidden, dtype)
                tokens *= 2
            if not self.in_one.why_not:
                self.in_one = tried(self, self._group, hidden, dtype, list(self.measured))

    def _open(self, hidden: int, dtype: torch.dtype) -> None:
        try:
            import torch.distributed._symmetric_memory as symmetric_memory

            memory: Any = symmetric_memory
            buffer = memory.empty(MOST_TOKENS * hidden, dtype=dtype, device=self.device)
            memory.rendezvous(buffer, self._group)
            self._buffer = buffer
            self._try(hidden, dtype)
        except (ImportError, RuntimeError, AttributeError) as error:
            self.why_not = " ".join(str(error).split())[:200] or type(error).__name__
            self._buffer = None
        # All or none: a rank that went another way would wait for ever.
        if not self.everyone(self.symmetric):
            self._buffer = None

    def everyone(self, here: bool) -> bool:
        """Is it so on every rank? All that their GPUs were given before is done then."""
        torch.cuda.synchronize(self.device)
        have = torch.tensor([int(here)], device=self.device)
        self._distributed.all_reduce(have, op=self._distributed.ReduceOp.MIN)
        return bool(have.item())

    def over_nccl(self, x: torch.Tensor, *, largest: bool = False) -> torch.Tensor:
        """``x`` becomes the sum of all ranks', or the largest of each number."""
        kind = self._distributed.ReduceOp
        self._distributed.all_reduce(x, op=kind.MAX if largest else kind.SUM)
        return x

    def _try(self, hidden: int, dtype: torch.dtype) -> None:
        """Raises RuntimeError where a sum over symmetric memory fails, or is wrong."""
        for way in (ONE_SHOT, TWO_SHOT):
            found = self._sum(way, torch.ones(2, hidden, dtype=dtype, device=self.device))
            if not bool((found == self.ranks).all()):
                raise RuntimeError(f"{way} over symmetric memory gave a wrong sum")

    def _measure(self, tokens: int, hidden: int, dtype: torch.dtype) -> None:
        said = self.measured[tokens] = self._times(WAYS, tokens, hidden, dtype)
        self.ways[tokens] = min(said, key=said.__getitem__)

    def _times(self, ways: Sequence[str], tokens: int, hidden: int, dtype: torch.dtype) -> dict[str, float]:
        times = torch.zeros(len(ways), device=self.device)
        for number, way in enumerate(ways):
            times[number] = self.time(way, tokens, hidden, dtype)
        # The slowest rank's time counts, and all ranks decide by the same.
        return dict(zip(ways, self.over_nccl(times, largest=True).tolist(), strict=True))

    def times(self, tokens: int) -> dict[str, float]:
        """See :class:`~spinsim.runner.sharded.collectives.Collectives`; measured before where it was."""
        ways = WAYS if self.symmetric and tokens <= MOST_TOKENS else (NCCL,)
        found = self.measured.get(tokens) or self._times(ways, tokens, self._hidden, self._dtype)
        in_one = self.in_one.measured.get(tokens)
        return found if in_one is None else {**found, IN_ONE: in_one}

    def time(self, way: str, tokens: int, hidden: int, dtype: torch.dtype) -> float:
        """Seconds of one sum ``[tokens, hidden]`` within a graph of many. All ranks call it.

        Over symmetric memory what is summed is in the buffer already, as a matrix product leaves it there.
        """
        if way == NCCL:
            x = torch.zeros(tokens, hidden, dtype=dtype, device=self.device)
        else:
            x = self._part((tokens, hidden)).zero_()

        def sums() -> None:
            for _ in range(REPEATS):
                if way == NCCL:
                    self._sum(NCCL, x)
                else:
                    self._join(way, x)

        return captured_s(sums, self.device) / REPEATS

    def way_of(self, tokens: int) -> str:
        """How a sum over so many tokens goes: as the next larger number that was measured."""
        return next((way for most, way in self.ways.items() if tokens <= most), NCCL)

    def in_one_kernel(self, tokens: int) -> bool:
        """Do a layer's sums over so many tokens go with residual and norm?"""
        for most, seconds in self.in_one.measured.items():
            if tokens <= most:
                return seconds < min(self.measured[most].values())
        return False

    def add_norm_of(self, addition: Addition) -> torch.Tensor | None:
        """See :class:`~spinsim.runner.sharded.collectives.Collectives`."""
        x, weight, residual, norm, epsilon, turn = addition
        end = self.in_one.end
        if end is None or not self.in_one_kernel(x.shape[0]):
            return None
        torch.mm(x, weight.t(), out=end.part(turn, x.shape[0], weight.shape[0]))
        return end.join(turn, residual, norm, epsilon)

    def sum_of(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """See :class:`~spinsim.runner.sharded.collectives.Collectives`."""
        way = self.way_of(x.shape[0])
        if way == NCCL:
            return self._sum(NCCL, F.linear(x, weight))
        part = self._part((x.shape[0], weight.shape[0]))
        torch.mm(x, weight.t(), out=part)  # into the buffer that the others read: no copy
        return self._join(way, part)

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """See :class:`~spinsim.runner.sharded.collectives.Collectives`."""
        way = self.way_of(x.shape[0])
        found = self._sum(way, x)
        return found.clone() if way == TWO_SHOT else found

    def _sum(self, way: str, x: torch.Tensor) -> torch.Tensor:
        if way == NCCL:
            return self.over_nccl(x)
        part = self._part(x.shape)
        part.copy_(x)
        return self._join(way, part)

    def _part(self, shape: tuple[int, ...]) -> torch.Tensor:
        assert self._buffer is not None
        return self._buffer[: shape[0] * shape[1]].view(shape)

    def _join(self, way: str, part: torch.Tensor) -> torch.Tensor:
        operators: Any = torch.ops.symm_mem
        join: Callable[..., torch.Tensor] = (
            operators.one_shot_all_reduce if way == ONE_SHOT else operators.two_shot_all_reduce_
        )
        return join(part, "sum", self._group.group_name)

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """See :class:`~spinsim.runner.sharded.collectives.Collectives`."""
        found = x.new_empty(self.ranks, *x.shape)
        self._distributed.all_gather_into_tensor(found.flatten(0, 1), x.contiguous())
        return found

    def close(self) -> None:
        """See :class:`~spinsim.runner.sharded.collectives.Collectives`.

        Graphs go first: NCCL waits until none holds its calls any more, for ever if need be.
        """
        self._buffer, self.in_one = None, InOne(why_not="closed")
        if not _ends(self._distributed.destroy_process_group):
            atexit.register(_leave)

    def abort(self) -> None:
        """See :class:`~spinsim.runner.sharded.collectives.Collectives`.

        A kernel that waits for a lost GPU over symmetric memory never ends, and what CUDA does as a process
        ends would wait for it.
        """
        atexit.register(_leave)
        _ends(self._distributed.distributed_c10d._abort_process_group)


_claims = count()


def claim_symmetric_memory() -> bool:
    """May the next target that this process leads have symmetric memory? True once in the life of a process.

    torch numbers its meetings over symmetric memory by process, from 0 on, and ranks meet under their numbers
    (``StoreExchange`` in CUDASymmetricMemoryUtils.hpp). The ranks of a later target are new processes, which
    would wait for this one at number 0 while it waits for them at a higher one.
    """
    return next(_claims) == 0


def name_next_group(store: Path) -> None:
    """Give torch's next default group a name of its own, alike on all ranks that meet by ``store``.

    torch calls every default group "0". What it keeps by a name, symmetric memory's stores among it, it keeps
    for as long as the process lives.
    """
    from torch import distributed

    world: Any = distributed.distributed_c10d._world
    world.group_count = int.from_bytes(hashlib.blake2b(str(store).encode(), digest_size=4).digest(), "big")


def _ends(end: Callable[[], object]) -> bool:
    """Call it; did it return within ``END_S``?"""
    thread = threading.Thread(target=end, name="end of collectives", daemon=True)
    thread.start()
    thread.join(END_S)
    return not thread.is_alive()


def _leave() -> None:
    """End this process without what waits for other GPUs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
