"""Prompts that begin alike share their K/V: blocks of tokens by what their source calls them.

A request's first blocks that the cache holds need no prefill. Blocks stay after their request has ended, in
memory that nobody else holds, and the least recently used go first where it is short. Requests that run do
not share memory with each other: as many fit as without a cache. Simulated only, and of the target alone:
drafts take in the whole prompt.
"""

from __future__ import annotations

from collections import OrderedDict

from spinsim.engine.kv import KvPool
from spinsim.workload.request import Request


class PrefixCache:
    """Blocks of ``block_tokens`` in what ``pool`` has free."""

    def __init__(self, pool: KvPool, block_tokens: int) -> None:
        self._pool = pool
        self._block_tokens = block_tokens
        self._blocks: OrderedDict[int, None] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, request: Request) -> int:
        """Tokens of the prompt that are there; one is always left, to yield the first output token."""
        self.make_room()
        found = 0
        for block in request.blocks:
            if block not in self._blocks:
                break
            self._blocks.move_to_end(block)
            found += 1
        return max(0, min(found * self._block_tokens, request.prompt_tokens - 1))

    def keep(self, request: Request) -> None:
        """The prompt has been computed. A last block that it does not fill has its own name, and is kept."""
        for block in request.blocks:
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        self.make_room()

    def make_room(self) -> None:
        """Give up the blocks that lay where others hold memory by now."""
        free = self._pool.blocks * self._pool.block_tokens - self._pool.used_tokens
        while len(self._blocks) * self._block_tokens > free:
            self._blocks.popitem(last=False)
