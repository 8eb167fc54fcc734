"""Operations of a deployment on the bench, each under a stated condition."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.kernel_session import PROPOSED
from spinsim.live.world import Proposed
from spinsim.operations import Prefill, Propose, Verify
from spinsim.packings import packing_kind
from spinsim.profiling.bench import Bench
from spinsim.runner.kv import SlotCache

SAMPLES, WARM_UPS = 9, 3
FLUSHED_BYTES = 1 << 28  # more than any GPU's cache
CHILLED_BYTES = 1 << 26  # more than a core's caches
DRAFTS = {"propose fast": 0, "propose large": 1}


@dataclass(frozen=True)
class Condition:
    """``lengths``: "" for rows alike, "lognormal", or "long" for one row of ``longest`` (0: all it can be).

    ``before``: what runs before each pass ("verify", "propose", "prefill", or "other", a draft's pass before
    the target's and the other way round). ``laid``: the page table is written before each pass.
    ``chill`` and ``flush``: the host's or the GPU's cache holds other things.
    """

    name: str
    lengths: str = ""
    longest: int = 0
    scattered: bool = False
    laid: bool = False
    gap_s: float = 0.0
    chill: bool = False
    flush: bool = False
    before: str = ""


class Found(NamedTuple):
    """Medians: seconds of the lane's worker, and of the device alone (0 on a CPU)."""

    seconds: float
    device_s: float
    contexts: list[int]
    pieces: int


def _before(what: str, before: str) -> str:
    """The operation of another kind that is meant; "other" is that of the other side of a round."""
    if before == "other":
        before = "verify" if what in DRAFTS else "propose"
    return {"propose": "propose fast", "verify": "verify ragged"}.get(before, before)


def unequal(context: int, rows: int, longest: int, sigma: float = 0.6) -> list[int]:
    """Lengths like those of a round: lognormal, ``rows * context`` in all."""
    drawn = np.random.default_rng(1).lognormal(0.0, sigma, rows)
    for _ in range(20):
        drawn = np.clip(drawn * (rows * context / drawn.sum()), 16, longest)
    return [int(length) for length in drawn]


def long_row(context: int, rows: int, longest: int) -> list[int]:
    """One row of ``longest`` or of half the tokens, the others alike; ``rows * context`` in all."""
    total = rows * context
    first = min(longest, total // 2)
    return [first, *[max(2, (total - first) // (rows - 1))] * (rows - 1)]


class Passes:
    """Passes of ``rows`` rows of up to ``longest`` tokens, and prefills of ``prompt`` new ones."""

    def __init__(self, bench: Bench, rows: int, longest: int, prompt: int) -> None:
        self.bench, self.rows, self.longest, self.prompt = bench, rows, longest, prompt
        self.device = bench.deployment.target.device
        self._events: list[Any] = []
        self._flushed = torch.empty(FLUSHED_BYTES if self.device.type == "cuda" else 16, device=self.device)
        self._chilled = np.ones(CHILLED_BYTES // 8)
        self._random = np.random.default_rng(0)

    def lengths(self, context: int, condition: Condition) -> list[int]:
        """Contexts of the rows; ``context`` in the mean."""
        if condition.lengths == "lognormal":
            return unequal(context, self.rows, self.longest)
        if condition.lengths == "long":
            return long_row(context, self.rows, min(self.longest, condition.longest or self.longest))
        return [context] * self.rows

    def measure(self, what: str, context: int, condition: Condition, piece: int = 0) -> Found:
        """An operation under a condition."""
        contexts = self.lengths(context, condition)
        lane, execute, cache, pieces = self._operation(what, contexts, piece)
        before = None
        room = contexts
        if condition.before:
            alike = [context] * self.rows
            usual = _before(what, condition.before)
            before = self._operation(usual, alike, 0)
            self._hold(before[2], alike, False)
            room = list(map(max, contexts, alike))
        slots, blocks = self._hold(cache, room, condition.scattered)
        self.bench.settle()

        def laid() -> Any:
            cache.table.hold(slots, blocks)
            return execute()

        timed = self._between_events(laid if condition.laid else execute, cache.device)
        seconds, device_s = [], []
        for number in range(SAMPLES + WARM_UPS):
            if before is not None:
                self.bench.stamps(before[0], "before", before[1])
            if condition.flush:
                self._flushed.add_(1.0)
                self.bench.settle()
            if condition.chill:
                self._chilled += 1.0
            if condition.gap_s:
                time.sleep(condition.gap_s)
            stamps = self.bench.stamps(lane, what, timed)
            if number >= WARM_UPS:
                seconds.append(stamps.seconds)
                device_s.append(self._device_s())
        return Found(statistics.median(seconds), statistics.median(device_s), contexts, pieces)

    def busy(self, what: str, context: int, seconds: float) -> None:
        """Keep the GPU at work without a pause."""
        lane, execute, cache, _ = self._operation(what, [context] * self.rows, 0)
        self._hold(cache, [context] * self.rows, False)
        end = time.perf_counter() + seconds
        queued = 0
        while time.perf_counter() < end or queued:
            while queued < 3 and time.perf_counter() < end:
                self.bench.submit(lane, "busy", execute)
                queued += 1
            self.bench.next_completed()
            queued -= 1

    def _between_events(self, execute: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
        """``execute`` between two events of its lane's stream."""
        if device.type != "cuda":
            return execute
        cuda: Any = torch.cuda
        first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self._events = [first, last]

        def timed() -> Any:
            first.record()
            found = execute()
            last.record()
            return found

        return timed

    def _device_s(self) -> float:
        if not self._events:
            return 0.0
        first, last = self._events
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3

    def _hold(
        self, cache: SlotCache, contexts: Sequence[int], scattered: bool
    ) -> tuple[Sequence[int], list[Any]]:
        """Lay the rows' pages; the slots, and their pages."""
        blocks = self._pages(cache, contexts, scattered)
        slots = range(len(blocks))
        cache.table.hold(slots, blocks)
        return slots, blocks

    def _pages(self, cache: SlotCache, contexts: Sequence[int], scattered: bool) -> list[Any]:
        """Pages of the rows, in order or all over the cache; where it is too small, rows share some."""
        order = np.arange(cache.pages, dtype=np.int32)
        if scattered:
            order = np.random.default_rng(0).permutation(cache.pages).astype(np.int32)
        found, begin = [], 0
        for context in contexts:
            count = min(cache.table.width, -(-(context + PROPOSED + 1) // cache.page_tokens))
            found.append(order[np.arange(begin, begin + count) % cache.pages])
            begin += count
        return found

    def _operation(
        self, what: str, contexts: Sequence[int], piece: int
    ) -> tuple[int, Callable[[], Any], SlotCache, int]:
        """(lane, what its worker is to execute, the cache that it reads, pieces read)."""
        bench, executor, count = self.bench, self.bench.executor, len(contexts)
        rows, deployment = list(range(count)), bench.deployment
        if what.startswith("verify"):
            kind = packing_kind(what.removeprefix("verify "))
            kv = [context + PROPOSED for context in contexts]
            plan = kind.shape(kv, [PROPOSED + 1] * count, piece)
            checked = Verify(rows, rows, list(contexts), [1] * count, [0] * count, [PROPOSED] * count, plan)
            proposal = bench.proposal(count, PROPOSED, self.device)
            proposed: list[Proposed | None] = [Proposed(proposal, row) for row in rows]
            last = [1] * count
            return (
                bench.target_lane,
                lambda: executor.verify(checked, last, proposed),
                deployment.target.cache,
                plan.rows,
            )
        if what in DRAFTS:
            draft = DRAFTS[what]
            asked = Propose(draft, rows, rows, list(contexts), [PROPOSED] * count)
            tails = [(1, 2)] * count
            cache = deployment.drafts[draft].cache
            return (
                bench.draft_lanes[draft],
                lambda: executor.propose(asked, [1] * count, tails),
                cache,
                0,
            )
        start = max(0, contexts[0] - self.prompt)
        chunk = Prefill([0], [0], [start], [self.prompt], [True])
        tokens = [[1] * self.prompt]
        return (
            bench.target_lane,
            lambda: executor.prefill(chunk, tokens),
            deployment.target.cache,
            0,
        )
