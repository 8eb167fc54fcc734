"""What live lanes ask of a runner: one model, on one device or on several.

:class:`Runner` is the door. ``eager.py`` and ``graphs/runner.py`` are one model on one device, ``sharded/``
is one model on several. A lane calls one method at a time, from its own thread::

    runner.hold(slots, blocks)                                           # where K/V lie in pages
    first  = runner.prefill(slots, starts, token_lists, sampling)        # int64 [R]
    best   = runner.catch_up(slots, starts, token_lists, predict)        # int64 [sum of tokens]
    ahead  = runner.propose(slots, previous, last, contexts, lengths, sampling)
    done   = runner.verify(slots, last, contexts, lengths, tokens, probabilities, kind, piece, sampling)

Every call returns when the model's devices have done it, and what it returns is the host's, but for the
probabilities of sampled proposals. ``contexts`` count prompt plus committed output, whose last token is
in no cache yet. Rolling back is not a call: the next call states the length it builds on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch

from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.graphs.buffers import Array
from spinsim.runner.pages import Blocks
from spinsim.runner.sampling import GREEDY, Sampling

TokenLists = Sequence[Sequence[int]]
Progress = Callable[[int, int], None]  # (passes recorded, passes to record)


class Proposal(NamedTuple):
    """``tokens`` int64 ``[R, K]``, K the longest length; columns past a row's length mean nothing.

    ``probabilities`` float32 ``[R, K, V]`` on the draft's device when sampling, else None. ``entropies``
    ``[R, K]``, in nats, of the distributions that the tokens were drawn from (greedy: the softmax of the
    logits), where a runner tells them.
    """

    tokens: Array
    probabilities: torch.Tensor | None
    entropies: Array | None = None


class Verified(NamedTuple):
    """``tokens[i]``: the ``accepted[i]`` proposals that stand and one token of the target's own."""

    accepted: list[int]
    tokens: list[list[int]]


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

    def prefill(
        self,
        slots: Sequence[int],
        starts: Sequence[int],
        token_lists: TokenLists,
        sampling: Sampling = GREEDY,
    ) -> Array:
        """Tokens enter the cache from position ``starts[i]`` on; returns each row's next token, ``[R]``."""
        ...

    def catch_up(
        self,
        slots: Sequence[int],
        starts: Sequence[int],
        token_lists: TokenLists,
        predict: bool = True,
    ) -> Array:
        """Tokens enter the cache likewise; returns the most likely successor of every one, packed.

        Without ``predict`` the result is empty.
        """
        ...

    def propose(
        self,
        slots: Sequence[int],
        previous: Sequence[int],
        last: Sequence[int],
        contexts: Sequence[int],
        lengths: Sequence[int],
        sampling: Sampling = GREEDY,
    ) -> Proposal:
        """``lengths[i]`` tokens after each context, whose last two tokens are ``previous`` and ``last``."""
        ...

    def verify(
        self,
        slots: Sequence[int],
        last: Sequence[int],
        contexts: Sequence[int],
        lengths: Sequence[int],
        tokens: Array,
        probabilities: torch.Tensor | None = None,
        kind: str = RAGGED,
        piece: int = 0,
        sampling: Sampling = GREEDY,
        verdict: Sequence[int] | None = None,
    ) -> Verified:
        """One pass over each row's last token and its ``lengths[i]`` proposals (``tokens[i, :lengths[i]]``).

        ``verdict``: how many proposals stand, whatever the pass found.
        """
        ...

    def watch(self, report: Callable[[Exception], None]) -> None:
        """Call ``report`` from another thread, once, if a device of the model is lost; the last one given."""
        ...

    def close(self) -> None:
        """End what the runner started or holds, if anything. It is of no use afterwards."""
        ...
