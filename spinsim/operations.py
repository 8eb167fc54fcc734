"""What the engine asks of a world: four operations on lanes, and their outcomes.

Rows are parallel lists, not objects: one operation serves a whole micro-batch, and a simulated
round has tens of microseconds to spend. Vocabulary used throughout:

``context``   prompt plus output tokens committed so far; the last one is in no KV cache yet.
``position``  index of the next output token (the number committed so far). Prefill yields token 0.
``slot``      index into the KV cache of the model that executes the operation.
``draft``     index of a draft model, in the scenario's order; ``NO_DRAFT`` rows only decode.
"""

from __future__ import annotations

from typing import NamedTuple

KINDS = ("prefill", "catch_up", "propose", "verify")  # of operations; their numbers are indices
PREFILL, CATCH_UP, PROPOSE, VERIFY = range(len(KINDS))

# What the records keep of an operation: its kind, its model (a draft's index; -1: the target), its rows and
# its tokens (of a proposal the steps, of a verification the padded queries).
Figures = tuple[int, int, int, int]


# Makes a named tuple of a tuple with all of its fields. A round needs a dozen, and this takes half as long as
# a call of the class does, which is a function written in Python.
named = tuple.__new__


class Packing(NamedTuple):
    """The executed shape of one verification.

    ``kind`` names a packing (:mod:`spinsim.packings`). ``rows`` of ``piece`` KV tokens each are
    read (``kv_tokens = rows * piece`` for padded and decomposed; the true sum for ragged);
    ``query_tokens`` counts replicated and padded queries; ``real_kv_tokens`` and
    ``real_query_tokens`` do not.
    """

    kind: str
    rows: int
    piece: int
    query_tokens: int
    kv_tokens: int
    real_query_tokens: int
    real_kv_tokens: int


class Prefill(NamedTuple):
    """One chunk of each of several prompts, on the target. ``last`` chunks yield output token 0."""

    requests: list[int]
    slots: list[int]
    starts: list[int]
    tokens: list[int]
    last: list[bool]

    def figures(self) -> Figures:
        """What the records keep of it."""
        return PREFILL, -1, len(self.requests), sum(self.tokens)


class CatchUp(NamedTuple):
    """Tokens ``starts[i] : starts[i] + tokens[i]`` of each context enter the draft's cache.

    Positions count from the beginning of the prompt. ``prompts`` are prompt lengths.
    """

    draft: int
    requests: list[int]
    slots: list[int]
    prompts: list[int]
    starts: list[int]
    tokens: list[int]

    def figures(self) -> Figures:
        """What the records keep of it."""
        return CATCH_UP, self.draft, len(self.requests), sum(self.tokens)


ALL = 1 << 62  # tokens of a catch-up's row: however many there are


class Scored(NamedTuple):
    """A catch-up as the passes that execute it. ``plain``: what a draft only reads, and ``asked``: the output
    tokens of which it is asked whether it would have proposed them; None where there are none."""

    plain: CatchUp | None
    asked: CatchUp | None


def scored(operation: CatchUp, most: int) -> Scored:
    """Ask about ``most`` of the last output tokens of each row: about none with 0, and with :data:`ALL` about
    every one, in a single pass."""
    if not most:
        return Scored(operation, None)
    if most >= ALL:
        return Scored(None, operation)
    parts: tuple[list[tuple[int, ...]], list[tuple[int, ...]]] = [], []
    columns = zip(*operation[1:], strict=True)
    for request, slot, prompt, start, tokens in columns:
        end = start + tokens
        first = min(max(start, prompt, end - most), end)
        for rows, begin, stop in zip(parts, (start, first), (first, end), strict=True):
            if stop > begin:
                rows.append((request, slot, prompt, begin, stop - begin))
    plain, asked = (
        CatchUp(operation.draft, *map(list, zip(*rows, strict=True))) if rows else None for rows in parts
    )
    return Scored(plain, asked)


class Propose(NamedTuple):
    """``lengths[i]`` proposed tokens after a context of ``contexts[i]`` tokens.

    The draft's cache holds at least ``contexts[i] - 2`` of them; the first step takes in the rest.
    ``ceilings``: the proposal ends before a token, but its first, that was drawn from a distribution of more
    entropy (nats) than its row's; None: wherever it is long enough.
    """

    draft: int
    requests: list[int]
    slots: list[int]
    contexts: list[int]
    lengths: list[int]
    ceilings: list[float] | None = None

    def figures(self) -> Figures:
        """What the records keep of it."""
        return PROPOSE, self.draft, len(self.requests), max(self.lengths)


class Verify(NamedTuple):
    """Each row's last token and its ``lengths[i]`` proposals, checked in one pass of the target."""

    requests: list[int]
    slots: list[int]
    contexts: list[int]
    positions: list[int]
    drafts: list[int]
    lengths: list[int]
    packing: Packing
    chunk: Prefill | None = None  # of prompts, in the same pass; simulated only

    def figures(self) -> Figures:
        """What the records keep of it."""
        tokens = self.packing.query_tokens
        if self.chunk is not None:
            tokens += sum(self.chunk.tokens)
        return VERIFY, -1, len(self.requests), tokens


Operation = Prefill | CatchUp | Propose | Verify


class PrefillOutcome(NamedTuple):
    """``ended[i]``: the prompt's last chunk is in and token 0 is the end-of-text token."""

    ended: list[bool]


class CatchUpOutcome(NamedTuple):
    """``hits[i][j]``: would the draft have proposed the j-th *output* token it was fed (0 or 1)?"""

    hits: list[bytes]


class ProposeOutcome(NamedTuple):
    """``lengths[i]`` tokens proposed, where a draft may have fewer than it was asked for; 0 for none."""

    lengths: list[int]


class VerifyOutcome(NamedTuple):
    """``accepted[i]`` proposals stand, and one token of the target follows.

    ``ended[i]``: how many of those ``accepted[i] + 1`` tokens stand up to and including the
    end-of-text token; 0 where none was generated.
    """

    accepted: list[int]
    ended: list[int]
    prompts: PrefillOutcome | None = None  # of the chunk in the same pass


# None: of a proposal as long as it was asked for.
Outcome = PrefillOutcome | CatchUpOutcome | ProposeOutcome | VerifyOutcome | None


class Completed(NamedTuple):
    """The value of a submitted operation's event. Times in integer nanoseconds of the run."""

    outcome: Outcome
    started_ns: int
    finished_ns: int
