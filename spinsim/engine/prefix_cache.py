"""Prompts that begin alike share their K/V: blocks of tokens by what their source calls them.

A request's first blocks that the cache knows need no prefill. While a request runs, its blocks lie in memory
that it holds anyway. When it has ended they stay in memory that nobody holds, and where that is short, those
left longest ago go first; of one request the last block, since a block is of no use without those before it.
Requests that run do not share memory with each other: as many fit as without a cache. Simulated only, and of
the target alone: drafts take in the whole prompt.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from spinsim.engine.kv import KvPool
from spinsim.workload.request import Request


class PrefixCache:
    """Blocks of ``block_tokens`` in what requests hold of ``pool``, and in what it has free."""

    def __init__(self, pool: KvPool, block_tokens: int) -> None:
        self._pool = pool
        self._block_tokens = block_tokens
        self._held: dict[int, tuple[int, ...]] = {}  # by request that runs: its blocks that are computed
        self._holders: Counter[int] = Counter()  # requests by block that they hold
        self._idle: OrderedDict[int, None] = OrderedDict()  # blocks in free memory; the first to go first

    def __len__(self) -> int:
        return len(self._holders) + len(self._idle)

    def take(self, request: Request) -> int:
        """Tokens of the prompt that are there; one is always left, to yield the first output token.

        The request has memory for its prompt by now. Its own blocks may lie there, others have to go.
        """
        found = 0
        for block in request.blocks:
            if block not in self._holders and block not in self._idle:
                break
            found += 1
        self._hold(request, found)
        self.make_room()
        return max(0, min(found * self._block_tokens, request.prompt_tokens - 1))

    def keep(self, request: Request) -> None:
        """The prompt has been computed. A last block that it does not fill has its own name, and is kept."""
        self._hold(request, len(request.blocks))

    def leave(self, request: Request) -> None:
        """The request's memory is free: its blocks stay there until somebody takes it."""
        for block in reversed(self._held.pop(request.id, ())):
            self._holders[block] -= 1
            if not self._holders[block]:
                del self._holders[block]
                self._idle[block] = None
        self.make_room()

    def make_room(self) -> None:
        """Give up the blocks that lay where others hold memory by now."""
        free = self._pool.blocks * self._pool.block_tokens - self._pool.used_tokens
        while len(self._idle) * self._block_tokens > free:
            self._idle.popitem(last=False)

    def _hold(self, request: Request, count: int) -> None:
        """The first ``count`` blocks of the request lie in its own memory."""
        blocks = tuple(dict.fromkeys(request.blocks[:count]))
        for block in blocks[len(self._held.get(request.id, ())) :]:
            self._holders[block] += 1
            self._idle.pop(block, None)
        self._held[request.id] = blocks
