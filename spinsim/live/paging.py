"""Tells the runners which K/V blocks of the engine an operation's rows have, before it executes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from spinsim.engine.kv import KvPools
from spinsim.operations import CatchUp, Operation, Propose

if TYPE_CHECKING:
    from spinsim.runner.base import Runner

Execute = Callable[[], Any]


class Paging:
    """The pools of the engine beside the runners whose K/V lie in their blocks; in the scenario's order.

    Blocks are read on the engine's thread when an operation is submitted, and laid on the lane's thread
    before it is executed. A lane executes in order, and the engine frees what no operation in flight uses,
    so a block that was given to somebody else is not written by its former holder after that.

    Only rows whose blocks have changed since an operation of their model are laid: all rows of a batch would
    take 0.1 to 0.3 ms before every pass, and most contexts need no new block in a round.
    """

    def __init__(self, pools: KvPools, target: Runner, drafts: Sequence[Runner | None]) -> None:
        self._pools, self._target, self._drafts = pools, target, drafts
        # By model, the target's first: slot -> the change of its blocks that was laid last.
        self._laid: list[dict[int, int]] = [{} for _ in pools.every]

    def before(self, operation: Operation, execute: Execute) -> Execute:
        """``execute`` with the pages of the operation's rows laid before; as it is where none is to lay."""
        runner: Runner | None = self._target
        pool, laid = self._pools.target, self._laid[0]
        if isinstance(operation, Propose | CatchUp):
            pool, runner = self._pools.drafts[operation.draft], self._drafts[operation.draft]
            laid = self._laid[1 + operation.draft]
        if pool.full or runner is None:
            return execute
        changed, known = pool.changed, laid.get
        slots = [slot for slot in operation.slots if known(slot) != changed[slot]]
        if not slots:
            return execute
        laid.update((slot, changed[slot]) for slot in slots)
        blocks = [pool.blocks_of(slot) for slot in slots]

        def paged() -> Any:
            runner.hold(slots, blocks)
            return execute()

        return paged
