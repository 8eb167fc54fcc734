"""What live lanes ask of a runner: one model, on one device or on several.

:class:`Runner` is the door. ``eager.py`` and ``graphs/runner.py`` are one model on one device, ``sharded/``
is one model on several. A lane calls one method at a time, from its own thread::

    runner.hold(slots, blocks)                           # where K/V lie in pages
    first  = runner.prefill(chunk_rows, sampling)        # int64 [R]
    best   = runner.catch_up(chunk_rows, predict)        # int64 [sum of tokens]
    ahead  = runner.propose(draft_rows, sampling)        # a Proposal
    done   = runner.verify(verify_rows, packed, sampling)  # Verified

``rows.py`` says what rows are. Every call returns when the model's devices have done it, and what it returns
is the host's, but for the probabilities of sampled proposals. Rolling back is not a call: the next call
states the length it builds on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch

from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.graphs.buffers import Array
from spinsim.runner.pages import Blocks
from spinsim.runner.rows import AS_RAGGED, ChunkRows, DraftRows, PackedAs, Proposal, Verified, VerifyRows
from spinsim.runner.sampling import GREEDY, Sampling

Progress = Callable[[int, int], None]  # (passes recorded, passes to record)


@runtime_checkable
class TellsEntropies(Protocol):
    """A draft's runner that can say how sure it was of its proposals; another's are never stopped early."""

    tells_entropies: bool

    def tell_entropies(self) -> None:
        """Proposals say so from now on. Before anything is captured."""


class Runner(Protocol):
    """One model with its K/V cache. One thread at a time."""

    @property
    def device(self) -> torch.device:
        """Where probabilities of proposals are read and left."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and K/V."""
        ...

    @property
    def slot_tokens(self) -> int:
        """The longest context that a slot can hold."""
        ...

    @property
    def graphs(self) -> bool:
        """Are proposals and verifications replayed from CUDA graphs?"""
        ...

    @property
    def prompt_graphs(self) -> bool:
        """Are prefill and catch-up?"""
        ...

    def capture(
        self,
        role: str,
        kinds: Sequence[str] = (RAGGED,),
        progress: Progress | None = None,
        *,
        predict: bool = False,
    ) -> int:
        """Record before a run what a ``draft`` or the ``target`` (with these packings) will need.

        Returns how many passes were recorded: 0 where none are. ``predict``: will the draft's catch-ups be
        asked for predictions?
        """
        ...

    def hold(self, slots: Sequence[int], blocks: Sequence[Blocks]) -> None:
        """``slots[i]`` has the K/V pages ``blocks[i]``, in this order, from the next call on."""
        ...

    def apart(self) -> int:
        """Every slot on pages of its own, as at first; returns how many slots are whole."""
        ...

    def share(self) -> None:
        """Every slot whole, on pages of others where there are too few: for measuring times alone."""
        ...

    def fill(self) -> None:
        """Random numbers into the K/V cache, to measure with: zeros draw less power and run faster."""
        ...

    def settle(self) -> None:
        """Wait for what any thread has put on the model's devices."""
        ...

    def prefill(self, rows: ChunkRows, sampling: Sampling = GREEDY) -> Array:
        """Tokens enter the cache; returns each row's next token, ``[R]``."""
        ...

    def catch_up(self, rows: ChunkRows, predict: bool = True) -> Array:
        """Tokens enter the cache likewise; returns the most likely successor of every one, packed.

        Without ``predict`` the result is empty.
        """
        ...

    def propose(self, rows: DraftRows, sampling: Sampling = GREEDY) -> Proposal:
        """``lengths[i]`` tokens after each context."""
        ...

    def verify(self, rows: VerifyRows, packed: PackedAs = AS_RAGGED, sampling: Sampling = GREEDY) -> Verified:
        """One pass over each row's last token and its proposals."""
        ...

    def watch(self, report: Callable[[Exception], None]) -> None:
        """Call ``report`` from another thread, once, if a device of the model is lost; the last one given."""
        ...

    def close(self) -> None:
        """End what the runner started or holds, if anything. It is of no use afterwards."""
        ...
